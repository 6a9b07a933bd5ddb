"""Histories read item by item, and titles as vectors."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models import ranking_model
from instructrec.models.networks import network, t5, t5_config
from instructrec.models.objectives import next_item

LENGTH = 3


@pytest.fixture(scope="module", params=["t5", "llama"])
def config(request, tiny_config, tiny_llama_config):
  sizes = {"t5": tiny_config, "llama": tiny_llama_config}[request.param]
  return dataclasses.replace(
    sizes, title_matching=True, num_items=9, dropout_rate=0.0
  )


@pytest.fixture(scope="module")
def setup(make_setup, config):
  return make_setup(config)


def titles(items, seed=0):
  """Titles of some items; an item's title is always the same."""
  items = np.array(items)
  table = np.random.default_rng(seed).integers(2, 31, (10, LENGTH))
  table[1::2, -1] = 0
  table[0] = 0
  return network.Titles(
    jnp.asarray(table[items], jnp.int32), jnp.asarray(items, jnp.int32)
  )


def states(setup, tokens, history):
  prompt = network.Prompt(jnp.array(tokens), history)

  @jax.jit
  def found(params):
    apply = functools.partial(setup.model.module.apply, {"params": params})
    memory = apply(prompt, method="read", enable_dropout=False)
    return apply(memory, method="states")

  return found(setup.params)


def test_a_state_after_an_item_is_that_of_the_shorter_history(setup):
  # Items 4, 7, 2 and the state after 7 against the history 4, 7 alone.
  whole = states(setup, [[5, 6, 1]], titles([[0, 4, 7, 2]]))
  part = states(setup, [[9, 1, 0]], titles([[0, 0, 4, 7]]))
  np.testing.assert_allclose(
    whole.history[0, 2], part.history[0, 3], rtol=1e-5, atol=1e-6
  )


def test_items_see_no_token_and_tokens_see_all_items(setup):
  # The request's own query starts at zero, so it is given numbers here.
  params = jax.tree.map(lambda x: x, setup.params)
  shape = params["title_matching"]["request_query"]["kernel"].shape
  params["title_matching"]["request_query"]["kernel"] = jnp.asarray(
    np.random.default_rng(1).normal(size=shape), jnp.float32
  )
  moved = dataclasses.replace(setup, params=params)
  one = states(moved, [[5, 6, 1]], titles([[4, 7, 2]]))
  words = states(moved, [[8, 3, 1]], titles([[4, 7, 2]]))
  other = states(moved, [[5, 6, 1]], titles([[3, 7, 2]]))
  np.testing.assert_allclose(one.history, words.history, rtol=1e-6)
  assert np.abs(one.request - words.request).max() > 1e-3
  assert np.abs(one.request - other.request).max() > 1e-3


def test_padding_and_batch_change_nothing(setup):
  alone = states(setup, [[5, 6, 1]], titles([[4, 7]]))
  padded = states(
    setup,
    [[5, 6, 1, 0, 0], [9, 8, 7, 6, 1]],
    titles([[0, 0, 4, 7], [1, 2, 3, 4]]),
  )
  np.testing.assert_allclose(
    alone.request[0], padded.request[0], rtol=1e-5, atol=1e-6
  )


def test_a_request_without_history_has_a_state(setup):
  found = states(setup, [[5, 6, 1]], titles([[0, 0, 0]]))
  assert np.isfinite(found.request).all()
  # Nothing was learnt of requests yet, and there is no item to speak.
  np.testing.assert_array_equal(found.request, 0.0)


def test_scores_of_titles_follow_history_padding_free(setup, make_batch):
  batch = make_batch([[5, 6, 1]], [[[3, 1], [4, 9, 1]]])
  history = titles([[4, 7]])
  padded = titles([[0, 4, 7]])

  def scores(h):
    given = {**batch, "history_tokens": h.tokens, "history_items": h.items}
    return jax.jit(setup.model.score_batch)(setup.params, given)

  np.testing.assert_allclose(scores(history), scores(padded), rtol=1e-5)
  plain = jax.jit(setup.model.score_batch)(setup.params, batch)
  assert np.abs(scores(history) - plain).max() > 1e-4


