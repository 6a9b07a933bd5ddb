"""T5X and the embedded runner train alike: the same losses, step by step.

Under every objective.

Both get the batches of one `BatchStream` (T5X through `get_dataset_fn`, which
its `train` takes for this) and start from the parameters that T5X drew from
the seed and saved as `checkpoint_0`. Each then runs its own loop, step and
Adafactor, in float32: T5X on a mesh of 2 x 2, the embedded runner on one
device.
"""

import dataclasses
import json
from collections.abc import Sequence

import jax
import numpy as np
import pytest
from flax import traverse_util

from instructrec.alignment import list_arrays, list_objective
from instructrec.instructions import title_list
from instructrec.models import ranking_model, tokenizer
from instructrec.models.checkpoint import opening, orbax_form
from instructrec.models.networks import (
  adapters,
  llama,
  llama_config,
  t5,
  t5_config,
)
from instructrec.models.objectives import (
  listwise,
  next_item,
  objective,
  token_likelihood,
)
from instructrec.training import (
  data_config,
  item_arrays,
  item_table,
  item_titles,
  optimizer,
  runner,
)

pytestmark = [pytest.mark.t5x, pytest.mark.slow, pytest.mark.tf]

LEARNING_RATE = 1e-2
# Wide enough for Adafactor to factor the second moments of the matrices.
SIZES = {
  "emb_dim": 128,
  "num_heads": 4,
  "head_dim": 32,
  "num_decoder_layers": 2,
  "mlp_dim": 256,
}


@dataclasses.dataclass(frozen=True)
class Case:
  """An objective, and what both trainers are told of it.

  Attributes:
    objective: None for the default.
    gin: the files behind the launch, if any.
    steps: updates to compare.
    data: of `DataConfig`; the numbers of the gin file.
    network: file of gin/models/, behind whose sizes come those below.
    adapter: trained in the network's place.
  """

  objective: objective.Objective | None
  gin: Sequence[str]
  steps: int
  data: dict[str, int]
  network: str = "tiny"
  adapter: adapters.LoRA | None = None

  @property
  def lists(self) -> bool:
    """Whether lists are rewarded."""
    return "list_length" in self.data

  @property
  def titles(self) -> bool:
    """Whether the network matches titles."""
    return "history_length" in self.data


_NEXT = {"history_length": 16, "title_length": 20, "num_drawn": 8}
# As gin/overrides/lora.gin has it.
_LORA = adapters.LoRA(targets=".*/(query|value)")


def _items(name):
  return "runs/t5x_items", f"objectives/{name}"


CASES = {
  "token": Case(None, (), 5, {}),
  # Packed rows of prompt and answer.
  "llama": Case(None, (), 5, {}, "llama_tiny"),
  "lora": Case(None, ("runs/t5x_lora",), 3, {}, adapter=_LORA),
  "lists": Case(
    objective.WeightedSum(
      (
        list_objective.ListObjective(num_lists=4),
        token_likelihood.TokenLikelihood(),
      ),
      (1.0, 0.1),
    ),
    ("runs/t5x_align",),
    3,
    {"list_length": 10},
    adapter=_LORA,
  ),
  "listwise": Case(
    listwise.Listwise(),
    _items("listwise"),
    3,
    {"title_length": 32, "num_drawn": 8},
  ),
  "next_item": Case(next_item.NextItem(), _items("next_item"), 3, _NEXT),
  "next_item_and_token": Case(
    objective.WeightedSum(
      (next_item.NextItem(), token_likelihood.TokenLikelihood()), (1.0, 0.1)
    ),
    _items("next_item_and_token"),
    3,
    _NEXT,
  ),
}
_DATASET = """
import numpy as np
import tensorflow as tf

def get_dataset(cfg, shard_id, num_shards, feature_converter_cls, **unused):
  assert (shard_id, num_shards) == (0, 1)
  return tf.data.Dataset.from_tensor_slices(dict(np.load({path!r})))
"""

_GIN = """
from __gin__ import dynamic_registration

import __main__ as train_script
import dataset_of_batches
from t5x import utils

train_script.train:
  get_dataset_fn = @dataset_of_batches.get_dataset
  train_eval_dataset_cfg = None
  infer_eval_dataset_cfg = None
  stats_period = 1
utils.SaveCheckpointConfig.save_dataset = False
"""


