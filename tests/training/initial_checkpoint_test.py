"""A run begins with the numbers of the file, whatever its form."""

import dataclasses
import logging
import pathlib

import flax.traverse_util
import jax
import numpy as np
import pytest

from instructrec import checksums
from instructrec.models import ranking_model
from instructrec.models.checkpoint import convert, names, tensors
from instructrec.models.networks import llama, llama_config, t5, t5_config
from instructrec.models.objectives import (
  listwise,
  next_item,
  objective,
  token_likelihood,
)
from instructrec.training import (
  data_config,
  initial_checkpoint,
  mesh,
  optimizer,
  own_checkpoints,
  runner,
  trained_run,
)
from instructrec.training import trainer as trainer_lib

CONFIG = t5_config.T5Config(
  vocab_size=40,
  emb_dim=16,
  num_heads=2,
  head_dim=6,
  num_encoder_layers=2,
  num_decoder_layers=1,
  mlp_dim=24,
)
GROUPED = llama_config.LlamaConfig(
  vocab_size=40,
  emb_dim=16,
  num_heads=4,
  num_kv_heads=2,
  head_dim=4,
  num_decoder_layers=1,
  mlp_dim=24,
  padding_row=7,
)
MODULES = {t5_config.T5Config: t5.T5, llama_config.LlamaConfig: llama.Llama}
SHAPES = {
  "encoder_input_tokens": (2, 8),
  "decoder_input_tokens": (2, 4),
  "decoder_target_tokens": (2, 4),
}


def _source(cfg=CONFIG):
  rng = np.random.default_rng(0)
  arrays = {
    name: rng.standard_normal(p.shape, np.float32)
    for name, p in names.parameters(cfg).items()
  }
  params = {n: tensors.from_array(a, n) for n, a in arrays.items()}
  return tensors.Checkpoint("memory", "instructrec", 0, params, {}, config=cfg)


def _trainer(checkpoint, cfg=CONFIG, objective=None):
  return trainer_lib.Trainer.create(
    runner.TrainConfig(
      model=ranking_model.NetworkRankingModel(
        MODULES[type(cfg)](cfg), objective=objective
      ),
      optimizer=optimizer.adamw(1e-2),
      train_steps=1,
      mesh=mesh.MeshConfig(data=1, model=1),
      initial_checkpoint=checkpoint and str(checkpoint),
    ),
    SHAPES,
    jax.devices()[:1],
  )


def _flat(params):
  return flax.traverse_util.flatten_dict(params, sep="/")


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize(
  ("form", "layers"),
  [
    ("huggingface", "unstacked"),
    ("t5x", "stacked"),
    ("t5x_legacy", "unstacked"),
    ("instructrec", "stacked"),
  ],
)
def test_a_run_begins_with_the_numbers_of_the_file(
  form, layers, scan_layers, tmp_path
):
  source = _source()
  convert.convert(
    source, tmp_path / "out", convert.Settings(form=form, layers=layers)
  )
  cfg = dataclasses.replace(CONFIG, scan_layers=scan_layers)
  state = _trainer(tmp_path / "out", cfg).init()
  assert int(state.step) == 0
  expected = {name: t.read() for name, t in source.params.items()}
  if scan_layers:
    for name in [n for n in expected if names.split_layer(n)]:
      stack, index, rest = names.split_layer(name)
      layer = expected.pop(name)
      expected.setdefault(f"{stack}/layers/{rest}", {})[index] = layer
  found = _flat(state.params)
  assert found.keys() == expected.keys()
  for name, array in expected.items():
    if isinstance(array, dict):
      array = np.stack([array[i] for i in sorted(array)])
    np.testing.assert_array_equal(found[name], array, name)


def test_lower_types_are_widened(tmp_path):
  source = _source()
  convert.convert(
    source,
    tmp_path / "out",
    convert.Settings(form="huggingface", dtype="bfloat16"),
  )
  found = _flat(_trainer(tmp_path / "out").init().params)
  for name, tensor in source.params.items():
    assert found[name].dtype == np.float32
    lower = tensor.astype(tensors.DTYPES["bfloat16"]).read()
    np.testing.assert_array_equal(found[name], lower.astype(np.float32), name)