def test_lists_with_titles_are_scored_by_matches(setup, make_batch):
  """What training made fit to rank by, or the weights of a run."""
  batch = make_batch([[5, 6, 1]], [[[3, 1], [4, 9, 1], [6, 1], [0, 0]]])
  history, choices = titles([[4, 7]]), titles([[3, 8, 5, 0]])
  logs = np.random.default_rng(2).normal(size=(1, 4, 2)).astype(np.float32)
  batch |= {
    "history_tokens": history.tokens,
    "history_items": history.items,
    "choice_tokens": choices.tokens,
    "choice_items": choices.items,
    "choice_logs": logs,
  }

  def scores(objective, **options):
    model = ranking_model.NetworkRankingModel(
      setup.model.module, objective=objective, **options
    )
    return np.asarray(jax.jit(model.score_batch)(setup.params, batch))

  vectors = setup.model.title_vectors(
    setup.params, *dataclasses.astuple(choices)
  )
  request = setup.model.request_states(setup.params, batch)
  match = np.einsum("be,bce->bc", request, vectors)
  taken = float(setup.model.popularity_weight(setup.params))
  matched = np.where(choices.items > 0, match + taken * logs[..., 0], -np.inf)
  likely = scores(None)
  np.testing.assert_allclose(scores(next_item.NextItem()), matched, rtol=1e-5)
  assert np.abs(likely[:, :3] - matched[:, :3]).max() > 0.1
  np.testing.assert_allclose(
    scores(None, score_weights={"likelihood": 0.5, "match": 2.0})[:, :3],
    (0.5 * likely + 2 * match)[:, :3],
    rtol=1e-5,
  )
  with pytest.raises(ValueError, match="expected numbers of some of"):
    scores(None, score_weights={"plain": 1.0})
  del batch["choice_items"], batch["choice_tokens"]
  with pytest.raises(ValueError, match="t5x_items_eval"):
    scores(None, score_weights={"match": 1.0})


def test_an_item_of_number_0_is_known_by_its_title_alone(setup):
  known, new = titles([4]), titles([4])
  new = new.replace(items=jnp.zeros_like(new.items))
  vectors = [
    jax.jit(setup.model.title_vectors)(setup.params, t.tokens, t.items)
    for t in (known, new)
  ]
  assert np.abs(vectors[0] - vectors[1]).max() > 1e-4
  without = jax.tree.map(lambda x: x, setup.params)
  table = without["title_matching"]["item_embedding"]
  without["title_matching"]["item_embedding"] = jnp.zeros_like(table)
  again = jax.jit(setup.model.title_vectors)(without, known.tokens, known.items)
  np.testing.assert_allclose(again, vectors[1], rtol=1e-6)


def test_the_number_of_parameters_is_that_of_the_config(setup, config):
  found = sum(x.size for x in jax.tree.leaves(setup.params))
  assert found == config.num_parameters


def test_the_public_tree_is_what_it_was(make_setup, tiny_config):
  plain = make_setup(tiny_config).params
  matching = make_setup(
    dataclasses.replace(tiny_config, title_matching=True)
  ).params
  assert set(matching) - set(plain) == {"title_matching"}
  assert jax.tree.structure(
    {k: matching[k] for k in plain}
  ) == jax.tree.structure(plain)


def test_items_without_titles_are_an_error():
  with pytest.raises(ValueError, match="num_items is 3"):
    t5_config.T5Config(vocab_size=8, num_items=3)


def test_a_network_without_title_vectors_says_so(tiny):
  model = ranking_model.NetworkRankingModel(t5.T5(tiny.model.module.config))
  with pytest.raises(ValueError, match="TITLE_MATCHING"):
    model.request_states(tiny.params, {})


@pytest.mark.parametrize("method", ["score_batch", "loss_fn"])
def test_a_network_that_reads_no_items_says_so(tiny, make_batch, method):
  """Whatever a batch with a history comes to: it is no attribute error."""
  history = titles([[4, 7]])
  batch = {
    **make_batch([[5, 6, 1]], [[[3, 1], [4, 9, 1]]]),
    "history_tokens": history.tokens,
    "history_items": history.items,
  }
  more = (None,) if method == "loss_fn" else ()
  with pytest.raises(ValueError, match="set TITLE_MATCHING=True"):
    getattr(tiny.model, method)(tiny.params, batch, *more)
