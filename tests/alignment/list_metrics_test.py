"""What is reported of lists that were drawn, by hand."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.alignment import list_metrics, rewards
from instructrec.evaluation import control, generated
from instructrec.models.objectives import training_metrics

GONE = generated.EMPTY


def _metrics(items, log_probs=None):
  """Of lists, the history of each prompt being item 9."""
  items = jnp.asarray(items)
  zeros = jnp.zeros(items.shape)
  drawn = types.SimpleNamespace(
    items=items,
    num_tokens=(items != GONE) * 2.0,
    errors=control.errors(
      items, jnp.full((len(items), 1), 2), jnp.full((len(items), 1, 1), 9)
    ),
    lists=types.SimpleNamespace(
      log_probs=zeros if log_probs is None else jnp.asarray(log_probs),
      num_items=(items != GONE).sum(-1),
    ),
  )
  earned = rewards.Earned(zeros, zeros, zeros, zeros[..., 0])
  popularity = np.linspace(0.0, 1.0, 10)
  found = list_metrics.of_lists(drawn, earned, popularity)
  return training_metrics.compute(found)


@pytest.mark.parametrize(
  ("items", "distinct"),
  [
    ([[[1, 2], [1, 2], [1, 2]]], 0.0),
    ([[[1, 2], [2, 1], [2, 1]]], 0.0),
    ([[[1, 2], [3, 4], [5, 6]]], 1.0),
    # Four of the second and third list of both prompts are new, of seven.
    ([[[1, 2], [3, GONE], [2, 4]], [[1, 2], [2, 3], [1, 4]]], 4 / 7),
  ],
)
def test_lists_are_distinct_where_they_have_items_that_no_other_has(
  items, distinct
):
  assert _metrics(items)["lists/distinct"] == pytest.approx(distinct)


def test_entropy_is_that_of_what_was_drawn_by_place():
  found = _metrics(
    [[[1, 2], [3, GONE]]], log_probs=[[[-1.0, -0.5], [-3.0, 0.0]]]
  )
  assert found["entropy/item_1"] == 2.0
  assert found["entropy/item_2"] == 0.5
  assert found["entropy/item"] == 1.5


def test_mistakes_length_and_popularity_are_of_places_that_were_written():
  found = _metrics([[[0, 9], [5, GONE]]])
  assert found["lists/errors"] == pytest.approx(1 / 3)
  assert found["lists/items"] == 1.5
  assert found["lists/popularity"] == pytest.approx((0 + 5 + 9) / 27)


@pytest.mark.parametrize(
  ("kind", "own", "both"),
  [
    (training_metrics.Largest, 3.0, 4.0),
    (training_metrics.Smallest, -2.0, -2.0),
  ],
)
def test_extremes_are_of_what_counts_in_all_parts_of_a_batch(kind, own, both):
  values, where = jnp.array([3.0, -2.0, 9.0]), jnp.array([True, True, False])
  found = kind.of(values, where)
  assert found.compute() == own
  assert kind.empty().merge(found).compute() == own
  other = kind.of(jnp.array([4.0]), jnp.array([True]))
  assert found.merge(other).compute() == both
