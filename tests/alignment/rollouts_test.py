"""Rollouts: the policy that draws is the one that is trained."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.alignment import rollouts
from instructrec.evaluation import control
from instructrec.instructions import title_list
from instructrec.models.generation import (
  catalog_trie,
  leaf_intervals,
  list_policy,
  title_lists,
)
from instructrec.models.networks import llama, reading, t5
from instructrec.models.networks.llama_config import LlamaConfig
from instructrec.models.networks.network import Prompt, Targets
from instructrec.models.networks.t5_config import T5Config

EOS, SEPARATORS, NUM_LISTS = 1, (11, 10), 4
TITLES = [[4, 1], [4, 5, 1], [6, 7, 1], [6, 8, 8, 1], [9, 1]]
INPUTS = np.array([[5, 9, 4, 1, 0], [7, 3, 1, 0, 0]], np.int32)
ASKED = list_policy.ListRequests(
  lengths=np.array([3, 2], np.int32),
  conditions=leaf_intervals.Conditions(excluded=np.array([[3], [0]], np.int32)),
)
SIZES = {
  "vocab_size": 12,
  "emb_dim": 8,
  "num_heads": 2,
  "num_decoder_layers": 1,
  "head_dim": 4,
  "mlp_dim": 16,
}
MODULES = {
  "t5": t5.T5(T5Config(**SIZES, num_encoder_layers=1, dropout_rate=0.1)),
  "llama": llama.Llama(LlamaConfig(**SIZES, num_kv_heads=1, eos_id=EOS)),
}
CLOSED = list_policy.ListPolicy(separator_ids=SEPARATORS, max_items=3)
FREE = dataclasses.replace(
  CLOSED, constrained=False, probability="open", max_length=9, temperature=0.5
)


@pytest.fixture(scope="module", name="drawn", params=list(MODULES))
def drawn_fixture(request):
  """A step's rollouts, log-probabilities and gradients, of both policies."""
  module = MODULES[request.param]
  trie = catalog_trie.CatalogTrie.build(TITLES, eos_id=EOS, vocab_size=12)
  targets = jnp.ones((2, 4), jnp.int32)
  params = jax.jit(module.init, static_argnames="enable_dropout")(
    jax.random.key(0), Prompt(INPUTS), Targets(targets, targets),
    enable_dropout=False,
  )["params"]  # fmt: skip
  reads = []

  def read(params):
    found = reading.Reading(module, params, {"encoder_input_tokens": INPUTS})
    apply = found._apply

    def counted(*args, method):
      reads.append(method)
      return apply(*args, method=method)

    found._apply = counted
    return found

  def step(params, weights, held):
    """Of lists that are drawn or, where any are held, of these."""

    def loss(params, weights, policy, held):
      asked = read(params)
      drawn = rollouts.draw(
        asked, trie, ASKED, policy, num_lists=NUM_LISTS, rng=jax.random.key(2)
      )
      tokens = jnp.where(held.any(), held, drawn.lists.tokens)
      found = policy.by_item(
        title_lists.token_log_probs(asked, trie, ASKED, policy, tokens), tokens
      )
      return (weights * found).sum(), (drawn, found)

    return [
      jax.value_and_grad(loss, has_aux=True)(params, own, policy, lists)
      for own, policy, lists in zip(weights, (CLOSED, FREE), held, strict=True)
    ]

  weights = [
    np.random.default_rng(i).normal(size=(2, NUM_LISTS, 3)) for i in range(2)
  ]
  run = jax.jit(step)
  lengths = CLOSED.length(trie), FREE.length(trie)
  nothing = [np.zeros((2, NUM_LISTS, length), np.int32) for length in lengths]
  first = run(params, weights, nothing)
  return run, params, weights, first, reads


def test_the_first_ratio_is_one_and_the_divergence_nothing(drawn):
  _, _, _, first, reads = drawn
  for (_, (rollout, new)), _ in first:
    old = np.asarray(rollout.lists.log_probs)
    np.testing.assert_allclose(new, old, atol=1e-5)
    count = np.maximum(rollout.num_tokens, 1)
    np.testing.assert_allclose(np.exp((new - old) / count), 1.0, atol=1e-5)
    k3 = np.exp(old - new) - 1 - (old - new)
    np.testing.assert_allclose(k3, 0.0, atol=1e-6)
  # Once a policy, for the lists and for the loss.
  assert reads.count("read") == 2


