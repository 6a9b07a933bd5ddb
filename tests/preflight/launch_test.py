import dataclasses

import jax
import numpy as np
import pytest

from instructrec.alignment import list_rows
from instructrec.preflight import (
  launch,
  launch_files,
  network_flops,
  roofline,
)
from instructrec.training import gin_config

LENGTHS = ["INPUTS_LENGTH=256", "TARGETS_LENGTH=32"]
SIZES = {
  "small": (8, 77e6),
  "base": (12, 248e6),
  "large": (24, 783e6),
  "xl": (24, 2850e6),
  "xxl": (24, 11135e6),
}


@pytest.mark.parametrize("size", SIZES)
def test_launches_of_t5x_are_read_without_t5x(size):
  layers, parameters = SIZES[size]
  found = launch_files.read([f"gin/instructrec_{size}.gin"])
  assert found.t5x
  assert found.network.num_encoder_layers == layers
  assert found.network.num_parameters == pytest.approx(parameters, rel=0.005)
  assert found.network.dropout_rate == 0.05
  assert np.dtype(found.network.dtype).name == "bfloat16"
  assert found.settings == launch.Settings(
    model=1, shard_parameters=True, num_microbatches=1, remat_policy="none"
  )
  assert found.batch_size == 64
  assert found.rng_impl == "unsafe_rbg"
  assert found.batch("train")["encoder_segment_ids"].shape == (64, 512)
  assert found.batch("score")["decoder_input_tokens"].shape == (32, 10, 128)


def test_bindings_change_a_launch_of_t5x():
  found = launch_files.read(
    ["gin/instructrec_xl.gin"],
    [
      "MODEL_PARALLEL_SUBMESH=(2,2,1,1)",
      "PARAMETER_PARTITIONING_DIMS=1",
      "Trainer.num_microbatches=4",
      "REMAT_POLICY='full'",
      "SCAN_LAYERS=True",
      "BATCH_SIZE=16",
      "TARGETS_LENGTH=32",
      "USE_HARDWARE_RNG=False",
    ],
  )
  assert found.settings == launch.Settings(
    model=4, shard_parameters=False, num_microbatches=4, remat_policy="full"
  )
  assert found.network.scan_layers
  assert found.rng_impl is None
  assert found.batch("train")["decoder_target_tokens"].shape == (16, 32)


def test_num_partitions_is_the_other_way_to_say_it():
  found = launch_files.read(
    ["gin/instructrec_xl.gin"],
    [
      "PjitPartitioner.model_parallel_submesh=None",
      "PjitPartitioner.num_partitions=8",
    ],
  )
  assert found.settings.model == 8


@pytest.mark.parametrize(
  ("binding", "message"),
  [
    ("PjitPartitioner.num_partition=2", "num_partition is bound"),
    ("PjitPartitioner.ici_mesh_shape=(1,1)", "ici_mesh_shape is bound"),
    ("train/utils.DatasetConfig.batch_size=8", "batch_size is bound"),
    ("ACTIVATION_PARTITIONING_DIMS=2", "preflight knows 1 only"),
    ("OPTIMIZER=@adam.Adam()", "OPTIMIZER is 'Adam'"),
    ("Adafactor.beta1=0.9", "does not know a setting .* 'beta1'"),
    ("T5Config.emb_dim=0", "expected a positive whole number"),
  ],
)
def test_what_the_embedded_runner_lacks_is_refused(binding, message):
  with pytest.raises(ValueError, match=message):
    launch_files.read(["gin/instructrec_xl.gin"], [binding])


@pytest.mark.tf
@pytest.mark.parametrize(
  ("files", "binding", "message"),
  [
    (["gin/instructrec_xl.gin"], "NUM_MICROBACHES=2", "mean NUM_MICROBATCHES"),
    (["gin/instructrec_xl.gin"], "Trainer.num_partitions=2", "no parameter"),
    (["gin/quickstart_token.gin"], "TRAIN_STEP=2", "mean TRAIN_STEPS"),
    (["gin/quickstart_token.gin"], "DataConfig.packs=2", "'packs'"),
  ],
)
def test_files_and_bindings_of_either_runner_are_checked(
  files, binding, message
):
  chosen = "INPUTS_LENGTH, TARGETS_LENGTH will be chosen from the data"
  embedded = files == ["gin/quickstart_token.gin"]
  assert launch_files.check(files) == ([chosen] if embedded else [])
  with pytest.raises(ValueError, match=message):
    launch_files.check(files, [binding])


@pytest.mark.tf
def test_evaluations_of_t5x_are_checked_as_well():
  files = ["gin/instructrec_eval.gin", "gin/models/small.gin"]
  assert launch_files.check(files, runner="t5x") == []


@pytest.mark.parametrize(
  ("file", "runner"),
  [("gin/instructrec_xl.gin", "embedded"), ("gin/quickstart.gin", "t5x")],
)
def test_files_for_the_other_runner_are_refused(file, runner):
  with pytest.raises(ValueError, match=f"{file}: for the runner .* not"):
    launch_files.check([file], runner=runner)


