"""Scores of lists: the same in any bucket, batch, order, mesh and process."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import polars as pl
import pytest

import instructrec
from instructrec.models import ranking_model, tokenizer
from instructrec.models.networks import t5, t5_config
from instructrec.preflight import cost, hlo
from instructrec.training import (
  batches,
  distributed,
  mesh,
  scoring,
  token_dataset,
)
from instructrec.training import ragged as ragged_lib

_ROOT = pathlib.Path(instructrec.__file__).parent.parent
MESHES = {
  "4x1": mesh.MeshConfig(),
  "2x2": mesh.MeshConfig(model=2),
  "1x4": mesh.MeshConfig(model=4),
  "4x1, parameters split": mesh.MeshConfig(shard_parameters=True),
  "2x2, parameters split": mesh.MeshConfig(model=2, shard_parameters=True),
}
# One process of four devices, or one of two with two each. Run as a script, so
# it stands on its own.
_SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import scoring_test as here
here.score_on_meshes(*sys.argv[1:])
"""

VOCABULARY = 32
SIZES = {"inputs_length": 80, "targets_length": 12}
CONFIG = t5_config.T5Config(
  vocab_size=60,
  emb_dim=16,
  num_heads=2,
  head_dim=8,
  mlp_dim=32,
  num_encoder_layers=1,
  num_decoder_layers=1,
  dtype="float32",
)


def ragged(lengths, rng):
  tokens = rng.integers(3, 60, sum(lengths)).astype(np.int32)
  offsets = np.concatenate([[0], lengths]).cumsum()
  tokens[offsets[1:] - 1] = tokenizer.EOS_ID
  return ragged_lib.Ragged(tokens, offsets)


@pytest.fixture(scope="module")
def data():
  rng = np.random.default_rng(0)
  counts = [4, 2, 5, 3, 4]
  return token_dataset.TokenDataset(
    "lists",
    ragged([9, 150, 30, 4, 12], rng),
    ragged(rng.integers(2, 20, sum(counts)).tolist(), rng),
    np.concatenate([[0], counts]).cumsum(),
    pl.DataFrame({"request_id": list("abcde")}),
    {},
  )


@pytest.fixture(scope="module", params=["sum", "mean"])
def model(request):
  return ranking_model.NetworkRankingModel(
    t5.T5(CONFIG), score_normalization=request.param
  )


@pytest.fixture(scope="module")
def params(model):
  shapes = {"encoder_input_tokens": (1, 8), "decoder_input_tokens": (1, 8)}
  shapes["decoder_target_tokens"] = (1, 8)
  return jax.jit(lambda rng: model.get_initial_variables(rng, shapes))(
    jax.random.key(0)
  )["params"]


def score(model, params, data, examples, **options):
  return scoring.score_lists(
    model,
    params,
    data,
    np.asarray(examples),
    inputs_length=160,
    targets_length=24,
    batch_size=2,
    **options,
  )


def test_both_normalizations_come_from_one_pass(model, params, data):
  """Each is what the model itself gives under that setting."""
  found = score(model, params, data, range(5), normalizations=("sum", "mean"))
  own = model.score_normalization
  assert list(score(model, params, data, range(5))) == [own]
  batch = batches.list_batch(
    data, np.arange(5), inputs_length=160, targets_length=24, num_candidates=5
  )
  expected = np.asarray(jax.jit(model.score_batch)(params, batch))
  np.testing.assert_allclose(found[own], expected, rtol=2e-5)
  where = np.arange(5) < data.num_candidates[:, None]
  lengths = np.zeros((5, 5))
  lengths[where] = data.targets.lengths
  np.testing.assert_allclose(
    found["sum"][where], found["mean"][where] * lengths[where], rtol=2e-5
  )
  assert (found["sum"][~where] == -np.inf).all()


