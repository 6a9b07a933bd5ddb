"""What a position of the encoder sees, and its loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.retrieval import sequence_encoder

_TITLES = np.array([[1, 2, 0], [3, 0, 0], [0, 0, 0], [2, 3, 4], [4, 0, 0]])
_TOKENS = np.array([[3, 1, 5, 2, 0, 0]])
_FIRST = np.zeros((1, 1), np.int32)


def encoder(*, causal=True, num_pieces=0):
  config = sequence_encoder.EncoderConfig(
    num_items=5,
    emb_dim=8,
    num_layers=2,
    num_heads=2,
    max_length=8,
    dropout_rate=0.0,
    causal=causal,
    num_pieces=num_pieces,
  )
  module = sequence_encoder.SequenceEncoder(config)
  titles = _TITLES if num_pieces else None

  params = module.init(jax.random.key(1), _TOKENS, _FIRST, titles)
  # Larger than at the start, so that whatever is seen makes a difference.
  params = jax.tree.map(lambda x: 20 * x if x.ndim > 1 else x, params)
  apply = jax.jit(module.apply, static_argnames="method")
  return lambda tokens, slots, *rest, method=None: np.asarray(
    apply(
      params,
      np.asarray(tokens),
      np.asarray(slots),
      *rest,
      titles,
      **({"method": method, "rngs": _RNGS} if method else {}),
    )
  )


_RNGS = {"dropout": jax.random.key(0)}


def test_a_causal_position_sees_nothing_after_itself():
  logits = encoder()
  slots = np.arange(4)[None]
  before = logits(_TOKENS, slots)
  for changed in range(1, 4):
    tokens = _TOKENS.copy()
    tokens[0, changed] = 4
    after = logits(tokens, slots)
    np.testing.assert_array_equal(after[0, :changed], before[0, :changed])
    assert (after[0, changed:] != before[0, changed:]).any(-1).all()


def test_a_position_of_a_bidirectional_encoder_sees_both_sides():
  logits = encoder(causal=False)
  slots = np.arange(4)[None]
  before = logits(_TOKENS, slots)
  for changed in (0, 3):
    tokens = _TOKENS.copy()
    tokens[0, changed] = 4
    assert (logits(tokens, slots) != before).any(-1).all()


@pytest.mark.parametrize("causal", [True, False])
def test_padding_and_other_rows_change_nothing(causal):
  logits = encoder(causal=causal)
  short = logits([[3, 1, 5, 2]], [[3]])
  longer = logits([[3, 1, 5, 2, 0, 0, 0, 0], [1] * 8], [[3], [7]])
  np.testing.assert_allclose(longer[0], short[0], rtol=1e-5, atol=1e-5)


def test_without_an_item_all_tie():
  np.testing.assert_array_equal(
    encoder()([[0, 0, 0]], [[0]]), np.zeros((1, 1, 5))
  )


def test_the_order_of_items_counts():
  logits = encoder()
  assert (logits([[1, 2, 3]], [[2]]) != logits([[2, 1, 3]], [[2]])).any()


@pytest.mark.parametrize("num_pieces", [0, 5])
def test_the_loss_is_the_cross_entropy_of_the_logits(num_pieces):
  module = encoder(num_pieces=num_pieces)
  slots, targets = np.array([[0, 1, 2]]), np.array([[1, 5, 2]])
  losses = module(_TOKENS, slots, targets, method="cross_entropy")
  logits = jnp.asarray(module(_TOKENS, slots))
  expected = -jax.nn.log_softmax(logits)[0, np.arange(3), targets[0] - 1]
  np.testing.assert_allclose(losses[0], expected, rtol=1e-4, atol=1e-5)


def test_titles_enter_items_as_the_mean_of_their_pieces():
  config = sequence_encoder.EncoderConfig(
    num_items=5,
    emb_dim=8,
    num_layers=1,
    num_heads=2,
    max_length=8,
    dropout_rate=0.0,
    causal=True,
    num_pieces=5,
  )
  module = sequence_encoder.SequenceEncoder(config)
  params = module.init(jax.random.key(1), _TOKENS, _FIRST, _TITLES)
  table = module.apply(params, _TITLES, method="item_table")
  p = jax.tree.map(np.asarray, params["params"])
  ids, pieces = p["ids"]["embedding"], p["pieces"]["embedding"]
  for item, row in enumerate(_TITLES):
    known = row[row > 0]
    mean = pieces[known].mean(0) if len(known) else np.zeros(8)
    title = mean @ p["title"]["kernel"] + p["title"]["bias"]
    expected = ids[item + 1] + title
    np.testing.assert_allclose(table[item + 1], expected, atol=1e-6)
  # Padding and mask have no title.
  np.testing.assert_array_equal(table[0], ids[0])
  np.testing.assert_array_equal(table[-1], ids[-1])


def test_heads_divide_the_width():
  with pytest.raises(
    ValueError, match="emb_dim 8 does not divide into 3 heads"
  ):
    sequence_encoder.EncoderConfig(5, 8, 1, 3, 8, 0.0, True)
