"""Policy gradient over lists of titles, as a training step takes it."""

import dataclasses
import functools
import os
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest
from flax import traverse_util

from instructrec.alignment import list_objective, list_rows, rollouts
from instructrec.evaluation.control import Direction
from instructrec.models import ranking_model
from instructrec.models.generation import (
  catalog_trie,
  title_lists,
)
from instructrec.models.networks import adapters, reading, t5
from instructrec.models.networks.t5_config import T5Config
from instructrec.models.objectives import (
  dpo,
  grpo,
  item_grpo,
  objective,
  ppo,
  token_likelihood,
)
from instructrec.training import mesh as mesh_lib
from instructrec.training import train_step

EOS, SEPARATORS = 1, (11,)
TITLES = [[4, 1], [4, 5, 1], [6, 7, 1], [6, 8, 8, 1], [9, 1]]
TRIE = catalog_trie.CatalogTrie.build(TITLES, eos_id=EOS, vocab_size=12)
INPUTS = np.array([[5, 9, 4, 1, 0], [7, 3, 1, 0, 0]], np.int32)
TARGET = np.array([[6, 7, 11, 9, 1, 0], [9, 1, 0, 0, 0, 0]], np.int32)
# Two of items 2 and 4 are wanted, of which the teacher puts 4 first; one item
# that is not 1, the target being 5.
BATCH = {
  "encoder_input_tokens": INPUTS,
  "decoder_input_tokens": np.pad(TARGET, ((0, 0), (1, 0)))[:, :-1],
  "decoder_target_tokens": TARGET,
  "decoder_loss_weights": (TARGET > 0).astype(np.float32),
  "list_sizes": np.array([2, 1], np.int32),
  "list_wishes": np.array(
    [[Direction.WANTED, 0, 2, 2], [Direction.UNWANTED, 0, 1, 4]], np.int32
  ),
  "list_has": np.array([[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]], bool),
  "list_history": np.array([[3], [0]], np.int32),
  "list_targets": np.array([4, 5], np.int32),
  "list_teacher": np.array([[4, 2, 5], [5, 4, 2]], np.int32),
  "list_keys": np.array([[1, 2], [-3, 4]], np.int32),
}
BEST = [[4, 2], [5, 0]]
CONFIG = T5Config(
  vocab_size=12,
  emb_dim=8,
  num_heads=2,
  num_encoder_layers=1,
  num_decoder_layers=1,
  head_dim=4,
  mlp_dim=16,
  dropout_rate=0.1,
)
LORA = adapters.LoRA(targets=".*/(query|wo)", rank=2, dropout_rate=0.1)
LISTS = list_objective.ListObjective(
  separator_ids=SEPARATORS,
  max_items=2,
  num_lists=8,
  loss=item_grpo.ItemGRPO(divergence_weight=0.0),
  catalog=TRIE,
)
ANCHOR = token_likelihood.TokenLikelihood()
BOTH = objective.WeightedSum((LISTS, ANCHOR), (1.0, 0.1))
SHAPES = {name: array.shape for name, array in BATCH.items()}


def _model(config, found):
  return ranking_model.NetworkRankingModel(t5.T5(config), objective=found)


@functools.cache
def _params(config):
  model = _model(config, None)
  made = jax.jit(lambda key: model.get_initial_variables(key, SHAPES))
  return made(jax.random.key(0))["params"]


def _trained(config, found, steps, learning_rate=0.05, start=None):
  """A model after some steps, and the metrics of each."""
  model, optimizer = _model(config, found), optax.adam(learning_rate)
  start = _params(config) if start is None else start
  step = jax.jit(
    functools.partial(train_step.train_step, model=model, optimizer=optimizer)
  )
  state = train_step.start_from(start, optimizer)
  seen = []
  rng = np.random.default_rng(0)
  for _ in range(steps):
    keys = rng.integers(2**31, size=(2, 2)).astype(np.int32)
    state, metrics = step(
      state, {**BATCH, "list_keys": keys}, jax.random.key(1)
    )
    seen.append({name: m.compute() for name, m in metrics.items()})
  return state.params, seen


@pytest.fixture(scope="module", name="adapted")
def adapted_fixture():
  """Adapters are trained from zero, the divergence from what was counted."""
  config = dataclasses.replace(CONFIG, adapter=LORA)
  lists = dataclasses.replace(
    LISTS, loss=item_grpo.ItemGRPO(divergence_weight=0.1)
  )
  return _params(config), *_trained(config, lists, 4)