def test_exchanged_lists_are_scored_as_their_own(model, params, data):
  """Examples in another order, with candidates of another example's list."""
  examples = np.array([3, 0, 3])
  lists = [[0, 1], [6, 7, 8, 4], [2]]
  rows = np.concatenate([np.array(row) for row in lists])
  exchanged = data.with_lists(
    examples, data.targets.take(rows), np.array([2, 4, 1])
  )
  assert exchanged.columns["request_id"].to_list() == ["d", "a", "d"]
  own = model.score_normalization
  found = score(model, params, exchanged, range(3))[own]
  whole = data.with_lists(
    examples,
    data.targets.take(np.tile(np.arange(18), 3)),
    np.array([18, 18, 18]),
  )
  every = score(model, params, whole, range(3))[own]
  for i, row in enumerate(lists):
    np.testing.assert_allclose(found[i, : len(row)], every[i, row], rtol=2e-5)


def joined(rows):
  return ragged_lib.Ragged(
    np.concatenate(rows).astype(np.int32),
    np.cumsum([0, *map(len, rows)]),
  )


def tokens(rng, low, high):
  return np.append(rng.integers(2, VOCABULARY, rng.integers(low, high)), 1)


def make_dataset(count=9):
  rng = np.random.default_rng(0)
  counts = rng.integers(1, 8, count)
  return token_dataset.TokenDataset(
    name="lists/test",
    # Some fall into another bucket, and some are cut.
    inputs=joined([tokens(rng, 10, 90) for _ in counts]),
    targets=joined([tokens(rng, 1, 11) for _ in range(counts.sum())]),
    lists=np.cumsum([0, *counts]),
    columns=pl.DataFrame(),
    meta={},
  )


def make_model():
  network = t5_config.T5Config(
    vocab_size=VOCABULARY,
    emb_dim=16,
    num_heads=4,
    num_encoder_layers=1,
    num_decoder_layers=1,
    head_dim=8,
    mlp_dim=16,
  )
  model = ranking_model.NetworkRankingModel(t5.T5(network))
  shapes = {"encoder_input_tokens": (1, 8), "decoder_input_tokens": (1, 4)}
  initialize = jax.jit(lambda rng: model.get_initial_variables(rng, shapes))
  return model, initialize(jax.random.key(0))


@pytest.fixture(scope="module", name="dataset")
def dataset_fixture():
  return make_dataset()


@pytest.fixture(scope="module", name="setup")
def setup_fixture():
  model, variables = make_model()
  return model, variables["params"]


@pytest.fixture(scope="module", name="expected")
def expected_fixture(dataset, setup):
  """One batch of plain lists."""
  model, params = setup
  batch = batches.list_batch(
    dataset,
    np.arange(len(dataset)),
    num_candidates=int(dataset.num_candidates.max()),
    **SIZES,
  )
  return np.asarray(jax.jit(model.score_batch)(params, batch))


@pytest.mark.parametrize(
  "settings", [{}, {"batch_size": 2}, {"max_tokens": 1}, {"max_tokens": 300}]
)
def test_scores_are_those_of_plain_lists(dataset, setup, expected, settings):
  order = np.random.default_rng(1).permutation(len(dataset))
  found = scoring.score_lists(*setup, dataset, order, **SIZES, **settings)
  np.testing.assert_allclose(found["sum"], expected[order], atol=1e-5)


@pytest.mark.parametrize("most_nodes", [1, 12, 30])
def test_a_long_list_becomes_several_trees(
  dataset, setup, expected, monkeypatch, most_nodes
):
  monkeypatch.setattr(scoring, "_TREE_NODES", most_nodes)
  model, params = setup
  trees = []

  class Spy:
    score_normalization = "sum"

    def score_batch(self, params, batch, return_intermediates):
      rows = len(batch["encoder_input_tokens"])
      trees.append(len(batch["decoder_positions"]) / rows)
      return model.score_batch(params, batch, return_intermediates)

  order = np.random.default_rng(1).permutation(len(dataset))
  found = scoring.score_lists(Spy(), params, dataset, order, **SIZES)
  np.testing.assert_allclose(found["sum"], expected[order], atol=1e-5)
  assert max(trees) > 1


