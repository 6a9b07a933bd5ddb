"""Titles of the whole catalogue, written beside other rankers of it."""

import dataclasses

import numpy as np
import pytest

from instructrec.evaluation import generated
from instructrec.instructions import templates
from instructrec.pipelines import written_rows
from instructrec.retrieval import evaluate, run_weights
from instructrec.retrieval.methods import popularity
from instructrec.serving import opened_run
from instructrec.settings import evaluation

pytestmark = pytest.mark.tf

_WEIGHTS = {"likelihood": 0.5, "prior": -0.2, "match": 1.0, "popularity": 0.3}


@pytest.fixture(scope="module", name="opened")
def opened_fixture(matching):
  return opened_run.OpenedRun(
    matching.run, matching.params, matching.prepared, templates.load()
  )


@pytest.fixture(scope="module", name="counts")
def counts_fixture(matching):
  prepared = matching.prepared
  found = popularity.Popularity()
  return found.fit(prepared.split.training_log, prepared.catalog)


@pytest.fixture(scope="module", name="rows")
def rows_fixture(opened, counts):
  # As many beams as there are items: nothing can be missed.
  return written_rows.WrittenRows(
    opened,
    run_weights.RunWeights({}, _WEIGHTS),
    {"popularity": counts},
    [len(opened.catalog)],
    num_exact=4,
  )


@pytest.fixture(scope="module", name="evaluated")
def evaluated_fixture(rows, matching):
  return rows.evaluate("sequential", [matching.block])


def test_beams_that_are_as_many_as_items_find_what_scoring_all_does(evaluated):
  _, section = evaluated
  lines = [
    line.split(" | ") for line in section[4].splitlines() if "beams |" in line
  ]
  assert len(lines) == 2
  for line in lines:
    assert line[1:5] == ["0.0000 [0.0000, 0.0000]"] * 4
    assert line[5].startswith("1.0000 [1.0000, 1.0000], 4 requests")


def test_the_order_is_that_of_the_weighted_sum(rows, matching, opened):
  """Against the parts of the score, made as `rank` makes them."""
  requests = matching.block.requests[:4]
  prompts = rows._prompts([matching.block])
  few = dataclasses.replace(
    prompts, rows=prompts.rows[:4], history=prompts.history[:4]
  )
  written, _ = rows._written(requests, few)
  likelihoods = rows._all_likelihoods([matching.block], 4)
  found = opened.parts.of_catalog([r.history for r in requests], [None] * 4)
  whole = (
    _WEIGHTS["likelihood"] * likelihoods
    + _WEIGHTS["prior"] * opened.parts.priors[1:]
    + _WEIGHTS["match"] * found["match"]
    + _WEIGHTS["popularity"] * found["popularity"]
  )
  for row, one in enumerate(requests):
    seen = [opened.catalog.index(i) for i in one.history if i != one.target]
    whole[row, seen] = -np.inf
    likelihoods[row, seen] = -np.inf
  for name, scores in (
    ("titles, 60 beams", likelihoods),
    ("titles and matches, 60 beams", whole),
  ):
    items = written[name].items
    taken = np.take_along_axis(scores, items, 1)
    np.testing.assert_allclose(
      taken, -np.sort(-scores, 1)[:, : items.shape[1]], rtol=1e-5, atol=1e-4
    )


def test_free_texts_are_looked_up_to_the_letter(rows, matching, opened):
  found = rows._freely(rows._prompts([matching.block]), "free")
  # An untrained network writes no title.
  assert (found.items == generated.INVALID).mean() > 0.9
  title = opened.catalog.titles[3]
  tokens = opened.run.tokenizer.encode(title)
  assert opened.run.tokenizer.decode(tokens) == title


def test_retrievers_rank_the_same_catalogue(evaluated, counts, matching):
  result, _ = evaluated
  ranks, _ = evaluate.catalogue_ranks(counts, matching.block.requests)
  np.testing.assert_allclose(
    result.expected_ranks["popularity"],
    ranks.greater + (ranks.equal + 1) / 2,
  )
  assert result.group == "sequential, whole catalogue"
  assert set(result.chance) == {
    "HR@1",
    "HR@5",
    "HR@10",
    "NDCG@5",
    "NDCG@10",
    "MRR",
  }
  assert set(result.methods) == {
    "titles, 60 beams",
    "titles and matches, 60 beams",
    "titles, 10 beams, free",
    "state vector",
    "popularity",
  }


def test_a_run_that_never_learnt_to_write_is_refused(matching, opened):
  other = dataclasses.replace(opened, run=matching.parts("match").run)
  with pytest.raises(ValueError, match="never learnt to write"):
    written_rows.WrittenRows(
      other, run_weights.RunWeights({}, _WEIGHTS), {}, [10]
    )


def test_fewer_beams_than_places_are_refused(tmp_path):
  with pytest.raises(ValueError, match=r"--num_beams=4.*10 places"):
    evaluation.EvaluationSettings(model_dir=tmp_path, num_beams=(4,))