def test_another_network_is_named(tmp_path):
  other = dataclasses.replace(CONFIG, mlp_dim=28, num_decoder_layers=2)
  convert.convert(
    _source(other), tmp_path / "out", convert.Settings(form="huggingface")
  )
  with pytest.raises(tensors.CheckpointError) as error:
    _trainer(tmp_path / "out").init()
  message = str(error.value)
  assert "(huggingface) does not hold the parameters of this run's" in message
  # A layer's fourteen, and three matrices each of three layers.
  assert "unknown (14):\n    decoder/layers_1/" in message
  assert "of another shape (9):" in message
  assert "mlp/wo/kernel: found [28, 16], expected [24, 16]" in message


def test_settings_that_shapes_do_not_tell_are_compared(tmp_path):
  """With other positions the numbers would load, and mean something else."""
  folder = tmp_path / "hf"
  convert.convert(
    _source(GROUPED), folder, convert.Settings(form="huggingface")
  )
  found = _flat(_trainer(folder, GROUPED).init().params)
  expected = _source(GROUPED).params
  assert found.keys() == expected.keys()
  for name, tensor in expected.items():
    np.testing.assert_array_equal(found[name], tensor.read(), name)
  other = dataclasses.replace(GROUPED, rope_theta=5e5, padding_row=0)
  with pytest.raises(
    tensors.CheckpointError,
    match=r"rope_theta: found 10000.0, expected 500000.0\n"
    r"    padding_row: found 7, expected 0",
  ):
    _trainer(folder, other).init()


def test_no_checkpoint_at_the_path(tmp_path):
  with pytest.raises(FileNotFoundError, match="gone does not exist"):
    _trainer(tmp_path / "gone").init()


def _batch(rng):
  """A batch that every objective can read."""
  tokens = {name: rng.integers(2, 40, shape) for name, shape in SHAPES.items()}
  batch = {
    **tokens,
    "decoder_loss_weights": np.ones(SHAPES["decoder_target_tokens"]),
  }
  for name, count in (("history", 3), ("choice", 5)):
    batch[f"{name}_tokens"] = rng.integers(2, 40, (2, count, 4))
    batch[f"{name}_items"] = rng.integers(1, 9, (2, count))
    batch[f"{name}_logs"] = rng.standard_normal((2, count, 3))
  batch["choice_follows"] = np.ones((2, 1), int)
  kinds = {"i": np.int32, "f": np.float32}
  return {name: x.astype(kinds[x.dtype.kind]) for name, x in batch.items()}


_NEXT, _TOKEN = next_item.NextItem(), token_likelihood.TokenLikelihood()
OBJECTIVES = {
  "token": _TOKEN,
  "listwise": listwise.Listwise(),
  "next_item": _NEXT,
  "sum": objective.WeightedSum((_NEXT, _TOKEN), (1.0, 0.1)),
}


@pytest.mark.parametrize(
  ("name", "form", "scan_layers"),
  [
    ("token", "huggingface", False),
    ("listwise", "t5x_legacy", True),
    ("next_item", "t5x_legacy", True),
    ("sum", "huggingface", False),
  ],
)
def test_every_objective_starts_from_a_public_checkpoint(
  name, form, scan_layers, tmp_path, caplog
):
  source = _source()
  convert.convert(source, tmp_path / "out", convert.Settings(form=form))
  cfg = dataclasses.replace(
    CONFIG,
    title_matching=name in ("next_item", "sum"),
    num_items=9 if name == "sum" else 0,
    scan_layers=scan_layers,
  )
  trainer = _trainer(tmp_path / "out", cfg, OBJECTIVES[name])
  with caplog.at_level(logging.WARNING):
    state = trainer.init()
  found = _flat(state.params)
  # What is drawn is what a run from scratch has; the rest is the file's.
  scratch = _flat(_trainer(None, cfg, OBJECTIVES[name]).init().params)
  assert found.keys() == scratch.keys()
  new = [n for n in found if n.startswith("title_matching/")]
  assert bool(new) == cfg.title_matching
  for key in new:
    np.testing.assert_array_equal(found[key], scratch[key], key)
    assert key in caplog.text
  assert ("the initial checkpoint lacks" in caplog.text) == bool(new)
  if not scan_layers:
    for key, tensor in source.params.items():
      np.testing.assert_array_equal(found[key], tensor.read(), key)
  batch = _batch(np.random.default_rng(1))
  if not cfg.title_matching:
    batch = {k: v for k, v in batch.items() if not k.startswith("history")}
  with mesh.use(trainer.mesh, trainer.config.mesh):
    state, metrics = trainer.step_fn(state, batch, jax.random.key(0))
  assert np.isfinite(metrics["loss"].compute())
  assert int(state.step) == 1


