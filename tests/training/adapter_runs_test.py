"""Runs with adapters: these alone are trained, saved and restored."""

import dataclasses
import functools
import hashlib
import shutil

import jax
import numpy as np
import optax
import polars as pl
import pytest
from flax import traverse_util

from instructrec.models import ranking_model
from instructrec.models.checkpoint import (
  fingerprint,
  opening,
  orbax_form,
  tensors,
)
from instructrec.models.networks import (
  adapters,
  llama,
  llama_config,
  t5,
  t5_config,
)
from instructrec.training import (
  adapted_network,
  batches,
  checkpoints,
  initial_checkpoint,
  optimizer,
  ragged,
  runner,
  token_dataset,
)
from instructrec.training import trainer as trainer_lib

SIZES = {
  "vocab_size": 64,
  "emb_dim": 16,
  "num_heads": 2,
  "num_decoder_layers": 2,
  "head_dim": 8,
  "mlp_dim": 32,
  "dropout_rate": 0.1,
}
CONFIGS = {
  "t5": (t5.T5, t5_config.T5Config(num_encoder_layers=2, **SIZES)),
  "llama": (
    llama.Llama,
    llama_config.LlamaConfig(**{**SIZES, "num_decoder_layers": 1}),
  ),
}
LORA = adapters.LoRA(
  targets=".*/(query|wo)", rank=2, alpha=8.0, dropout_rate=0.1
)


def _model(name, adapter=LORA, **changes):
  cls, config = CONFIGS[name]
  # T5 scanned, LLaMA layer by layer.
  changes = {
    "scan_layers": name == "t5",
    "adapter": adapter,
    # T5 with a critic, which is trained beside adapters.
    "value_head": name == "t5" and adapter is not None,
    **changes,
  }
  return ranking_model.NetworkRankingModel(
    cls(dataclasses.replace(config, **changes))
  )


@functools.cache
def _stream(name):
  """Targets that repeat what the prompt begins with."""
  rng = np.random.default_rng(0)
  inputs = rng.integers(3, 60, (32, 8)).astype(np.int32)
  inputs[:, -1] = 1
  targets = np.concatenate([inputs[:, :4], inputs[:, -1:]], axis=1)

  def rows(x):
    return ragged.Ragged(x.reshape(-1), np.arange(len(x) + 1) * x.shape[1])

  data = token_dataset.TokenDataset(
    "copy/train",
    rows(inputs),
    rows(targets),
    None,
    pl.DataFrame(),
    {"fingerprint": "0"},
  )
  return batches.BatchStream(
    datasets={"copy": data},
    rates={"copy": 1.0},
    batch_size=8,
    inputs_length=12,
    targets_length=8,
    seed=0,
    pack=name == "t5",
  )


def _config(name, base, **changes):
  return runner.TrainConfig(
    **{
      "model": _model(name),
      "optimizer": optimizer.adamw(3e-2),
      "train_steps": 4,
      "num_microbatches": 2 if name == "t5" else 1,
      "log_period": 1,
      "checkpoint_period": 2,
      "initial_checkpoint": None if base is None else str(base),
      **changes,
    }
  )


def _train(name, base, folder, **changes):
  return runner.train(
    _config(name, base, **changes), _stream(name), None, folder
  ).state


def _hashes(folder):
  return {
    path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


@dataclasses.dataclass(frozen=True)
class Trained:
  """A network, and a run that trained adapters on it."""

  name: str
  base: object
  hashes: dict
  run: object
  state: object


@pytest.fixture(scope="module", params=CONFIGS, name="trained")
def trained_fixture(request, tmp_path_factory):
  name = request.param
  folder = tmp_path_factory.mktemp(name)
  base = _base(name, folder / "base")
  hashes = _hashes(base)
  state = _train(name, base, folder / "run")
  return Trained(name, base, hashes, folder / "run", state)


def _base(name, folder, seed=0):
  model = _model(name, None, scan_layers=False)
  shapes = {"decoder_input_tokens": (1, 4)}
  draw = jax.jit(lambda rng: model.get_initial_variables(rng, shapes)["params"])
  flat = traverse_util.flatten_dict(draw(jax.random.key(seed)))
  tree = {("params", *n): np.asarray(x) for n, x in flat.items()}
  orbax_form.write(folder, 0, {**tree, ("step",): np.int32(0)})
  return folder


def _flat(tree):
  return traverse_util.flatten_dict(tree, sep="/")


def test_adapters_and_critic_alone_are_in_optimizer_and_checkpoint(trained):
  names = {n for n in _flat(trained.state.params) if adapters.is_trained(n)}
  heads = {n for n in names if n.startswith("value_head/")}
  assert bool(heads) == (trained.name == "t5")
  assert names > heads
  moments = optax.tree_utils.tree_get(trained.state.opt_state, "mu")
  assert set(_flat(moments)) == names
  found = opening.open_checkpoint(trained.run)
  saved = set(found.params)
  assert all(map(adapters.is_trained, saved))
  for name in heads:
    value = _flat(trained.state.params)[name]
    np.testing.assert_array_equal(found.params[name].read(), value)
  others = [name for name in found.left if "value_head" not in name]
  assert not any("kernel" in name or "embedding" in name for name in others)
  single = {adapters.without_number(name) for name in saved}
  assert single == {adapters.without_number(name) for name in names}


def test_the_network_does_not_change_by_a_bit(trained):
  assert _hashes(trained.base) == trained.hashes
  frozen = adapters.split(trained.state.params)[1]
  placed = initial_checkpoint.load_params(
    str(trained.base),
    jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
      frozen,
    ),
  )
  for name, x in _flat(placed).items():
    assert np.asarray(_flat(frozen)[name]).tobytes() == np.asarray(x).tobytes()
  # While every B has moved from zero.
  assert all(
    np.asarray(x).any()
    for n, x in _flat(trained.state.params).items()
    if n.endswith("lora_b")
  )


