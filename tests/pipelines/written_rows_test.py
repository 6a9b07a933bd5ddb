"""Titles of the whole catalogue, written beside other rankers of it."""

import dataclasses

import numpy as np
import pytest

from instructrec.evaluation import generated
from instructrec.instructions import templates
from instructrec.pipelines import written_rows
from instructrec.retrieval import evaluate, run_weights, score_weights
from instructrec.retrieval.methods import popularity
from instructrec.serving import opened_run
from instructrec.settings import evaluation

pytestmark = pytest.mark.tf

_PLAIN = {"likelihood": 0.5, "prior": -0.2, "match": 1.0, "popularity": 0.3}
_WISHED = {"likelihood": 0.8, "match": 0.6, "wanted": 4.0, "unwanted": -3.0}


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


def weights(without_wish, with_wish):
  """Weights as a fit leaves them, without the fit."""
  log = score_weights.FitLog(
    split="validation",
    seed=0,
    l2=1.0,
    num_requests=9,
    num_left_out=0,
    nats_before=2.0,
    nats_after=1.0,
    num_clipped={},
  )
  kinds = {"without_wish": without_wish, "with_wish": with_wish}
  return run_weights.RunWeights(
    {
      kind: score_weights.ScoreWeights(
        tuple(found), tuple(found.values()), (1.0,) * len(found), log
      )
      for kind, found in kinds.items()
    },
    {},
  )


@pytest.fixture(scope="module", name="rows")
def rows_fixture(opened, counts):
  # As many beams as there are items: nothing can be missed.
  return written_rows.WrittenRows(
    opened,
    weights(_PLAIN, _WISHED),
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
  """Against the parts of the score, made as `rank` makes them.

  Each request under its own wish, by the weights of its kind.
  """
  requests = matching.block.requests[:4]
  wishes = [one.intention for one in requests]
  assert wishes[2] is None
  assert wishes[1] is not None
  prompts = rows._prompts([matching.block])
  few = dataclasses.replace(
    prompts, rows=prompts.rows[:4], history=prompts.history[:4]
  )
  written, what = rows._written(requests, few)
  likelihoods = rows._all_likelihoods([matching.block], 4)
  found = opened.parts.of_catalog([r.history for r in requests], wishes)
  found["likelihood"] = likelihoods
  found["prior"] = np.tile(opened.parts.priors[1:], (4, 1))
  assert found["unwanted"][1].any()
  whole = np.stack(
    [
      sum(weight * found[name][row] for name, weight in own.items())
      for row, own in enumerate([_WISHED, _WISHED, _PLAIN, _WISHED])
    ]
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
  told = what["titles and matches, 60 beams"]
  assert "-0.2 prior" in told.replace("- ", "-")
  assert "4 wanted" in told


def test_what_titles_count_nothing_for_is_not_led(matching, opened):
  """For one kind of the requests is enough: a row is one score."""
  requests = matching.block.requests[:4]
  deaf = dict.fromkeys(_WISHED, 1.0) | {"likelihood": 0.0}
  for with_wish, asked, leads in (
    (_WISHED, requests, True),
    (deaf, requests, False),
    (deaf, requests[2:3], True),
  ):
    found = written_rows.WrittenRows(
      opened, weights(_PLAIN, with_wish), {}, [10]
    )
    assert found._leads(asked) is leads


def test_free_texts_are_looked_up_to_the_letter(rows, matching, opened):
  found = rows._freely(rows._prompts([matching.block]), "free")
  # An untrained network writes no title.
  assert (found.items == generated.INVALID).mean() > 0.9
  title = opened.catalog.titles[3]
  tokens = opened.run.tokenizer.encode(title)
  assert opened.run.tokenizer.decode(tokens) == title


def test_retrievers_rank_the_same_catalogue(evaluated, counts, matching):
  result, _ = evaluated
  ranks, _ = evaluate.catalog_ranks(counts, matching.block.requests)
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
    written_rows.WrittenRows(other, weights(_PLAIN, _WISHED), {}, [10])


def test_fewer_beams_than_places_are_refused(tmp_path):
  with pytest.raises(ValueError, match=r"--num_beams=4.*10 places"):
    evaluation.EvaluationSettings(model_dir=tmp_path, num_beams=(4,))