def test_what_is_evaluated_as_untrained_is_what_training_began_with(tmp_path):
  """Where the file lacks title matching, drawn as training drew it."""
  out = tmp_path / "out"
  convert.convert(_source(), out, convert.Settings(form="huggingface"))
  cfg = dataclasses.replace(CONFIG, title_matching=True)
  trainer = _trainer(out, cfg)
  run = trained_run.Run(
    tmp_path,
    trainer.config.model,
    data_config.DataConfig(
      mixture="none", inputs_length=8, targets_length=4, batch_size=2
    ),
    vocabulary=tmp_path,
    items=tmp_path,
    parameters=own_checkpoints.OwnCheckpoints(tmp_path),
    start=trained_run.Start(trainer.config.seed, str(out)),
  )
  found, began = _flat(run.initial_params()), _flat(trainer.init().params)
  assert found.keys() == began.keys()
  for key in found:
    np.testing.assert_array_equal(found[key], began[key], key)
  gone = dataclasses.replace(
    run, start=trained_run.Start(checkpoint=str(tmp_path / "gone"))
  )
  with pytest.raises(FileNotFoundError, match="pass --initial_checkpoint"):
    gone.initial_params()


def test_a_checkpoint_with_titles_is_taken_whole(tmp_path, caplog):
  cfg = dataclasses.replace(CONFIG, title_matching=True)
  names_of = _flat(_trainer(None, cfg).init().params)
  rng = np.random.default_rng(0)
  found = {
    "target": flax.traverse_util.unflatten_dict(
      {n: rng.standard_normal(a.shape) for n, a in names_of.items()}, sep="/"
    )
  }
  same = initial_checkpoint.new_parameters(found, found)
  assert same is found
  assert not caplog.text


def test_nothing_but_titles_may_be_missing_under_t5x(caplog):
  want = {
    "state": {"step": 0, "param_states": {"title_matching": {"factors": {}}}},
    "target": {
      "encoder": {"norm": 1, "gate": 2},
      "title_matching": {"factors": 3},
    },
  }
  have = {"state": {"step": 0}, "target": {"encoder": {"norm": 1, "gate": 2}}}
  assert initial_checkpoint.new_parameters(have, want) is have
  assert "lacks a parameter, drawn anew: target/title_matching" in caplog.text
  have["target"] = {"encoder": {"norm": 1}}
  with pytest.raises(tensors.CheckpointError, match=r"lacks 1 .*encoder/gate$"):
    initial_checkpoint.new_parameters(have, want)
  # A run's own checkpoint is T5X's to judge.
  assert initial_checkpoint.new_parameters(have, want, is_resuming=True) is have


def test_other_uses_want_all_parameters(tmp_path):
  convert.convert(
    _source(), tmp_path / "out", convert.Settings(form="huggingface")
  )
  cfg = dataclasses.replace(CONFIG, title_matching=True)
  trainer = _trainer(tmp_path / "out", cfg)
  with pytest.raises(tensors.CheckpointError, match="title_matching/factors"):
    initial_checkpoint.load_params(
      str(tmp_path / "out"), trainer.abstract_state.params
    )


def _model(**changes):
  return ranking_model.NetworkRankingModel(
    t5.T5(dataclasses.replace(CONFIG, **changes))
  )