def test_a_run_that_was_stopped_ends_with_the_same_bits(trained, tmp_path):
  _train(trained.name, trained.base, tmp_path, train_steps=2)
  state = _train(trained.name, trained.base, tmp_path)
  jax.tree.map(np.testing.assert_array_equal, state, trained.state)


def test_the_merged_network_scores_as_the_trained_one(trained):
  model = _model(trained.name)
  network = adapted_network.AdaptedNetwork.of_run(
    trained.run / "checkpoints", None, LORA, str(trained.base)
  )
  plain = model.merged()
  like = adapters.split(trained.state.params)[1]
  params = network.place(
    jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
      like,
    )
  )
  batch = _stream(trained.name).batch(9)
  score = jax.jit(plain.eval_fn)
  found = score(params, batch)[0]
  expected = jax.jit(model.eval_fn)(trained.state.params, batch)[0]
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  untrained = score(like, batch)[0]
  assert expected < untrained - 1.0


@pytest.fixture(scope="module", name="other")
def other_fixture(tmp_path_factory):
  """Another network of the same sizes as `trained`'s T5."""
  return _base("t5", tmp_path_factory.mktemp("other") / "base", seed=1)


@pytest.fixture(scope="module", name="of_t5")
def of_t5_fixture(trained):
  if trained.name != "t5":
    pytest.skip("once is enough")
  return trained


def test_another_network_of_the_same_sizes_is_refused(of_t5, other, tmp_path):
  with pytest.raises(
    checkpoints.CheckpointMismatchError, match="trained with base = 'sha256:"
  ):
    _train("t5", other, of_t5.run, train_steps=6)
  network = adapted_network.AdaptedNetwork.of_run(
    of_t5.run / "checkpoints", 4, LORA, str(other)
  )
  with pytest.raises(tensors.CheckpointError, match="holds other numbers"):
    network.merged()


def test_a_run_goes_on_with_the_adapters_that_it_has(of_t5):
  for change in ({"rank": 4}, {"alpha": 1.0}, {"targets": ".*"}):
    lora = dataclasses.replace(LORA, **change)
    with pytest.raises(
      checkpoints.CheckpointMismatchError, match="trained with adapter ="
    ):
      _train(
        "t5", of_t5.base, of_t5.run, model=_model("t5", lora), train_steps=6
      )


def test_the_network_may_move_or_change_its_form(of_t5, tmp_path):
  moved = tmp_path / "elsewhere"
  shutil.copytree(of_t5.base, moved)
  run = tmp_path / "run"
  shutil.copytree(of_t5.run, run)
  state = _train("t5", moved, run)  # There is nothing left to train.
  jax.tree.map(np.testing.assert_array_equal, state, of_t5.state)


def test_adapters_want_a_trained_network(of_t5, tmp_path):
  with pytest.raises(ValueError, match="set INITIAL_CHECKPOINT_PATH"):
    _train("t5", None, tmp_path)
  # The adapters of a run are no network.
  with pytest.raises(tensors.CheckpointError, match="adapters without their"):
    _train("t5", of_t5.run, tmp_path)


def test_a_network_of_other_sizes_is_refused(of_t5, tmp_path):
  model = _model("t5", mlp_dim=24)
  with pytest.raises(tensors.CheckpointError, match="of another shape"):
    _train("t5", of_t5.base, tmp_path, model=model)
  assert not list((tmp_path / "checkpoints").iterdir())


def test_state_shapes_hold_no_moments_of_the_network():
  config = _config("t5", None)
  shapes = {n: x.shape for n, x in _stream("t5").batch(0).items()}
  state = trainer_lib.Trainer.create(config, shapes).abstract_state
  trained = sum(x.size for x in jax.tree.leaves(state.trained().params))
  moments = sum(x.size for x in jax.tree.leaves(state.opt_state))
  assert moments == 2 * trained + 1  # And a count.
  whole = sum(x.size for x in jax.tree.leaves(state.params))
  assert trained < whole / 5


def test_a_fingerprint_is_of_numbers_and_names(of_t5, other, tmp_path):
  base = opening.open_checkpoint(of_t5.base)
  found = fingerprint.of(base)
  assert found.startswith("sha256:")
  assert found != fingerprint.of(opening.open_checkpoint(other))
  exact = np.dtype(np.float64)
  wider = {n: t.astype(exact) for n, t in reversed(base.params.items())}
  assert fingerprint.Fingerprint(wider).value() == found
  first, second = list(base.params)[:2]
  renamed = {**base.params, first: base.params[second]}
  assert fingerprint.Fingerprint(renamed).value() != found