def test_a_first_step_has_the_ratio_one_and_no_divergence(adapted):
  _, _, (first, *later) = adapted
  assert first["policy/ratio"] == pytest.approx(1.0, abs=1e-5)
  assert first["policy/divergence"] == pytest.approx(0.0, abs=1e-6)
  assert first["policy/clipped"] == 0.0
  # Drawn anew by the policy that is trained, which moves from the reference.
  assert later[-1]["policy/ratio"] == pytest.approx(1.0, abs=1e-5)
  assert later[-1]["policy/divergence"] > 1e-4


def test_with_adapters_these_alone_change(adapted):
  before, after, _ = adapted
  before = traverse_util.flatten_dict(before, sep="/")
  for name, value in traverse_util.flatten_dict(after, sep="/").items():
    same = np.array_equal(value, before[name])
    assert same != adapters.is_adapter(name), name


def test_what_is_reported_is_of_the_lists_that_were_drawn(adapted):
  _, _, (first, *_) = adapted
  # Of two and of one item; constrained, none is wrong.
  assert first["lists/items"] == 1.5
  assert first["lists/errors"] == 0.0
  assert 0.0 < first["lists/distinct"] < 1.0
  assert 0.0 < first["reward/task"] < 1.0
  assert first["policy/same_rewards"] in (0.0, 0.5)


@pytest.fixture(scope="module", name="critical")
def critical_fixture():
  """Adapters and a critic, trained by PPO three times a draw."""
  config = dataclasses.replace(CONFIG, adapter=LORA, value_head=True)
  lists = dataclasses.replace(
    LISTS, loss=ppo.PPO(), num_updates=3, most_moved=10.0
  )
  return _params(config), *_trained(config, lists, 2)


def test_beside_adapters_a_critic_is_trained_and_nothing_else(critical):
  before, after, _ = critical
  before = traverse_util.flatten_dict(before, sep="/")
  names = set()
  for name, value in traverse_util.flatten_dict(after, sep="/").items():
    if not np.array_equal(value, before[name]):
      names.add(name)
  assert names == {name for name in before if adapters.is_trained(name)}
  heads = {name for name in names if name.startswith("value_head/")}
  assert len(heads) == 3


def test_lists_that_were_drawn_once_are_learnt_from_several_times(critical):
  _, _, (first, _) = critical
  assert first["updates"] == 3.0
  # The first update is of the policy that drew, the others of those after it.
  assert first["policy/ratio_min"] < 1.0 - 1e-3
  assert first["policy/ratio_max"] > 1.0 + 1e-3
  assert 1e-5 < first["policy/moved"] < 0.5
  assert first["policy/divergence"] > 0.0
  assert first["value/loss"] > 0.0


def test_a_trainer_that_updates_once_is_refused_several_updates():
  several = dataclasses.replace(LISTS, num_updates=2)
  model = _model(CONFIG, several)
  with pytest.raises(ValueError, match="num_updates = 1"):
    jax.eval_shape(model.loss_fn, _params(CONFIG), BATCH, jax.random.key(0))
  # Validation learns nothing, and draws by itself.
  jax.eval_shape(model.eval_fn, _params(CONFIG), BATCH)


@pytest.mark.parametrize(
  "loss",
  [
    item_grpo.ItemGRPO,
    pytest.param(grpo.GRPO, marks=pytest.mark.slow),
    pytest.param(ppo.PPO, marks=pytest.mark.slow),
  ],
)
def test_the_best_list_is_approached(loss):
  lists = dataclasses.replace(LISTS, loss=loss(divergence_weight=0.0))
  config, steps, rate = CONFIG, 60, 0.05
  if loss is ppo.PPO:
    # Four updates a draw, which would settle for less at a higher rate.
    config, steps, rate = (
      dataclasses.replace(CONFIG, value_head=True),
      30,
      0.02,
    )
    lists = dataclasses.replace(lists, num_updates=4)
  params, seen = _trained(config, lists, steps, rate)
  assert "policy/divergence" not in seen[0]
  assert seen[-1]["reward/list"] > seen[0]["reward/list"] + 1.0
  drawn = _drawn(params, BATCH)
  share = (drawn == np.array(BEST)[:, None]).all(-1).mean(1)
  before = _drawn(_params(CONFIG), BATCH) == np.array(BEST)[:, None]
  assert (before.all(-1).mean(1) < 0.5).all()
  assert (share > 0.75).all(), share