class _StartingAt(ranking_model.NetworkRankingModel):
  """The model with given initial parameters."""

  def __init__(self, module, params, objective):
    super().__init__(module, objective=objective)
    self._params = params

  def get_initial_variables(self, rng, input_shapes, input_types=None):
    variables = super().get_initial_variables(rng, input_shapes, input_types)
    same = jax.tree.map(
      lambda a, b: a.shape == b.shape, variables["params"], self._params
    )
    assert all(jax.tree.leaves(same))
    return {**variables, "params": self._params}


@pytest.fixture(scope="module")
def open_lists(t5x_lists):
  """Batches of rows that ask for lists, and what completes an objective."""
  import seqio

  from instructrec.pipelines import control_tasks, item_features, streams

  path = t5x_lists.data / "vocabulary" / "sentencepiece.model"
  control_tasks.register(
    seqio.SentencePieceVocabulary(str(path), extra_ids=tokenizer.EXTRA_IDS),
    prefix="losses_control",
  )

  def open_with(data):
    config = data_config.DataConfig(
      mixture="losses_control_lists",
      inputs_length=256,
      targets_length=192,
      batch_size=16,
      modules=(),
      **data,
    )
    examples = streams.load(config, "train", t5x_lists.data)
    items = item_features.read_catalog(str(t5x_lists.data / item_table.FILE))
    return examples.stream(
      config,
      lists=list_arrays.ListArrays.of(
        items, examples.datasets, config.list_length
      ),
    )

  def bound(found):
    titles = item_titles.ItemTitles(t5x_lists.data, path)
    separators = tokenizer.Tokenizer(path).separator_ids(title_list.SENTINELS)
    trie = titles(vocab_size=2176, eos_id=tokenizer.EOS_ID)
    return list_objective.bound(found, trie, separators)

  return open_with, bound


@pytest.fixture(scope="module")
def open_stream(t5x):
  """Training batches of all task types, packed where they hold no items."""
  import seqio

  from instructrec.pipelines import registry, streams

  path = str(t5x.data / "vocabulary" / "sentencepiece.model")
  registry.register(
    seqio.SentencePieceVocabulary(path, extra_ids=tokenizer.EXTRA_IDS),
    prefix="losses_v1",
  )

  def open_with(data, reads_rows):
    config = data_config.DataConfig(
      mixture="losses_v1",
      inputs_length=256,
      targets_length=64,
      batch_size=16,
      pack=not data,
      modules=(),
      **data,
    )
    items = None
    if config.reads_items:
      items = item_arrays.ItemArrays.create(
        item_table.ItemTable.load(t5x.data), tokenizer.Tokenizer(path), config
      )
    examples = streams.load(config, "train", t5x.data)
    return examples.stream(config, items, reads_rows=reads_rows)

  return open_with


def _module(case):
  """The network of a case, as its gin files have it."""
  sizes = {
    "vocab_size": 2176,
    "dtype": "float32",
    "dropout_rate": 0.0,
    "adapter": case.adapter,
    **SIZES,
  }
  if case.network == "tiny":
    return t5.T5(
      t5_config.T5Config(
        num_encoder_layers=2, title_matching=case.titles, **sizes
      )
    )
  return llama.Llama(
    llama_config.LlamaConfig(
      num_kv_heads=2,
      logits_via_embedding=True,
      bos_id=None,
      eos_id=1,
      **sizes,
    )
  )


