"""Objectives: their formulas, their divisors, and what they may not see."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from instructrec.models import ranking_model
from instructrec.models.networks import reading, t5
from instructrec.models.objectives import (
  listwise,
  next_item,
  objective,
  token_likelihood,
)
from instructrec.training import train_step

HISTORY, CHOICES, LENGTH = 4, 3, 2
NUM_ITEMS = 12
OBJECTIVES = {
  "token": token_likelihood.TokenLikelihood(),
  "listwise": listwise.Listwise(),
  "next_item": next_item.NextItem(),
  "sum": objective.WeightedSum(
    (next_item.NextItem(), token_likelihood.TokenLikelihood()), (1.0, 0.1)
  ),
}


@pytest.fixture(scope="module")
def setup(make_setup, tiny_config):
  found = make_setup(
    dataclasses.replace(tiny_config, title_matching=True, dropout_rate=0.0)
  )
  # Queries of requests start at zero and would hide what they read.
  params = jax.tree.map(lambda x: x, found.params)
  kernel = params["title_matching"]["request_query"]["kernel"]
  params["title_matching"]["request_query"]["kernel"] = 0.3 * jnp.asarray(
    np.random.default_rng(3).normal(size=kernel.shape), jnp.float32
  )
  return dataclasses.replace(found, params=params)


def draw_batch(rows=4, seed=0):
  """A batch of random items whose titles are fixed by their numbers."""
  rng = np.random.default_rng(seed)
  tokens = np.random.default_rng(7).integers(2, 31, (NUM_ITEMS + 1, LENGTH))
  tokens[::3, 1] = 0
  tokens[0] = 0
  logs = np.random.default_rng(8).normal(size=(NUM_ITEMS + 1, 3))
  logs[0] = 0
  history = rng.integers(1, NUM_ITEMS + 1, (rows, HISTORY))
  history[0, :2] = 0
  history[1] = 0
  choices = rng.integers(1, NUM_ITEMS + 1, (rows, CHOICES))
  choices[2, 0] = 0
  targets = np.zeros((rows, 4), np.int32)
  targets[:, :2] = tokens[choices[:, 0]]
  targets[:, 2] = 1
  targets[targets.sum(1) == 1, 2] = 1
  batch = {
    "encoder_input_tokens": rng.integers(2, 31, (rows, 6)),
    "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
    "decoder_target_tokens": targets,
    "decoder_loss_weights": (targets > 0).astype(np.float32),
  }
  for side, items in (("history", history), ("choice", choices)):
    batch[f"{side}_items"] = items.astype(np.int32)
    batch[f"{side}_tokens"] = tokens[items].astype(np.int32)
    batch[f"{side}_logs"] = logs[items].astype(np.float32)
  # The last one's target is of a list: nothing that came next.
  batch["choice_follows"] = (np.arange(rows)[:, None] < rows - 1).astype(int)
  return batch


@functools.cache
def compiled(model, method):
  """A method of a model, compiled: one by one its operations take long."""
  return jax.jit(getattr(model, method))


def loss_of(model, params, batch):
  """Loss, metrics and divisor."""
  loss, metrics = jax.jit(lambda p, b: model.loss_fn(p, b, None))(params, batch)
  return float(loss), metrics, float(model.loss_divisor(batch))


def model_of(setup, wanted):
  return ranking_model.NetworkRankingModel(
    setup.model.module, objective=OBJECTIVES[wanted]
  )


def test_next_item_is_the_formula_written_as_loops(setup):
  batch = draw_batch()
  model = model_of(setup, "next_item")
  states = jax.jit(
    lambda p, b: reading.Reading(setup.model.module, p, b).states
  )(setup.params, batch)
  slots = [
    np.concatenate([batch[f"history_{n}"], batch[f"choice_{n}"]], 1)
    for n in ("tokens", "items", "logs")
  ]
  vectors = np.asarray(model.title_vectors(setup.params, slots[0], slots[1]))
  alpha = float(model.popularity_weight(setup.params))
  total, count = 0.0, 0
  pool = [
    (slots[1][r, s], vectors[r, s], slots[2][r, s])
    for r in range(4)
    for s in range(HISTORY + CHOICES)
  ]
  for row in range(4):
    queries = [
      *np.asarray(states.history[row]),
      np.asarray(states.request[row]),
    ]
    for k, query in enumerate(queries):
      at = min(k + 1, HISTORY)
      wanted = slots[1][row, at]
      if wanted == 0 or (k < HISTORY and slots[1][row, k] == 0):
        continue
      if k == HISTORY - 1 and not batch["choice_follows"][row, 0]:
        continue  # What the request learns alone.
      logits = []
      for number, (item, vector, logs) in enumerate(pool):
        mine = number == row * (HISTORY + CHOICES) + at
        if item and (mine or item != wanted):
          logits.append(query @ vector + alpha * logs[0] - logs[1])
          if mine:
            target = logits[-1]
      total += scipy.special.logsumexp(logits) - target
      count += 1
  loss, metrics, divisor = loss_of(model, setup.params, batch)
  np.testing.assert_allclose(loss, total, rtol=1e-5)
  assert divisor == count
  np.testing.assert_allclose(
    metrics["loss"].compute(), total / count, rtol=1e-5
  )


def test_listwise_is_the_softmax_of_scores_by_score_batch(setup):
  batch = draw_batch()
  model = model_of(setup, "listwise")
  ended = np.zeros((4, CHOICES, LENGTH + 1), np.int32)
  ended[..., :LENGTH] = batch["choice_tokens"]
  lengths = (batch["choice_tokens"] > 0).sum(-1)
  np.put_along_axis(ended, lengths[..., None], 1, axis=-1)
  lists = {
    **batch,
    "decoder_target_tokens": ended,
    "decoder_input_tokens": np.pad(ended, ((0, 0), (0, 0), (1, 0)))[..., :-1],
    "decoder_loss_weights": (ended > 0).astype(np.float32),
  }
  scores = np.asarray(compiled(model, "score_batch")(setup.params, lists))
  scores = scores - batch["choice_logs"][..., 2]
  total = 0.0
  for row, items in zip(scores, batch["choice_items"], strict=True):
    if items[0]:
      kept = [
        row[0],
        *(s for s, i in zip(row[1:], items[1:], strict=True) if i != items[0]),
      ]
      total += scipy.special.logsumexp(kept) - row[0]
  loss, _, divisor = loss_of(model, setup.params, batch)
  np.testing.assert_allclose(loss, total, rtol=1e-5)
  assert divisor == 3


class Table:
  """A reading in which each title is a token, as likely as a table says."""

  def __init__(self, scores, arrays):
    self.scores, self.arrays, self.eos_id = scores, arrays, 1

  def features(self, inputs, targets):
    return jnp.broadcast_to(jnp.eye(2), (*targets.shape, 2))

  def logit_factors(self, features):
    ends = jnp.full_like(self.scores, -100.0).at[self.eos_id].set(0.0)
    return features, jnp.stack([self.scores, ends])


def test_listwise_is_least_where_scores_are_log_probabilities_of_all_items():
  """Over all targets and items drawn beside them, whatever else comes in."""
  wanted = np.array([0.4, 0.3, 0.2, 0.1])
  drawn = np.array([0.55, 0.15, 0.1, 0.2])
  # How often they come into a batch is of no use to a row.
  logs = np.log(np.stack([wanted, [0.7, 0.1, 0.1, 0.1], drawn], axis=1))
  pairs = np.array([(t, d) for t in range(4) for d in range(4)])
  rates = wanted[pairs[:, 0]] * drawn[pairs[:, 1]]

  def loss(scores):
    def of_pair(pair):
      arrays = {
        "choice_items": pair[None] + 1,
        "choice_tokens": pair[None, :, None] + 2,
        "choice_logs": jnp.asarray(logs)[pair][None],
      }
      return listwise.Listwise()(Table(scores, arrays)).total

    return (jax.vmap(of_pair)(jnp.asarray(pairs)) * rates).sum()

  scores = jnp.full(6, -100.0).at[2:].set(np.log(wanted))
  np.testing.assert_allclose(jax.grad(loss)(scores), 0.0, atol=1e-6)


def test_listwise_in_chunks_is_listwise(setup):
  batch = draw_batch()
  whole, parts = (
    loss_of(
      ranking_model.NetworkRankingModel(
        setup.model.module, objective=listwise.Listwise(num_chunks=n)
      ),
      setup.params,
      batch,
    )[0]
    for n in (1, 31)
  )
  np.testing.assert_allclose(whole, parts, rtol=1e-5)


def test_a_sum_is_the_sum(setup):
  batch = draw_batch()
  loss = {
    name: loss_of(model_of(setup, name), setup.params, batch)[0]
    for name in ("sum", "next_item", "token")
  }
  np.testing.assert_allclose(
    loss["sum"], loss["next_item"] + 0.1 * loss["token"], rtol=1e-6
  )
  assert float(model_of(setup, "sum").loss_divisor(batch)) == float(
    model_of(setup, "next_item").loss_divisor(batch)
  )


def test_microbatches_of_lists_add_up(setup):
  """Those of tokens are in train_step_test."""
  batch = draw_batch()
  model = model_of(setup, "listwise")
  whole, parts = (
    jax.jit(
      lambda p, b, n=n: train_step.compute_gradients(model, p, b, None, n)[0]
    )(setup.params, batch)
    for n in (1, 2)
  )
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5),
    whole,
    parts,
  )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_learns(setup, name):
  batch = draw_batch()
  model = model_of(setup, name)

  @jax.jit
  def step(params):
    loss, grads = jax.value_and_grad(
      lambda p: model.loss_fn(p, batch, None)[0]
    )(params)
    return jax.tree.map(lambda p, g: p - 0.003 * g, params, grads), loss

  params, losses = setup.params, []
  for _ in range(8):
    params, loss = step(params)
    losses.append(float(loss))
  assert losses[-1] < losses[0]
  assert np.isfinite(losses).all()


def test_rows_without_an_item_count_only_their_history(setup):
  batch = draw_batch()
  nothing = {**batch, "choice_items": np.zeros_like(batch["choice_items"])}
  nothing["history_items"] = np.zeros_like(batch["history_items"])
  model = model_of(setup, "next_item")
  loss, _, divisor = loss_of(model, setup.params, nothing)
  assert (loss, divisor) == (0.0, 0.0)


def test_what_is_missing_is_named(setup, make_batch):
  plain = make_batch([[3, 4]], [[5, 1]])
  for name in ("listwise", "next_item"):
    with pytest.raises(ValueError, match="choice_tokens"):
      model_of(setup, name).loss_fn(setup.params, plain, None)


def test_listwise_does_not_take_another_number_for_how_often_items_are_drawn(
  setup,
):
  batch = draw_batch()
  batch["choice_logs"] = batch["choice_logs"][..., :2]
  with pytest.raises(
    ValueError, match=r"choice_logs has the shape \(4, \d+, 2"
  ):
    model_of(setup, "listwise").loss_fn(setup.params, batch, None)


def test_next_item_asks_for_title_vectors(tiny):
  model = ranking_model.NetworkRankingModel(
    t5.T5(tiny.model.module.config), objective=next_item.NextItem()
  )
  with pytest.raises(ValueError, match="TITLE_MATCHING"):
    model.loss_fn(tiny.params, draw_batch(), None)


def test_packed_rows_with_titles_are_refused(setup):
  batch = draw_batch()
  batch["encoder_segment_ids"] = np.ones_like(batch["encoder_input_tokens"])
  batch["decoder_segment_ids"] = np.ones_like(batch["decoder_target_tokens"])
  with pytest.raises(ValueError, match="packed"):
    model_of(setup, "next_item").loss_fn(setup.params, batch, None)


def test_a_weight_each():
  with pytest.raises(ValueError, match="one weight each"):
    objective.WeightedSum((next_item.NextItem(),), ())