@pytest.mark.slow
def test_the_best_list_is_preferred_to_those_that_the_teacher_makes_beside_it():
  """Its own adapters alone have to prefer it; the reference does not."""
  config = dataclasses.replace(CONFIG, adapter=LORA)
  lists = dataclasses.replace(
    LISTS, taught=True, num_lists=4, loss=dpo.DPO(1.0)
  )
  _, seen = _trained(config, lists, 25)
  assert seen[0]["loss"] == pytest.approx(
    np.log(4) / 2 + np.log(2) / 2, abs=0.3
  )
  assert seen[-1]["policy/preferred"] == 1.0
  assert seen[-1]["loss"] < 0.3 * seen[0]["loss"]
  # The lists are the same in each step.
  assert seen[-1]["reward/list"] == pytest.approx(seen[0]["reward/list"])


def test_each_policy_reads_the_lists_that_the_teacher_made_once(monkeypatch):
  config = dataclasses.replace(CONFIG, adapter=LORA)
  lists = dataclasses.replace(LISTS, taught=True, num_lists=4, loss=dpo.DPO())
  follow, read = title_lists.follow, []

  def counted(reading, *rest):
    read.append(reading.has_adapters)
    return follow(reading, *rest)

  monkeypatch.setattr(title_lists, "follow", counted)
  model = _model(config, lists)
  jax.eval_shape(model.loss_fn, _params(config), BATCH, jax.random.key(0))
  assert sorted(read) == [False, True]


@pytest.mark.slow
def test_lists_of_any_text_learn_to_have_no_errors():
  """From lists that were taught, one of which begins with the history."""
  free = dataclasses.replace(LISTS, constrained=False, max_length=7)
  start, _ = _trained(CONFIG, ANCHOR, 40)
  _, seen = _trained(CONFIG, free, 30, start=start)
  first, last = seen[0], seen[-1]
  assert first["policy/ratio"] == pytest.approx(1.0, abs=1e-5)
  assert first["lists/errors"] > 0.25
  assert last["lists/errors"] < 0.5 * first["lists/errors"]
  assert last["lists/items"] >= 1.0
  assert last["reward/list"] > first["reward/list"] + 1.0


def test_places_that_are_left_empty_are_as_bad_as_errors():
  """As far as they were asked for, and the catalogue has so many."""
  items = np.array([[[1, -2], [-2, -2]], [[4, -2], [-2, -2]]])
  asked = list_rows.asked(BATCH)
  missing = [[[0, 1], [1, 1]], [[0, 0], [1, 0]]]
  np.testing.assert_array_equal(LISTS._missing(items, asked), missing)
  few = asked._replace(wish=asked.wish._replace(pool=np.array([[1], [1]])))
  missing = [[[0, 0], [1, 0]], [[0, 0], [1, 0]]]
  np.testing.assert_array_equal(LISTS._missing(items, few), missing)
  paper = dataclasses.replace(LISTS, form="paper")
  assert not paper._missing(items, asked).any()


@jax.jit
def _drawn(params, batch):
  """Items of lists that a policy draws."""
  prompts = {"encoder_input_tokens": batch["encoder_input_tokens"]}
  return rollouts.draw(
    reading.Reading(t5.T5(CONFIG), params, prompts),
    TRIE,
    list_rows.requests(batch),
    LISTS.policy,
    num_lists=64,
    rng=list_rows.keys(batch),
  ).lists.items


@pytest.fixture(scope="module", name="gradients")
def gradients_fixture():
  """Of both objectives together, of each, and what the second reports."""
  models = [_model(CONFIG, found) for found in (BOTH, LISTS, ANCHOR)]

  @jax.jit
  def gradients(params, batch):
    found = [
      jax.grad(model.loss_fn, has_aux=True)(params, batch, None)
      for model in models
    ]
    return [gradient for gradient, _ in found], found[1][1]

  return functools.partial(gradients, _params(CONFIG))


def test_lists_that_are_worth_the_same_teach_nothing(gradients):
  """All items are as wanted, and the teacher knows none of them."""
  (_, lists, _), metrics = gradients(
    {
      **BATCH,
      "list_has": np.ones((2, 5), bool),
      "list_wishes": np.array([[Direction.WANTED, 0, 4, 0]] * 2, np.int32),
      "list_targets": np.zeros(2, np.int32),
      "list_teacher": np.zeros((2, 3), np.int32),
    }
  )
  assert metrics["policy/same_rewards"].compute() == 1.0
  assert not any(np.asarray(x).any() for x in jax.tree.leaves(lists))