def test_the_work_grows_with_the_list_and_not_with_its_square(setup):
  """A tree's attention looks from each of its nodes to each."""
  model, params = setup
  pairs = []

  class Spy:
    score_normalization = "sum"

    def score_batch(self, params, batch, return_intermediates):
      count, nodes = batch["decoder_positions"].shape
      pairs.append(count / len(batch["encoder_input_tokens"]) * nodes**2)
      return model.score_batch(params, batch, return_intermediates)

  rng = np.random.default_rng(0)
  for length in (100, 400):
    lists = token_dataset.TokenDataset(
      name=f"lists of {length}",
      inputs=joined([tokens(rng, 10, 30)]),
      targets=joined([tokens(rng, 8, 11) for _ in range(length)]),
      lists=np.array([0, length]),
      columns=pl.DataFrame(),
      meta={},
    )
    scoring.score_lists(Spy(), params, lists, np.arange(1), **SIZES)
  assert pairs[1] / pairs[0] < 1.3 * 4


def test_batches_fit_the_budget_and_shapes_are_few(dataset, setup):
  model, params = setup
  seen = []

  class Spy:
    score_normalization = "sum"

    def score_batch(self, params, batch, return_intermediates):
      seen.append(
        (batch["encoder_input_tokens"].shape, batch["decoder_positions"].shape)
      )
      return model.score_batch(params, batch, return_intermediates)

  scoring.score_lists(
    Spy(), params, dataset, np.arange(9), max_tokens=400, **SIZES
  )
  # Each shape is traced once.
  assert len(seen) == len(set(seen))
  for (batch, inputs), (_, nodes) in seen:
    assert batch * (inputs + nodes) <= 400
  assert {shape[0][1] for shape in seen} == {64, 80}


def test_too_long_candidates_are_an_error(dataset, setup):
  with pytest.raises(ValueError, match="raise the length of the targets"):
    scoring.score_lists(
      *setup, dataset, np.arange(9), inputs_length=80, targets_length=5
    )


class Untouched:
  """Scores without a network, and notes each shape that is compiled."""

  score_normalization = "sum"

  def __init__(self):
    self.shapes = []

  def score_batch(self, params, batch, return_intermediates):
    self.shapes.append({name: x.shape for name, x in batch.items()})
    weights = batch["decoder_loss_weights"]
    parts = {"token_scores": (weights,), "loss_weights": (weights,)}
    return weights.sum(-1), {"decoder": parts}


@pytest.mark.parametrize("seed", range(3))
def test_neither_programs_nor_batches_grow_with_the_requests(seed):
  """Any number of requests in blocks of any size, as `evaluate` scores them."""
  model, most = Untouched(), 800
  rng = np.random.default_rng(seed)
  for count in (5, 50, 500, 2000):
    dataset = make_dataset(count)
    order = rng.permutation(count)
    cuts = np.sort(rng.integers(0, count, 3))
    for block in np.split(order, cuts):
      if not len(block):
        continue
      found = scoring.score_lists(
        model, {}, dataset, block, max_tokens=most, batch_size=32, **SIZES
      )
      counts = dataset.num_candidates[block]
      assert (np.isfinite(found["sum"]).sum(1) == counts).all()
  sizes: dict = {}
  for shapes in model.shapes:
    (batch, inputs), (_, nodes) = (
      shapes["encoder_input_tokens"],
      shapes["decoder_positions"],
    )
    assert batch * (inputs + nodes) <= most
    sizes.setdefault((inputs, nodes), set()).add(batch)
  # Two lengths of instructions and two of trees; sizes of batches are few.
  assert set(sizes) <= {(i, n) for i in (64, 80) for n in (64, 96)}
  assert max(map(len, sizes.values())) <= 8


def test_no_list_is_lost_where_batches_are_multiples():
  rng = np.random.default_rng(0)
  for _ in range(200):
    multiple = int(rng.integers(1, 9))
    most = multiple * int(rng.integers(1, 40))
    members = rng.permutation(int(rng.integers(1, 300)))
    cut = scoring._batches(members, most, multiple)
    (size,) = {len(batch) for batch in cut}
    assert size % multiple == 0
    assert size <= most
    assert set(np.concatenate(cut)) == set(members)
    # Fewer than a batch are repeats.
    assert sum(map(len, cut)) - len(members) < size