def test_a_temperature_divides_what_the_network_says(drawn):
  _, params, _, first, _ = drawn
  (_, (rollout, _)), _ = first[1]
  tokens = np.asarray(rollout.lists.tokens)
  before = np.pad(tokens, ((0, 0), (0, 0), (1, 0)))[..., :-1]
  module = MODULES["t5" if "encoder" in params else "llama"]

  @jax.jit
  def logits(params):
    asked = reading.Reading(module, params, {"encoder_input_tokens": INPUTS})
    return asked.logits(asked.features(before, tokens))

  expected = jax.nn.log_softmax(logits(params) / FREE.temperature)
  expected = np.take_along_axis(expected, tokens[..., None], -1)[..., 0]
  np.testing.assert_allclose(
    rollout.lists.token_log_probs, np.where(tokens > 0, expected, 0), atol=1e-5
  )


def test_constrained_lists_have_no_errors_and_others_have(drawn):
  _, _, _, first, _ = drawn
  (_, (constrained, _)), _ = first[0]
  (_, (free, _)), _ = first[1]
  assert not np.asarray(constrained.errors.any).any()
  np.testing.assert_array_equal(
    (np.asarray(constrained.items) >= 0).sum(-1), [[3] * 4, [2] * 4]
  )
  assert np.asarray(free.errors.any).any()
  # On the host, from the tokens: as `title_list` reads them.
  numbers = {tuple(title[:-1]): i for i, title in enumerate(TITLES)}
  for row in range(2):
    for place in range(NUM_LISTS):
      entries = title_list.split_tokens(
        np.asarray(free.lists.tokens[row, place]),
        separator_ids=SEPARATORS,
        eos_id=EOS,
      ).entries
      items = np.full(3, title_list.EMPTY)
      for i, entry in enumerate(entries[:3]):
        missing = title_list.INVALID if entry else title_list.BLANK
        items[i] = numbers.get(tuple(entry), missing)
      assert free.items[row, place].tolist() == items.tolist()
      found = control.errors(
        items, ASKED.lengths[row], ASKED.conditions.excluded[row] - 1
      )
      np.testing.assert_array_equal(found.any, free.errors.any[row, place])


def test_gradients_are_those_of_the_log_probabilities(drawn):
  """By finite differences, the lists held; nothing earned, nothing learnt."""
  run, params, weights, first, _ = drawn
  held = [aux[0].lists.tokens for (_, aux), _ in first]
  leaves, tree = jax.tree.flatten(params)
  rng = np.random.default_rng(5)
  way = [rng.normal(size=x.shape).astype(np.float32) for x in leaves]

  def at(step):
    moved = [x + step * d for x, d in zip(leaves, way, strict=True)]
    found = run(tree.unflatten(moved), weights, held)
    return np.array([value for (value, _), _ in found])

  step = 1e-3
  slopes = (at(step) - at(-step)) / (2 * step)
  for slope, (_, gradient) in zip(slopes, first, strict=True):
    along = sum(
      float((g * d).sum())
      for g, d in zip(jax.tree.leaves(gradient), way, strict=True)
    )
    assert abs(along) > 0.1
    assert along == pytest.approx(slope, rel=0.02)
  nothing = [np.zeros_like(w) for w in weights]
  for _, gradient in run(params, nothing, held):
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(gradient))


def test_dropout_is_refused():
  asked = reading.Reading(
    MODULES["t5"], {}, {"encoder_input_tokens": INPUTS}, jax.random.key(0)
  )
  trie = catalog_trie.CatalogTrie.build(TITLES, eos_id=EOS, vocab_size=12)
  with pytest.raises(ValueError, match="has dropout"):
    rollouts.draw(
      asked, trie, ASKED, CLOSED, num_lists=1, rng=jax.random.key(0)
    )


def test_metrics_know_what_stands_for_no_item():
  assert list_policy.INVALID == title_list.INVALID
  assert list_policy.BLANK == title_list.BLANK
