"""A run as a retriever, and what a model folder opens to."""

import dataclasses

import numpy as np
import pytest

from instructrec.instructions import templates
from instructrec.retrieval import run_weights
from instructrec.serving import (
  catalog_ranker,
  opened_run,
  run_ranker,
  run_retriever,
)


@pytest.fixture(scope="module")
def opened(matching):
  return opened_run.OpenedRun(
    matching.run, matching.params, matching.prepared, templates.load()
  )


@pytest.fixture(scope="module")
def retriever(opened):
  return run_retriever.RunRetriever(opened)


def test_the_catalogue_is_ranked_under_the_wish_of_each_request(
  matching, opened, retriever
):
  requests = matching.block.requests[:3]
  assert [one.intention is None for one in requests] == [False, False, True]
  scores = retriever.score(requests)
  assert scores.shape == matching.block.where[:3].shape
  for row, one in enumerate(requests):
    ranked = opened.catalog_ranker.rank(
      one.history, one.intention, one.candidates
    )
    best = one.candidates[int(scores[row].argmax())]
    assert ranked[0].item_id == best
    np.testing.assert_allclose(
      np.sort(scores[row])[::-1], [x.score for x in ranked], rtol=1e-4
    )


def test_a_run_that_matches_no_titles_is_refused(matching, opened):
  model = matching.parts("likelihood").run.model
  run = dataclasses.replace(opened.run, model=model)
  likely = dataclasses.replace(opened, run=run)
  assert not likely.ranks_catalogs
  with pytest.raises(ValueError, match=r"next_item\.gin"):
    run_retriever.RunRetriever(likely)


def test_it_is_neither_fitted_nor_saved(matching, retriever, tmp_path):
  with pytest.raises(TypeError, match="trained with `instructrec train`"):
    retriever.fit(
      matching.prepared.split.training_log, matching.prepared.catalog
    )
  with pytest.raises(TypeError, match="kept in its model folder"):
    retriever.save(tmp_path / "out")
  with pytest.raises(TypeError, match=r"OpenedRun\.open"):
    retriever._load(tmp_path)


@pytest.mark.parametrize(
  ("fitted", "step", "said"),
  [(500, 500, False), (500, 900, True), (500, None, True), (None, 900, False)],
)
def test_weights_of_another_checkpoint_are_told(opened, fitted, step, said):
  """As with `rank --step=latest` where the best checkpoint is another."""
  weights = run_weights.RunWeights({}, opened.parts.untuned, fitted)
  asked = dataclasses.replace(
    opened, checkpoint=f"checkpoint_{step} (the newest)", step=step
  )
  asked.__dict__["catalog_ranker"] = catalog_ranker.CatalogRanker(
    opened.parts, weights
  )
  ranking = run_ranker.Ranker(asked).rank([], "a kite", k=1)
  warnings = [n for n in ranking.notes if "were fitted with" in n]
  assert len(warnings) == said
  for warning in warnings:
    assert (
      f"checkpoint_{fitted}, and what ranks is {asked.checkpoint}" in warning
    )