def test_a_launch_without_a_model_names_what_to_include(tmp_path):
  path = tmp_path / "mine.gin"
  path.write_text(
    "include 'gin/runs/t5x_finetune.gin'\n"
    "include 'gin/mixtures/instructrec.gin'\n"
  )
  with pytest.raises(launch.LaunchError, match="give MODEL no value"):
    launch_files.read([str(path)])


def test_the_residual_stream_of_a_t5x_launch_can_be_split():
  rule = "('residual_length', 'model')"
  found = launch_files.read(
    ["gin/instructrec_xl.gin"],
    [f"ADDITIONAL_AXIS_RULES=[{rule}]", "LOSS_CHUNKS=4"],
  )
  assert found.config.mesh.shard_sequence
  assert ("residual_length", "model") in found.config.mesh.rules
  assert found.config.model.loss_chunks == 4
  assert not launch_files.read(
    ["gin/instructrec_xl.gin"]
  ).config.mesh.shard_sequence
  with pytest.raises(launch.LaunchError, match=r"knows \[\('residual_length"):
    launch_files.read(
      ["gin/instructrec_xl.gin"], ["ADDITIONAL_AXIS_RULES=[('heads', 'data')]"]
    )


def test_evaluations_of_t5x_train_nothing():
  with pytest.raises(launch.LaunchError, match="evaluate or infer"):
    launch_files.read(["gin/instructrec_eval.gin", "gin/models/small.gin"])


def test_a_file_that_does_not_exist():
  with pytest.raises(FileNotFoundError, match="looked in"):
    launch_files.read(["gin/no_such.gin"])


def test_launches_of_the_embedded_runner_are_built_as_it_builds_them():
  found = launch_files.read(
    ["gin/quickstart_token.gin"], [*LENGTHS, "MODEL_PARALLEL=2"]
  )
  assert not found.t5x
  assert found.settings.model == 2
  assert found.pack
  with pytest.raises(gin_config.UnusedBindingError):
    launch_files.read(["gin/quickstart_token.gin"], ["MODEL_PARALEL=2"])


@pytest.mark.parametrize("pack", [False, True])
def test_the_batch_is_that_of_training(pack):
  from instructrec.training import batches, packing

  found = dataclasses.replace(
    launch_files.read(["gin/quickstart_token.gin"], LENGTHS),
    pack=pack,
    batch_size=4,
    inputs_length=12,
    targets_length=5,
  )
  rows = np.ones((4, 12), np.int32), np.ones((4, 5), np.int32)
  made = batches.features.to_features(*rows)
  if pack:
    made = packing.pack_features(made, [1] * 4)
  assert found.batch("train") == {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in made.items()
  }


def test_settings_change_nothing_else():
  found = launch_files.read(["gin/quickstart_token.gin"], LENGTHS)
  settings = launch.Settings(
    model=2, shard_parameters=True, num_microbatches=4, remat_policy="full"
  )
  changed = found.with_settings(settings)
  assert changed.settings == settings
  assert changed.network.remat_policy == "full"
  assert found.network.remat_policy == "none"
  assert changed.with_settings(found.settings).network == found.network
  assert changed.batch("train") == found.batch("train")


def test_model_flops_are_six_a_weight_and_token_where_lengths_are_equal():
  """Every token passes all weights of its stack; attention is 12 L H Q T."""
  found = launch_files.read(
    ["gin/instructrec_xl.gin"],
    ["INPUTS_LENGTH=128", "TARGETS_LENGTH=128", "BATCH_SIZE=1"],
  )
  network = found.network
  embedding = network.vocab_size * network.emb_dim
  small = 2 * network.num_heads * network.num_buckets + network.emb_dim * (
    2 * 24 + 3 * 24 + 2
  )
  weights = network.num_parameters - embedding - small
  attention = 12 * 128 * network.joined_dim * 128 * (24 + 2 * 24)
  assert roofline.model_flops(found, "train") == pytest.approx(
    6 * weights * 128 + attention, rel=1e-12
  )


def test_a_list_is_encoded_once():
  found = launch_files.read(["gin/instructrec_xl.gin"])
  one = dataclasses.replace(found, num_candidates=1)
  twenty = dataclasses.replace(found, num_candidates=20)
  encoder = 2 * roofline.model_flops(one, "score") - roofline.model_flops(
    dataclasses.replace(found, num_candidates=2), "score"
  )
  each = roofline.model_flops(one, "score") - encoder
  assert roofline.model_flops(twenty, "score") == pytest.approx(
    encoder + 20 * each
  )
  assert encoder > each


@pytest.mark.parametrize(
  ("objective", "history", "choices"),
  [("next_item", (64, 16, 20), (64, 9, 20)), ("listwise", None, (64, 9, 32))],
)
def test_objectives_of_a_t5x_launch_are_read(objective, history, choices):
  found = launch_files.read(
    [
      "gin/instructrec_xl.gin",
      "gin/runs/t5x_items.gin",
      f"gin/objectives/{objective}.gin",
    ],
    ["LOSS_CHUNKS=2"],
  )
  model = found.config.model
  assert type(model.objective).__module__.endswith(objective)
  assert model.matches_titles == (history is not None)
  batch = found.batch("train")
  assert "encoder_segment_ids" not in batch
  assert batch["choice_tokens"].shape == choices
  assert ("history_tokens" in batch) == (history is not None)
  if history:
    assert batch["history_tokens"].shape == history
    assert found.batch("score")["choice_items"].shape == (32, 10)
  else:
    assert model.objective.num_chunks == 2


