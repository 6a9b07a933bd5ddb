"""Searches against brute force, each other and the scores."""

import dataclasses
import itertools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models import ranking_model
from instructrec.models.generation import search
from instructrec.models.networks import t5
from instructrec.models.scoring import features

EOS = 1


@flax.struct.dataclass
class TableCache:
  """The cache of a model that is a table: the prefix, as one number."""

  state: jax.Array

  def select(self, sequences):
    return TableCache(self.state[sequences])


def _table_model(seed, vocab, max_length, scale=1.5):
  """Random logits for every prefix: nothing a beam can exploit."""
  states = vocab**max_length
  rng = np.random.default_rng(seed)
  table = rng.normal(size=(states, vocab)).astype(np.float32) * scale

  def step(tokens, cache):
    # The start token is 0 and adds nothing.
    state = cache.state * vocab + tokens
    return jnp.asarray(table)[state], TableCache(state)

  return table, step


def _brute_force(table, vocab, max_length, alpha):
  """All ended sequences as (score, log-probability, tokens), best first."""
  log_probs = np.asarray(jax.nn.log_softmax(jnp.asarray(table)))
  found = []
  others = range(2, vocab)
  for length in range(1, max_length + 1):
    for prefix in itertools.product(others, repeat=length - 1):
      tokens = (*prefix, EOS)
      state, total = 0, 0.0
      for token in tokens:
        total += log_probs[state, token]
        state = state * vocab + token
      score = total / ((5 + length) / 6) ** alpha
      found.append((score, total, tokens))
  return sorted(found, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_wide_beams_find_the_exact_best_sequences(seed, alpha):
  vocab, max_length, beams = 4, 4, 30
  table, step = _table_model(seed, vocab, max_length)
  decodes = jax.jit(
    lambda: search.beam_search(
      step,
      TableCache(jnp.zeros((beams,), jnp.int32)),
      batch_size=1,
      num_beams=beams,
      max_length=max_length,
      alpha=alpha,
    )
  )()
  # 1 + 2 + 4 + 8 sequences end within four tokens; all must be there.
  best = _brute_force(table, vocab, max_length, alpha)
  assert len(best) == 15
  for slot, (score, log_prob, tokens) in enumerate(best):
    padded = tokens + (0,) * (max_length - len(tokens))
    np.testing.assert_array_equal(decodes.sequences[0, slot], padded)
    np.testing.assert_allclose(decodes.log_probs[0, slot], log_prob, rtol=1e-5)
    np.testing.assert_allclose(decodes.scores[0, slot], score, rtol=1e-5)
  # Then the 2**4 that were cut, as far as there is room.
  assert np.all(np.asarray(decodes.sequences[0, 15:]) >= 2)


def test_slots_without_a_sequence_are_marked():
  """One token and the end: three sequences of at most two tokens."""
  vocab, max_length, beams = 3, 2, 5
  _, step = _table_model(0, vocab, max_length)
  decodes = search.beam_search(
    step,
    TableCache(jnp.zeros((beams,), jnp.int32)),
    batch_size=1,
    num_beams=beams,
    max_length=max_length,
  )
  rows = {tuple(row) for row in np.asarray(decodes.sequences[0, :3]).tolist()}
  assert rows == {(1, 0), (2, 1), (2, 2)}
  np.testing.assert_array_equal(decodes.log_probs[0, 3:], -np.inf)
  np.testing.assert_array_equal(decodes.sequences[0, 3:], 0)


def test_search_stops_when_all_rows_have_ended():
  calls = []

  def step(tokens, cache):
    jax.debug.callback(lambda: calls.append(1))
    return jnp.zeros((tokens.shape[0], 4)).at[:, EOS].set(20.0), cache

  for beams in (1, 2):
    calls.clear()
    search.beam_search(
      step,
      TableCache(jnp.zeros((2 * beams,), jnp.int32)),
      batch_size=2,
      num_beams=beams,
      max_length=50,
      alpha=0.0,
    )
    jax.effects_barrier()
    # One step for one beam; the second beam must end as well.
    assert len(calls) == beams


def test_padding_is_never_chosen():
  def step(tokens, cache):
    return jnp.zeros((tokens.shape[0], 4)).at[:, 0].set(9.0), cache

  for beams in (1, 2):
    decodes = search.beam_search(
      step,
      TableCache(jnp.zeros((beams,), jnp.int32)),
      batch_size=1,
      num_beams=beams,
      max_length=3,
    )
    assert decodes.sequences[0, 0, 0] == EOS


@pytest.mark.parametrize("seed", range(5))
def test_one_beam_is_greedy(seed):
  vocab, max_length = 5, 4
  table, step = _table_model(seed, vocab, max_length)
  decodes = search.beam_search(
    step,
    TableCache(jnp.zeros((1,), jnp.int32)),
    batch_size=1,
    num_beams=1,
    max_length=max_length,
  )
  state, tokens = 0, []
  while len(tokens) < max_length and EOS not in tokens:
    tokens.append(1 + int(np.argmax(table[state, 1:])))
    state = state * vocab + tokens[-1]
  padded = tokens + [0] * (max_length - len(tokens))
  np.testing.assert_array_equal(decodes.sequences, [[padded]])


def test_length_penalty_is_that_of_t5():
  assert search.length_penalty(1, 0.6) == 1.0
  np.testing.assert_allclose(search.length_penalty(7, 0.6), 2.0**0.6)
  assert search.length_penalty(100, 0.0) == 1.0


def test_negative_alpha_is_an_error():
  with pytest.raises(ValueError, match=r"is -1\.0; expected 0"):
    search.beam_search(
      lambda tokens, cache: (tokens, cache),
      TableCache(jnp.zeros((2,), jnp.int32)),
      batch_size=1,
      num_beams=2,
      max_length=3,
      alpha=-1.0,
    )


@pytest.fixture(scope="module", name="sharp")
def sharp_fixture(tiny):
  """Parameters whose decodes differ in length; T5's own are near uniform."""
  params = jax.tree.map(lambda x: x, tiny.params)
  table = 0.1 * params["token_embedder"]["embedding"]
  kernel = 3.0 * params["decoder"]["logits_dense"]["kernel"]
  return {
    **params,
    "token_embedder": {"embedding": table},
    "decoder": {
      **params["decoder"],
      "logits_dense": {"kernel": kernel.at[:, EOS].multiply(1.5)},
    },
  }


def _inputs(rows=4):
  rng = np.random.default_rng(2)
  inputs = rng.integers(2, 31, (rows, 8)).astype(np.int32)
  inputs[1, 3:] = 0
  return {"encoder_input_tokens": inputs}


def _teacher_forced(model, params, batch, sequences):
  """Scores of decodes [batch, decodes, length] by `score_batch`."""
  sequences = jnp.asarray(sequences)
  return jax.jit(model.score_batch)(
    params,
    {
      **batch,
      "decoder_target_tokens": sequences,
      "decoder_input_tokens": features.shift_right(sequences),
      "decoder_loss_weights": sequences > 0,
    },
  )


def test_greedy_equals_teacher_forced_argmax(tiny, sharp, logits_of):
  model = tiny.with_settings(max_decode_length=7)
  batch = _inputs()
  tokens, aux = jax.jit(model.predict_batch_with_aux)(sharp, batch)
  inputs = batch["encoder_input_tokens"]
  logits = logits_of(model.module, sharp, inputs, tokens)
  chosen = np.asarray(tokens)
  best = np.asarray(jnp.argmax(logits.at[..., 0].set(-jnp.inf), -1))
  np.testing.assert_array_equal(chosen[chosen > 0], best[chosen > 0])
  scores = _teacher_forced(model, sharp, batch, tokens)
  np.testing.assert_allclose(aux["scores"], scores, atol=1e-4)


def test_beam_scores_are_those_of_scoring(tiny, sharp):
  batch = _inputs()
  beams = tiny.with_settings(
    max_decode_length=6, num_beams=3, num_decodes=3, length_penalty_alpha=0.6
  )
  tokens, aux = jax.jit(beams.predict_batch_with_aux)(sharp, batch)
  # Log-probabilities of beams are those that scoring gives.
  scores = _teacher_forced(beams, sharp, batch, tokens)
  np.testing.assert_allclose(aux["scores"], scores, atol=1e-4)
  lengths = (np.asarray(tokens) > 0).sum(-1)
  np.testing.assert_allclose(
    aux["beam_scores"], scores / ((5 + lengths) / 6) ** 0.6, atol=1e-4
  )
  ended = (np.asarray(tokens) == EOS).any(-1)
  assert ended.any()
  assert np.all(np.diff(ended.astype(int), axis=1) <= 0)
  # A row alone is decoded like the row in its batch, step counts or not.
  alone = {key: value[2:3] for key, value in batch.items()}
  np.testing.assert_array_equal(
    jax.jit(beams.predict_batch)(sharp, alone), tokens[2:3]
  )


def test_bfloat16_decodes(tiny, sharp, tiny_config):
  cfg = dataclasses.replace(tiny_config, dtype="bfloat16")
  model = ranking_model.NetworkRankingModel(
    t5.T5(cfg), max_decode_length=4, num_beams=2
  )
  tokens, aux = jax.jit(model.predict_batch_with_aux)(sharp, _inputs(2))
  assert tokens.shape == (2, 4)
  assert np.all(np.isfinite(aux["scores"]))
