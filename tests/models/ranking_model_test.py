"""Properties of loss, candidate scores and prediction."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.scoring import features

INPUTS = [[5, 9, 4, 1], [7, 3, 12, 30, 8, 1]]
CANDIDATES = [
  [[4, 9, 1], [11, 1], [2, 3, 4, 1]],
  [[8, 1], [29, 30, 1], [6, 7, 1]],
]


@pytest.fixture(scope="module", name="score")
def score_fixture(tiny):
  return jax.jit(tiny.model.score_batch)


@pytest.fixture(scope="module", name="scores")
def scores_fixture(tiny, make_batch, score):
  return np.asarray(score(tiny.params, make_batch(INPUTS, CANDIDATES)))


def test_scores_are_sums_of_log_probabilities(
  tiny, make_batch, scores, logits_of
):
  batch = make_batch(INPUTS[:1], CANDIDATES[0][:1])
  logits = logits_of(
    tiny.model.module,
    tiny.params,
    batch["encoder_input_tokens"],
    batch["decoder_target_tokens"],
  )
  log_probs = np.asarray(jax.nn.log_softmax(logits))[0]
  expected = sum(log_probs[i, t] for i, t in enumerate(CANDIDATES[0][0]))
  assert scores.shape == (2, 3)
  assert scores[0, 0] == pytest.approx(expected, abs=1e-5)


def test_scores_do_not_depend_on_the_batch(tiny, make_batch, score, scores):
  alone = score(tiny.params, make_batch(INPUTS[:1], CANDIDATES[:1]))
  np.testing.assert_allclose(alone[0], scores[0], atol=1e-5)


def test_scores_do_not_depend_on_padding(tiny, make_batch, score, scores):
  batch = make_batch(INPUTS, CANDIDATES, input_length=12, target_length=7)
  np.testing.assert_allclose(score(tiny.params, batch), scores, atol=1e-5)


def test_permuted_candidates_have_permuted_scores(
  tiny, make_batch, score, scores
):
  order = [2, 0, 1]
  permuted = [[row[i] for i in order] for row in CANDIDATES]
  np.testing.assert_allclose(
    score(tiny.params, make_batch(INPUTS, permuted)),
    scores[:, order],
    atol=1e-5,
  )


def test_scores_equal_one_example_a_candidate(tiny, make_batch, score, scores):
  flat = [candidate for row in CANDIDATES for candidate in row]
  repeated = [row for row in INPUTS for _ in range(3)]
  one_by_one = score(tiny.params, make_batch(repeated, flat))
  assert one_by_one.shape == (6,)
  np.testing.assert_allclose(one_by_one, scores.reshape(-1), atol=1e-5)


def test_padded_slots_score_minus_infinity(tiny, make_batch, score, scores):
  fewer = [CANDIDATES[0], CANDIDATES[1][:1]]
  padded = np.asarray(score(tiny.params, make_batch(INPUTS, fewer)))
  np.testing.assert_allclose(padded[0], scores[0], atol=1e-5)
  np.testing.assert_allclose(padded[1, 0], scores[1, 0], atol=1e-5)
  np.testing.assert_array_equal(padded[1, 1:], -np.inf)


def test_mean_divides_by_the_number_of_tokens(tiny, make_batch, scores):
  model = tiny.with_settings(score_normalization="mean")
  batch = make_batch(INPUTS, CANDIDATES)
  lengths = batch["decoder_loss_weights"].sum(-1)
  np.testing.assert_allclose(
    jax.jit(model.score_batch)(tiny.params, batch), scores / lengths, atol=1e-5
  )


def test_intermediates_add_up_to_the_scores(tiny, make_batch, scores):
  batch = make_batch(INPUTS, CANDIDATES)
  again, extra = jax.jit(tiny.model.score_batch, static_argnums=2)(
    tiny.params, batch, True
  )
  (token_scores,) = extra["decoder"]["token_scores"]
  np.testing.assert_allclose(again, scores, atol=1e-5)
  np.testing.assert_allclose(token_scores.sum(-1), scores, atol=1e-5)
  np.testing.assert_array_equal(
    extra["decoder"]["target_tokens"][0], batch["decoder_target_tokens"]
  )
  np.testing.assert_array_equal(
    extra["decoder"]["loss_weights"][0], batch["decoder_loss_weights"]
  )


def test_scoring_compiles_once_a_shape(tiny, make_batch):
  count = 0

  def counted(params, batch):
    nonlocal count
    count += 1
    return tiny.model.score_batch(params, batch)

  score = jax.jit(counted)
  for inputs, candidates in (
    (INPUTS, CANDIDATES),
    (INPUTS[::-1], CANDIDATES),
    (INPUTS, [row[::-1] for row in CANDIDATES]),
  ):
    score(tiny.params, make_batch(inputs, candidates))
  assert count == 1


def test_loss_of_lists_is_the_sum_over_their_targets(tiny, make_batch):
  loss_fn = jax.jit(tiny.model.eval_fn)
  lists = [CANDIDATES[0], CANDIDATES[1][:1]]
  loss, metrics = loss_fn(tiny.params, make_batch(INPUTS, lists))
  flat = [*CANDIDATES[0], CANDIDATES[1][0]]
  repeated = [INPUTS[0]] * 3 + [INPUTS[1]]
  flat_loss, flat_metrics = loss_fn(tiny.params, make_batch(repeated, flat))
  np.testing.assert_allclose(loss, flat_loss, rtol=1e-5)
  assert metrics["target_tokens"].compute() == 11
  np.testing.assert_allclose(
    metrics["loss"].compute(), flat_metrics["loss"].compute(), rtol=1e-5
  )


def test_loss_is_minus_the_score_without_z_loss(tiny, make_batch, scores):
  model = tiny.with_settings(z_loss=0.0)
  loss, _ = jax.jit(model.eval_fn)(tiny.params, make_batch(INPUTS, CANDIDATES))
  np.testing.assert_allclose(loss, -scores.sum(), rtol=1e-5)


def test_normalizing_factor_divides_the_loss_only(tiny, make_batch):
  batch = make_batch(INPUTS, CANDIDATES)
  loss, metrics = jax.jit(tiny.model.eval_fn)(tiny.params, batch)
  scaled, scaled_metrics = jax.jit(
    tiny.with_settings(loss_normalizing_factor=8.0).eval_fn
  )(tiny.params, batch)
  np.testing.assert_allclose(scaled * 8.0, loss, rtol=1e-6)
  np.testing.assert_allclose(
    metrics["loss"].compute(), scaled_metrics["loss"].compute()
  )


def test_gradients_are_finite_with_padded_slots(tiny, make_batch):
  batch = make_batch(INPUTS, [CANDIDATES[0], CANDIDATES[1][:1]])

  def loss(params):
    return tiny.model.loss_fn(params, batch, jax.random.PRNGKey(0))[0]

  gradient = jax.jit(jax.grad(loss))(tiny.params)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradient))


def test_prediction_shapes(tiny, make_batch):
  batch = make_batch(INPUTS, CANDIDATES)
  one = tiny.with_settings(num_beams=2)
  tokens, aux = jax.jit(one.predict_batch_with_aux)(tiny.params, batch)
  # Five tokens: the length of the batch's decoder inputs.
  assert tokens.shape == (2, 5)
  assert aux["scores"].shape == (2,)
  two = tiny.with_settings(num_beams=2, num_decodes=2, max_decode_length=3)
  tokens, aux = jax.jit(two.predict_batch_with_aux)(tiny.params, batch)
  assert tokens.shape == (2, 2, 3)
  assert aux["beam_scores"].shape == (2, 2)


def test_prediction_needs_a_length(tiny):
  with pytest.raises(ValueError, match="no length to decode to"):
    tiny.model.predict_batch(
      tiny.params, {"encoder_input_tokens": np.ones((1, 3), np.int32)}
    )


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"score_normalization": "max"}, "expected one of sum, mean"),
    ({"num_decodes": 2}, "num_decodes is 2 with num_beams 1"),
    ({"max_decode_length": 0}, "max_decode_length is 0; expected at least 1"),
    (
      {"loss_normalizing_factor": "AVERAGE_PER_SEQUENCE"},
      "'AVERAGE_PER_SEQUENCE'; expected a positive number or None",
    ),
    ({"z_loss": -1.0}, "expected z_loss >= 0"),
    ({"label_smoothing": 1.0}, r"label_smoothing in \[0, 1\)"),
    ({"length_penalty_alpha": -0.1}, "length_penalty_alpha is -0.1"),
    ({"loss_chunks": 2}, "loss_chunks is 2; expected a divisor of the 31"),
  ],
)
def test_bad_settings_are_named(tiny, settings, message):
  with pytest.raises(ValueError, match=message):
    tiny.with_settings(**settings)


def test_feature_converter_is_handed_on_or_asked_for(tiny):
  assert tiny.with_settings(feature_converter_cls=dict).FEATURE_CONVERTER_CLS(
    pack=True
  ) == {"pack": True}
  with pytest.raises(ValueError, match="expected feature_converter_cls="):
    tiny.model.FEATURE_CONVERTER_CLS(pack=True)


def test_a_vocabulary_must_fit_the_network(tiny):
  size = tiny.model.vocab_size
  for found, fits in ((size, True), (size + 1, False)):
    model = tiny.with_settings(
      feature_converter_cls=dict,
      input_vocabulary=types.SimpleNamespace(vocab_size=found),
    )
    if fits:
      assert model.FEATURE_CONVERTER_CLS is dict
    else:
      with pytest.raises(
        ValueError, match=f"set VOCAB_SIZE to at least {found}"
      ):
        _ = model.FEATURE_CONVERTER_CLS


def test_throughput_is_reported_beside_the_loss(tiny, make_batch):
  model = tiny.with_settings(throughput=lambda batch: {"rows": len(batch)})
  batch = make_batch(INPUTS, CANDIDATES)
  _, metrics = jax.eval_shape(model.eval_fn, tiny.params, batch)
  assert "rows" in metrics
  assert "loss" in metrics


def test_shift_right_shifts_the_last_axis():
  targets = jnp.array([[[4, 5, 1], [6, 1, 0]]])
  np.testing.assert_array_equal(
    features.shift_right(targets), [[[0, 4, 5], [0, 6, 1]]]
  )


@pytest.mark.parametrize("tied", [False, True])
def test_loss_chunks_change_nothing(make_setup, make_batch, tiny_config, tied):
  setup = make_setup(
    dataclasses.replace(tiny_config, vocab_size=32, logits_via_embedding=tied)
  )
  batch = make_batch(INPUTS, CANDIDATES)

  def outcome(num_chunks):
    model = setup.with_settings(loss_chunks=num_chunks, label_smoothing=0.1)
    (loss, metrics), gradients = jax.jit(
      jax.value_and_grad(model.loss_fn, has_aux=True)
    )(setup.params, batch, jax.random.PRNGKey(0))
    values = {name: metric.compute() for name, metric in metrics.items()}
    return loss, values, gradients

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    outcome(4),
    outcome(1),
  )