def score_on_meshes(output, address="", count="1", index="0"):
  """Scores on every mesh of four devices; run in processes of their own."""
  if int(count) > 1:
    distributed.initialize(address, int(count), int(index), 60)
  # Some lists become several trees.
  scoring._TREE_NODES = 20
  model, variables = make_model()
  dataset = make_dataset()
  found, sent = {}, {}
  for name, layout in MESHES.items():
    device_mesh = mesh.make_mesh(layout)
    shardings = mesh.parameter_shardings(
      variables["params_axes"], device_mesh, layout
    )
    params = jax.tree.map(
      lambda x, sharding: jax.make_array_from_callback(
        x.shape, sharding, lambda at: np.asarray(x)[at]
      ),
      variables["params"],
      shardings,
    )
    order = np.arange(len(dataset))
    found[name] = scoring.score_lists(
      model, params, dataset, order, mesh_config=layout, batch_size=6, **SIZES
    )["sum"]
    if name in ("4x1", "1x4"):
      sent[name] = _sent_bytes(model, params, dataset, layout)
  np.savez(f"{output}.{index}.npz", **found)
  pathlib.Path(f"{output}.{index}.json").write_text(json.dumps(sent))


def _sent_bytes(model, params, dataset, layout):
  """What a device sends for a batch of eight lists with 64 + 64 tokens."""
  device_mesh = mesh.make_mesh(layout)
  batch = scoring.candidate_tree.to_features(
    dataset.inputs.pad(np.arange(8), 64),
    dataset.pad_lists(np.arange(8), 12, 7),
    64,
  )
  sharding = mesh.batch_sharding(device_mesh)
  shapes = {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    for name, x in batch.items()
  }
  with mesh.use(device_mesh, layout):
    score_fn = scoring._score_fn(model, ("sum",), layout)
    text = score_fn.lower(params, shapes).compile().as_text()
  return cost.analyze(hlo.Program.parse(text), 4).sent_bytes


def start(output, processes):
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{probe.getsockname()[1]}"
  devices = f"--xla_force_host_platform_device_count={4 // processes}"
  running = [
    subprocess.Popen(
      [
        sys.executable,
        "-c",
        _SCRIPT.format(tests=str(pathlib.Path(__file__).parent)),
        *map(str, (output, address, processes, index)),
      ],
      env={
        **os.environ,
        "PYTHONPATH": str(_ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {devices}",
      },
      stderr=subprocess.PIPE,
      text=True,
    )
    for index in range(processes)
  ]
  try:
    errors = [process.communicate(timeout=300)[1] for process in running]
  finally:
    for process in running:
      process.kill()
  assert [p.returncode for p in running] == [0] * processes, errors
  return errors


@pytest.fixture(scope="module")
def four_devices(tmp_path_factory):
  output = tmp_path_factory.mktemp("meshes") / "scores"
  start(output, 1)
  return output


@pytest.mark.parametrize("name", MESHES)
def test_four_devices_give_the_scores_of_one(four_devices, expected, name):
  found = np.load(f"{four_devices}.0.npz")[name]
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_devices_that_split_the_requests_send_nothing_but_scores(four_devices):
  sent = json.loads(pathlib.Path(f"{four_devices}.0.json").read_text())
  # A ring passes three quarters of 8 x 7 float32 scores.
  assert sent["4x1"] == 3 / 4 * 8 * 7 * 4
  assert sent["1x4"] > sent["4x1"]


@pytest.mark.slow
def test_two_processes_have_the_scores_of_one(tmp_path, expected):
  _, other = start(tmp_path / "scores", 2)
  for index in (0, 1):
    for name, found in np.load(tmp_path / f"scores.{index}.npz").items():
      np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=name)
  assert "score:" not in other