def _t5x_losses(t5x, stream, case, folder):
  """Trains under T5X; gives the losses and the initial parameters."""
  from tensorboard.backend.event_processing import event_accumulator
  from tensorboard.util import tensor_util

  steps = [stream.batch(step) for step in range(case.steps)]
  arrays = {name: np.stack([s[name] for s in steps]) for name in steps[0]}
  np.savez(folder / "batches.npz", **arrays)
  (folder / "dataset_of_batches.py").write_text(
    _DATASET.format(path=str(folder / "batches.npz"))
  )
  config = type(_module(case).config)
  module = config.__module__.rpartition(".")[2]
  sizes = f"from instructrec.models.networks import {module}\n" + "".join(
    f"{module}.{config.__name__}.{k} = {v}\n" for k, v in SIZES.items()
  )
  (folder / "losses.gin").write_text(_GIN + sizes)
  model_dir = folder / "model"
  files = [
    "gin/instructrec_small.gin",
    "gin/overrides/tiny.gin",
    f"gin/models/{case.network}.gin",
  ]
  files += [f"gin/{name}.gin" for name in case.gin]
  t5x.run(
    "train",
    *(f"--gin_file={name}" for name in files),
    f"--gin_file={folder / 'losses.gin'}",
    f"--gin.MODEL_DIR='{model_dir}'",
    f"--gin.TRAIN_STEPS={case.steps}",
    f"--gin.LEARNING_RATE={LEARNING_RATE}",
    "--gin.VOCAB_SIZE=2176",
    "--gin.Z_LOSS=1e-4",
    "--gin.DROPOUT_RATE=0.0",
    "--gin.ACTIVATION_DTYPE='float32'",
    "--gin.MODEL_PARALLEL_SUBMESH=(1, 2, 1, 1)",
    *(["--gin.NUM_LISTS=4"] if case.lists else []),
    devices=4,
    python_path=[folder],
  )
  events = event_accumulator.EventAccumulator(str(model_dir / "train"))
  losses = [
    float(tensor_util.make_ndarray(event.tensor_proto))
    for event in events.Reload().Tensors("loss")
  ]
  began = opening.open_checkpoint(model_dir, 0).params
  params = {name: tensor.read() for name, tensor in began.items()}
  return losses, traverse_util.unflatten_dict(params, sep="/")


@pytest.mark.parametrize("name", CASES)
def test_losses_agree(name, request, tmp_path):
  case = CASES[name]
  module, learnt = _module(case), case.objective
  if case.lists:
    t5x = request.getfixturevalue("t5x_lists")
    opened, bound = request.getfixturevalue("open_lists")
    stream, learnt = opened(case.data), bound(learnt)
  else:
    t5x = request.getfixturevalue("t5x")
    opened = request.getfixturevalue("open_stream")
    stream = opened(case.data, module.reads_rows)
  theirs, params = _t5x_losses(t5x, stream, case, tmp_path)
  assert ("title_matching" in params) == case.titles
  frozen = adapters.split(params)[1]
  runner.train(
    runner.TrainConfig(
      model=_StartingAt(module, params, learnt),
      initial_checkpoint=_saved(frozen, tmp_path) if frozen else None,
      optimizer=optimizer.adafactor(
        LEARNING_RATE, multiply_by_parameter_scale=not frozen
      ),
      train_steps=case.steps,
      log_period=1,
      mean_loss=False,
    ),
    stream,
    None,
    tmp_path / "embedded",
  )
  rows = (tmp_path / "embedded" / "metrics.jsonl").read_text().splitlines()
  ours = [json.loads(row)["loss"] for row in rows]
  assert len(ours) == len(theirs) == case.steps
  print(f"{name}: {ours} against {theirs}")
  # Not the same because nothing was learnt.
  much = case.objective is None and case.adapter is None
  assert ours[-1] < ours[0] - (0.5 if much else 0.0)
  np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
  if case.adapter:
    _check_adapters_alone(tmp_path / "model", case.steps)


def _saved(params, folder):
  """The network of adapters, as a checkpoint."""
  flat = traverse_util.flatten_dict(params)
  tree = {("params", *name): x for name, x in flat.items()}
  path = folder / "network"
  orbax_form.write(path, 0, {**tree, ("step",): np.int32(0)})
  return str(path)


def _check_adapters_alone(model_dir, steps):
  """T5X trained, and keeps moments of, adapters alone."""
  first, last = (
    opening.open_checkpoint(model_dir, step) for step in (0, steps)
  )
  for name, tensor in last.params.items():
    same = np.array_equal(tensor.read(), first.params[name].read())
    assert same != adapters.is_adapter(name), name
  moments = {
    name for name in last.left if name.startswith("state/param_states/")
  }
  assert moments
  assert all("/lora_" in name for name in moments)