def _saved(folder, form="t5x", layers="unstacked", step=7, cfg=CONFIG):
  """A checkpoint of T5X; its folder."""
  settings = convert.Settings(form=form, layers=layers, step=step)
  convert.convert(_source(cfg), folder, settings)
  return str(folder / f"checkpoint_{step}")


@pytest.mark.parametrize("form", ["t5x", "t5x_legacy"])
def test_t5x_gets_the_path_of_a_checkpoint_that_fits(form, tmp_path):
  path = _saved(tmp_path, form)
  assert initial_checkpoint.checked(path, _model()) == path
  # What the public checkpoints lack is `new_parameters`' to say.
  assert initial_checkpoint.checked(path, _model(title_matching=True)) == path
  assert initial_checkpoint.checked((), _model()) == ()


def test_t5x_is_told_of_other_sizes_by_checkpoint_and_shapes(tmp_path):
  path = _saved(tmp_path)
  with pytest.raises(tensors.CheckpointError) as error:
    initial_checkpoint.checked(
      path, _model(mlp_dim=32, num_decoder_layers=2, vocab_size=48)
    )
  message = str(error.value)
  assert message.startswith(f"{path} (t5x) does not hold the parameters of")
  assert "missing (14):\n    decoder/layers_1/" in message
  # Embeddings and logits, and three matrices each of three layers.
  assert "of another shape (11):" in message
  assert (
    "token_embedder/embedding: found [40, 16], expected [48, 16]" in message
  )


def test_t5x_is_told_of_what_it_does_not_read(tmp_path):
  path = _saved(tmp_path / "ours", "instructrec")
  with pytest.raises(tensors.CheckpointError, match="of the form instructrec"):
    initial_checkpoint.checked(path, _model())
  path = _saved(tmp_path / "stacked", layers="stacked")
  assert initial_checkpoint.checked(path, _model(scan_layers=True)) == path
  with pytest.raises(
    tensors.CheckpointError, match=r"layers stacked; .*, unstacked: .* export"
  ):
    initial_checkpoint.checked(path, _model())


def test_t5x_resumes_without_its_initial_checkpoint(tmp_path):
  """Which may be gone; what is restored is the run's own."""
  model_dir, gone = str(tmp_path / "model"), str(tmp_path / "gone")
  with pytest.raises(FileNotFoundError, match="gone does not exist"):
    initial_checkpoint.checked(gone, _model(), model_dir)
  newest = _saved(tmp_path / "model", step=20)
  _saved(
    tmp_path / "model", step=10, cfg=dataclasses.replace(CONFIG, emb_dim=8)
  )
  assert initial_checkpoint.checked(gone, _model(), model_dir) == gone
  with pytest.raises(tensors.CheckpointError) as error:
    initial_checkpoint.checked(gone, _model(emb_dim=8), model_dir)
  assert str(error.value).startswith(f"{newest} (t5x) does not hold")
  assert f"of the run in {model_dir}" in str(error.value)


def test_t5x_is_not_checked_on_another_checkpoint_than_it_restores(
  tmp_path, monkeypatch
):
  """Each of two processes sees a part of the damage, or none of it."""
  model_dir = tmp_path / "model"
  _saved(model_dir, step=10)
  newest = pathlib.Path(_saved(model_dir, step=20))
  (model_dir / "checkpoint_30").mkdir()
  files = sorted(
    str(p.relative_to(newest)) for p in newest.rglob("*") if p.is_file()
  )
  files.remove(checksums.FILE)
  (newest / files[1]).write_bytes(b"damaged")
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  initial_checkpoint.checked((), _model(), str(model_dir))
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  with pytest.raises(checksums.DamagedError, match=r"checkpoint_20/.* damaged"):
    initial_checkpoint.checked((), _model(), str(model_dir))


def test_checkpoints_of_tensorflow_are_t5xs_to_read(tmp_path):
  path = str(tmp_path / "model.ckpt-1000")
  (tmp_path / "model.ckpt-1000.index").touch()
  assert initial_checkpoint.checked(path, _model()) == path
