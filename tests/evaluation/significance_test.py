import itertools

import numpy as np
import pytest
import scipy.stats

from instructrec.evaluation import significance


def test_the_p_value_is_that_of_all_sign_flips():
  """Ten requests have 1,024 flips: few enough to go through by hand."""
  gaps = np.random.default_rng(0).normal([0, 0.5, 1], 1, (10, 3))
  signs = np.array(list(itertools.product((-1, 1), repeat=10)))
  exact = (np.abs(signs @ gaps) >= np.abs(gaps.sum(0)) - 1e-12).mean(0)
  found = significance.randomisation_test(gaps, seed=1, num_flips=200_000)
  np.testing.assert_allclose(found, exact, atol=0.004)
  assert exact.min() < 0.2 < exact.max()


def test_the_p_value_is_scipys():
  rng = np.random.default_rng(2)
  ours = rng.random(300) < 0.43
  theirs = rng.random(300) < 0.40
  reference = scipy.stats.permutation_test(
    (ours.astype(float), theirs.astype(float)),
    lambda x, y, axis: (x - y).mean(axis),
    permutation_type="samples",
    vectorized=True,
    n_resamples=20_000,
    rng=3,
  )
  gaps = (ours * 1.0 - theirs)[:, None]
  (found,) = significance.randomisation_test(gaps, seed=4, num_flips=20_000)
  # Three standard errors of either.
  error = 3 * np.sqrt(2 * found * (1 - found) / 20_000)
  assert found == pytest.approx(reference.pvalue, abs=error)
  assert 0.001 < found < 0.9


def test_it_is_never_zero_and_one_without_a_difference():
  gaps = np.stack([np.ones(50), np.zeros(50), np.tile([1.0, -1.0], 25)], 1)
  found = significance.randomisation_test(gaps, seed=0, num_flips=999)
  assert found.tolist() == [1 / 1000, 1.0, 1.0]
  alone = significance.randomisation_test(np.zeros((3, 1)), seed=0)
  assert alone.tolist() == [1.0]


def test_means_that_are_equal_but_for_rounding_count():
  """0.1 + 0.2 - 0.3 is no zero in floating point; the flips are all ties."""
  gaps = np.array([[0.1], [0.2], [-0.3]])
  assert significance.randomisation_test(gaps, seed=0).tolist() == [1.0]


def test_where_nothing_differs_p_values_are_uniform():
  gaps = np.random.default_rng(5).standard_t(3, (200, 400))
  found = significance.randomisation_test(gaps, seed=6, num_flips=500)
  assert scipy.stats.kstest(found, "uniform").pvalue > 0.01
  assert 0.02 < (found < 0.05).mean() < 0.09


def test_flips_are_those_of_the_seed_and_of_no_chunk(monkeypatch):
  gaps = np.random.default_rng(7).normal(size=(40, 2))
  one = significance.randomisation_test(gaps, seed=1, num_flips=300)
  again = significance.randomisation_test(gaps, seed=1, num_flips=300)
  np.testing.assert_array_equal(one, again)
  monkeypatch.setattr(significance, "_CHUNK_BYTES", 8 * 40 * 32)
  parts = significance.randomisation_test(gaps, seed=1, num_flips=300)
  np.testing.assert_array_equal(one, parts)


@pytest.mark.parametrize(
  ("gaps", "flips", "message"),
  [
    (np.zeros((0, 1)), 9, "at least one request"),
    (np.zeros(4), 9, r"shape \(4,\)"),
    (np.array([[0.0], [np.nan]]), 9, "column 0 of request 1 is nan"),
    (np.zeros((4, 1)), 0, "num_flips is 0"),
  ],
)
def test_what_cannot_be_tested_is_named(gaps, flips, message):
  with pytest.raises(ValueError, match=message):
    significance.randomisation_test(gaps, seed=0, num_flips=flips)


def test_holm_by_hand():
  """Sorted: 4 * .005 = .02, 3 * .01 = .03, 2 * .03 = .06, then .04 -> .06."""
  found = significance.holm(np.array([0.01, 0.04, 0.03, 0.005]))
  np.testing.assert_allclose(found, [0.03, 0.06, 0.06, 0.02])
  np.testing.assert_allclose(significance.holm(np.array([0.6, 0.9])), [1, 1])
  assert significance.holm(np.array([0.2])).tolist() == [0.2]
  assert not len(significance.holm(np.zeros(0)))


def test_holm_rejects_what_the_step_down_procedure_rejects():
  rng = np.random.default_rng(8)
  for alpha in (0.01, 0.05, 0.2):
    p_values = rng.random(12) ** 3
    rejected = np.zeros(12, bool)
    for step, place in enumerate(np.argsort(p_values)):
      if p_values[place] > alpha / (12 - step):
        break
      rejected[place] = True
    found = significance.holm(p_values) <= alpha
    np.testing.assert_array_equal(found, rejected)


def test_holm_keeps_false_findings_rare():
  """Of 500 families without any difference, few have a finding."""
  p_values = np.random.default_rng(9).random((500, 10))
  uncorrected = (p_values.min(1) < 0.05).mean()
  corrected = np.mean([significance.holm(p).min() < 0.05 for p in p_values])
  assert uncorrected > 0.3
  assert corrected < 0.08


def test_a_p_value_is_a_share():
  with pytest.raises(ValueError, match="shares from 0 to 1"):
    significance.holm(np.array([0.5, np.nan]))


def test_effect_size_by_hand():
  """Of 1, 0, 0, 1 the mean is 0.5, the standard deviation sqrt(1/3)."""
  found = significance.effect_size(np.array([1.0, 0, 0, 1]))
  assert found == pytest.approx(0.5 / np.sqrt(1 / 3))
  assert significance.effect_size(np.zeros(4)) == 0.0
  assert significance.effect_size(np.full(4, 0.1)) is None
  assert significance.effect_size(np.array([0.3])) is None


def test_discordant_requests_are_counted_by_side():
  assert significance.discordant(np.array([1, 0, -0.5, 1, 0])) == (2, 1)


def test_signs_are_flipped_by_cluster():
  """Two clusters have four signs: half of them are as far from zero."""
  differences = np.ones((20, 1))
  (p,) = significance.randomisation_test(
    differences, seed=0, num_flips=4000, clusters=np.arange(20) // 10
  )
  assert p == pytest.approx(0.5, abs=0.04)