def test_a_sum_of_objectives_of_a_t5x_launch_is_read():
  found = launch_files.read(
    [
      "gin/instructrec_small.gin",
      "gin/runs/t5x_items.gin",
      "gin/objectives/next_item_and_token.gin",
    ],
    ["TOKEN_WEIGHT=0.25", "NUM_ITEMS=7"],
  )
  assert found.config.model.objective.weights == (1.0, 0.25)
  assert found.config.model.objective.objectives[1].z_loss == 1e-4
  assert found.config.model.num_items == 7


def test_model_flops_are_those_of_the_objective():
  def of(*objectives, **changes):
    items = ["gin/runs/t5x_items.gin"] if objectives else []
    names = [f"gin/objectives/{name}.gin" for name in objectives]
    return launch_files.read(
      ["gin/instructrec_xl.gin", *items, *names],
      [f"{name}={value}" for name, value in changes.items()],
    )

  plain = of()
  # As many targets, of the same length.
  lists = of("listwise", NUM_DRAWN=1, TITLE_LENGTH=127)
  decoder = network_flops.answer_flops(
    plain.network, rows=64, inputs_length=512, targets_length=128
  )
  extra = network_flops.answer_flops(
    plain.network,
    rows=64,
    inputs_length=512,
    targets_length=128,
    candidates=2,
  )
  assert roofline.model_flops(lists, "train") == pytest.approx(
    roofline.model_flops(plain, "train") + 3 * (extra - decoder)
  )
  assert roofline.tokens(plain, "train") == 64 * (512 + 128)
  assert roofline.tokens(lists, "train") == 64 * (512 + 2 * 128)
  matching = of("next_item")
  encoder = network_flops.prompt_flops(
    matching.network, rows=64, inputs_length=512 + 16
  )
  # Without a decoder; matching is a few percent.
  found = roofline.model_flops(matching, "train")
  assert 1.0 < found / (3 * encoder) < 1.03
  assert roofline.tokens(matching, "train") == 64 * (512 + 16)
  both = of("next_item_and_token")
  assert roofline.model_flops(both, "train") > found + 3 * decoder


def test_a_launch_that_is_rewarded_for_lists_is_read_with_a_catalogue():
  found = launch_files.read(
    ["gin/align_xl.gin"],
    ["LIST_HISTORY=7", "NUM_LISTS=4", "BATCH_SIZE=32"],
    num_items=300,
    title_length=10,
  )
  lists, batch = found.lists, found.batch("train")
  assert (lists.num_lists, lists.max_items) == (4, 10)
  assert lists.separator_ids[0] == found.network.vocab_size - 2
  assert int(lists.catalog.num_items) == 300
  # Ten tokens, the end included, are rounded up.
  assert lists.catalog.summary()["longest_title"] == 10
  assert batch["list_has"].shape == (32, 300)
  assert batch["list_has"].dtype == bool
  assert batch["list_history"].shape == (32, 7)
  assert batch["list_keys"].shape == (32, 2)
  assert set(list_rows.ARRAYS) <= set(batch)
  assert "encoder_segment_ids" not in batch
  assert not set(list_rows.ARRAYS) & set(found.batch("score"))
  # As of the embedded runner, whose files name no catalogue either.
  own = launch_files.read(["gin/align_cpu.gin"], [*LENGTHS, "TITLE_LENGTH=24"])
  assert own.batch("train")["list_has"].shape == (8, 10_000)


@pytest.mark.parametrize(
  ("objective", "lists", "updates", "lists_read", "prompts_read"),
  [
    # Lists are drawn, and read by the reference, which reads the prompts too.
    ("list_policy", 8, 1, 2, 1),
    # Apart from the updates they are drawn, and read for their values.
    ("list_ppo", 8, 4, 3, 2),
    # The teacher makes them.
    ("list_dpo", 4, 1, 1, 1),
  ],
)
def test_flops_of_rewarded_lists_count_each_pass(
  objective, lists, updates, lists_read, prompts_read
):
  files = ["gin/align_xl.gin", f"gin/objectives/{objective}.gin"]
  found = launch_files.read(files, num_items=100, title_length=8)
  prompts = network_flops.prompt_flops(
    found.network, rows=64, inputs_length=512
  )

  def answers(length, candidates):
    return network_flops.answer_flops(
      found.network,
      rows=64,
      inputs_length=512,
      targets_length=length,
      candidates=candidates,
    )

  # With adapters two passes, of prompts, lists and the anchor.
  read = answers(10 * 8, lists)
  assert roofline.model_flops(found, "train") == pytest.approx(
    updates * 2 * (prompts + read + answers(512, 1))
    + lists_read * read
    + prompts_read * prompts
  )
  assert roofline.tokens(found, "train") == 64 * (512 + lists * 80 + 512)
