"""Lists ranked in training: the scores and metrics that `evaluate` gives."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from instructrec.evaluation import metrics
from instructrec.serving.wish_prompts import Wish
from instructrec.training import mesh, scoring, validation_lists


@pytest.fixture(scope="module")
def lists(matching):
  """The requests of `matching`, in two parts as of two tasks."""
  tokens = matching.block.tokens
  labels = pl.Series("label", matching.block.labels)
  tokens = dataclasses.replace(
    tokens, columns=tokens.columns.with_columns(labels)
  )
  halves = [tokens.taken(rows) for rows in (np.arange(7), np.arange(7, 12))]
  return validation_lists.ValidationLists.of(
    halves, matching.run.data, matching.run.item_arrays()
  )


def test_lists_of_several_tasks_stand_one_after_the_other(matching, lists):
  np.testing.assert_array_equal(lists.labels, matching.block.labels)
  np.testing.assert_array_equal(lists.where, matching.block.where)
  for name in ("targets", "prompts", "history"):
    joined, one = (
      getattr(d, name) for d in (lists.data, matching.block.tokens)
    )
    np.testing.assert_array_equal(joined.tokens, one.tokens)
    np.testing.assert_array_equal(joined.offsets, one.offsets)


@pytest.mark.parametrize("layout", [None, mesh.MeshConfig()])
@pytest.mark.parametrize("part", ["likelihood", "match"])
def test_metrics_are_those_of_the_parts_that_evaluate_ranks_by(
  matching, lists, part, layout
):
  parts = matching.parts(part)
  own = parts.of_block(matching.block, Wish.OWN)
  scores = own[part]
  if part == "match":
    numbers = lists.data.pad_candidate_items(
      np.arange(len(lists)), scores.shape[1]
    )
    weight = float(parts.run.model.popularity_weight(parts.params))
    scores = scores + weight * lists.items.logs[numbers, 0]
  model = parts.run.model
  found = lists.scores(model, parts.params, layout)
  where = matching.block.where
  np.testing.assert_allclose(found[where], scores[where], rtol=1e-4, atol=1e-4)
  assert (found[~where] == -np.inf).all()
  wanted = metrics.per_request(
    found, matching.block.labels, ["HR@2", "NDCG@2"], where=where
  )
  assert lists.metrics(model, parts.params, (2,), layout) == {
    name: pytest.approx(values.mean()) for name, values in wanted.items()
  }


def test_likelihoods_take_one_compiled_program(matching, lists):
  """Whatever the lengths: it is compiled in the midst of training."""
  model = matching.parts("likelihood").run.model
  lists.scores(model, matching.params)
  names = (model.score_normalization,)
  assert scoring._score_fn(model, names, None)._cache_size() == 1


def test_one_shape_gives_the_scores_of_many(matching, lists):
  """Also where lists are several trees."""
  model = matching.parts("likelihood").run.model

  def scores(**options):
    (found,) = scoring.score_lists(
      model,
      matching.params,
      lists.data,
      np.arange(len(lists)),
      inputs_length=96,
      targets_length=64,
      **options,
    ).values()
    return found

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(scoring, "_TREE_NODES", 64)
    np.testing.assert_allclose(scores(one_shape=True), scores(), rtol=1e-5)


def test_titles_that_do_not_fit_are_refused_before_training(matching, lists):
  config = dataclasses.replace(lists.config, targets_length=2)
  short = dataclasses.replace(lists, config=config)
  with pytest.raises(ValueError, match=r"set --gin\.TARGETS_LENGTH="):
    short.check(matching.parts("likelihood").run.model)
  short.check(matching.parts("match").run.model)
