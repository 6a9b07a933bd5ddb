"""Tests of the metrics of a step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clu import metrics as clu_metrics

from instructrec.models.objectives import token_loss, training_metrics


def _dtypes(metric):
  return [leaf.dtype for leaf in jax.tree.leaves(metric)]


def test_sum_merges_with_nothing():
  total = training_metrics.Sum.from_model_output(jnp.array([1.0, 2.0]))
  assert total.merge(training_metrics.Sum.empty()).compute() == 3.0


def test_metrics_of_a_batch_are_over_its_weights():
  loss = token_loss.LossSums(*(jnp.float32(x) for x in (6.0, 3.0, 1.5)))
  metrics = training_metrics.of_batch(loss, jnp.array([[1.0, 2.0, 0.0]]))
  assert training_metrics.compute(metrics) == {
    "loss": 2.0,
    "z_loss": 1.0,
    "accuracy": 0.5,
    "target_tokens": 3.0,
  }


def test_metrics_of_microbatches_merge_to_those_of_the_batch(tiny, make_batch):
  rng = np.random.default_rng(0)
  batch = make_batch(
    [rng.integers(2, 31, 5).tolist() for _ in range(4)],
    # Of different lengths: an average of averages would be wrong.
    [rng.integers(2, 31, n).tolist() for n in (1, 5, 2, 4)],
  )
  halves = [{k: v[i : i + 2] for k, v in batch.items()} for i in (0, 2)]
  eval_fn = jax.jit(tiny.model.eval_fn)
  loss, metrics = eval_fn(tiny.params, batch)
  parts = [eval_fn(tiny.params, half) for half in halves]
  np.testing.assert_allclose(loss, parts[0][0] + parts[1][0], rtol=1e-5)
  assert sorted(metrics) == ["accuracy", "loss", "target_tokens", "z_loss"]
  first = training_metrics.merge({}, parts[0][1])
  assert first == parts[0][1]
  both = training_metrics.merge(first, parts[1][1])
  values = training_metrics.compute(both)
  for name, metric in metrics.items():
    # T5X rebuilds metrics field by field and sums them in a compiled loop.
    assert isinstance(metric, clu_metrics.Metric)
    assert dataclasses.is_dataclass(metric)
    assert _dtypes(both[name]) == _dtypes(metric)
    assert values[name] == pytest.approx(float(metric.compute()))
    assert both[name].compute_value().value == values[name]


def test_throughput_counts_steps_rows_and_tokens():
  class Rate:
    @staticmethod
    def from_model_output(numerator=None):
      return numerator

  batch = {
    "encoder_input_tokens": jnp.array([[5, 6, 1], [7, 1, 0]]),
    "decoder_target_tokens": jnp.array([[4, 1], [1, 0]]),
  }
  rates = training_metrics.Throughput(rate=Rate, steps_rate=Rate)(batch)
  assert rates["timing/steps_per_second"] is None
  assert rates["timing/rows_per_second"] == 2
  assert rates["timing/tokens_per_second"] == 5 + 3