def test_what_is_drawn_of_a_row_follows_the_key_that_it_brings():
  """Wherever the row stands."""
  keys, back = BATCH["list_keys"], {n: x[::-1] for n, x in BATCH.items()}
  params = _params(CONFIG)
  first = _drawn(params, BATCH)
  np.testing.assert_array_equal(_drawn(params, back), first[::-1])
  others = _drawn(params, {**BATCH, "list_keys": keys + np.array([[0], [1]])})
  np.testing.assert_array_equal(others[0], first[0])
  assert (others[1] != first[1]).any()


@pytest.mark.slow
def test_neither_microbatches_nor_devices_change_a_step():
  devices = "--xla_force_host_platform_device_count=4"
  subprocess.run(
    [sys.executable, __file__],
    env=os.environ
    | {
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {devices}",
    },
    check=True,
    timeout=600,
  )


def _compare_steps():
  """One of eight rows, eight of one, and four devices; the same dropout key."""
  rows = {name: np.concatenate([array] * 4) for name, array in BATCH.items()}
  rows["list_keys"] = np.arange(16, dtype=np.int32).reshape(8, 2)
  mesh = mesh_lib.make_mesh(mesh_lib.MeshConfig())
  assert mesh.shape["data"] == 4
  split = jax.device_put(rows, mesh_lib.batch_sharding(mesh))
  params = _params(CONFIG)

  @functools.partial(jax.jit, static_argnames="parts")
  def gradients(batch, parts):
    model = _model(dataclasses.replace(CONFIG, dropout_rate=0.0), BOTH)
    found, metrics = train_step.compute_gradients(
      model, params, batch, jax.random.key(5), parts
    )
    return found, {name: m.compute() for name, m in metrics.items()}

  whole = gradients(rows, 1)
  assert any(np.abs(x).max() > 0.1 for x in jax.tree.leaves(whole[0]))
  for other in (gradients(rows, 8), gradients(split, 1)):
    for a, b in zip(*map(jax.tree.leaves, (whole, other)), strict=True):
      np.testing.assert_allclose(a, b, atol=1e-5)


def test_an_anchor_counts_beside_it_by_its_weight(gradients):
  found, metrics = gradients(BATCH)
  assert metrics["policy/same_rewards"].compute() < 1.0
  for both, lists, anchor in zip(*map(jax.tree.leaves, found), strict=True):
    np.testing.assert_allclose(both, lists + 0.1 * anchor, atol=1e-5)
  # Two rows, eight lists, two places.
  assert _model(CONFIG, BOTH).loss_divisor(BATCH) == 32.0


def test_a_divergence_needs_adapters():
  model = _model(CONFIG, dataclasses.replace(LISTS, loss=item_grpo.ItemGRPO()))
  with pytest.raises(ValueError, match=r"lora\.gin, or set ItemGRPO"):
    jax.eval_shape(model.eval_fn, _params(CONFIG), BATCH)


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"form": "best"}, "expected one of mended, paper"),
    ({"num_lists": 1}, "compared with others"),
    ({"taught": True}, "set NUM_LISTS = 4"),
    ({"num_updates": 0}, "expected at least 1"),
    ({"most_moved": 0.0}, "a number above 0"),
    ({"alpha": 2.0}, r"a number in \[0, 1\]"),
    ({"max_length": 9}, "would cut constrained lists"),
    ({"temperature": 0.0}, "temperature is 0.0; expected a number above 0"),
  ],
)
def test_wrong_settings_are_refused(changed, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(LISTS, **changed)


def test_a_batch_that_asks_for_no_lists_is_refused():
  batch = {n: x for n, x in BATCH.items() if n != "list_teacher"}
  model = _model(CONFIG, LISTS)
  with pytest.raises(ValueError, match="list_teacher, which the batch lacks"):
    model.loss_fn(_params(CONFIG), batch, None)


def test_a_run_gives_its_catalogue_and_separators():
  wants = dataclasses.replace(LISTS, catalog=None, separator_ids=None)
  both = objective.WeightedSum((wants, ANCHOR), (1.0, 0.1))
  assert list_objective.bound(both, TRIE, SEPARATORS) == BOTH
  assert list_objective.bound(ANCHOR, TRIE, SEPARATORS) is ANCHOR
  with pytest.raises(ValueError, match="rename it, or choose other"):
    list_objective.bound(both, TRIE, (8,))
  with pytest.raises(ValueError, match="has no separator_ids"):
    _ = wants.policy


if __name__ == "__main__":
  _compare_steps()
