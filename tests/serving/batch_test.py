"""Files of requests: complete or absent, and the same when stopped."""

import dataclasses
import gzip
import json
import types

import pytest

from instructrec.retrieval import run_weights
from instructrec.serving import batch, catalog_ranker, run_ranker
from instructrec.settings import ranking


@pytest.fixture(scope="module", name="ranker")
def ranker_fixture(matching):
  parts = matching.parts("match")
  weights = run_weights.RunWeights({}, parts.untuned)
  return run_ranker.Ranker(
    types.SimpleNamespace(
      run=parts.run,
      catalog=parts.catalog,
      parts=parts,
      checkpoint="checkpoint_6",
      ranks_catalogs=True,
      weights_warning=None,
      catalog_ranker=catalog_ranker.CatalogRanker(parts, weights),
    )
  )


@pytest.fixture(autouse=True)
def small_units(monkeypatch):
  monkeypatch.setattr(batch, "UNIT", 3)


@pytest.fixture
def requests(tmp_path, ranker):
  """Eight requests; an empty line is none."""
  ids = ranker.opened.catalog.item_ids
  lines = [{"id": f"r{n}", "history": ids[n : n + 2], "k": 3} for n in range(6)]
  lines += [{"wish": "something with robots"}, {"history": ids[:1], "k": 1}]
  path = tmp_path / "requests.jsonl"
  texts = [json.dumps(line) for line in lines]
  path.write_text("\n".join([*texts[:4], "", *texts[4:]]) + "\n")
  return path


def settings(path, output, **more):
  return ranking.RecommendationSettings(
    model_dir=output.parent, input=path, output=output, **more
  )


def answered(ranker, path, output, **more):
  done = batch.recommend(ranker, settings(path, output, **more), print)
  return done, [json.loads(line) for line in output.read_text().splitlines()]


def test_each_line_has_the_answer_of_its_request_alone(
  ranker, requests, tmp_path
):
  done, found = answered(ranker, requests, tmp_path / "out.jsonl", k=4)
  assert (done.requests, done.wrong) == (8, 0)
  assert [one["line"] for one in found] == [1, 2, 3, 4, 6, 7, 8, 9]
  assert [one.get("id") for one in found[:2]] == ["r0", "r1"]
  assert [len(one["places"]) for one in found] == [3] * 6 + [4, 1]
  for one in found:
    alone = ranker.rank(one["history"], one.get("wish"), k=len(one["places"]))
    assert [p["item_id"] for p in one["places"]] == [p.item_id for p in alone]
    assert [p["score"] for p in one["places"]] == pytest.approx(
      [p.score for p in alone], abs=1e-4
    )
  packed = tmp_path / "packed.jsonl.gz"
  packed.write_bytes(gzip.compress(requests.read_bytes()))
  assert answered(ranker, packed, tmp_path / "packed.out", k=4)[1] == found


def test_a_stopped_batch_goes_on_and_comes_to_the_same(
  ranker, requests, tmp_path, monkeypatch
):
  answered(ranker, requests, tmp_path / "whole.jsonl")
  whole = (tmp_path / "whole.jsonl").read_bytes()
  output = tmp_path / "out.jsonl"
  calls = []

  def stopping(self, asked):
    calls.append(len(asked))
    if len(calls) == 2:
      raise KeyboardInterrupt
    return rank_all(self, asked)

  rank_all = run_ranker.Ranker.rank_all
  monkeypatch.setattr(run_ranker.Ranker, "rank_all", stopping)
  with pytest.raises(KeyboardInterrupt):
    answered(ranker, requests, output)
  assert not output.exists()
  answered(ranker, requests, output)
  assert calls == [3, 3, 3, 2]  # The first unit was not made again.
  assert output.read_bytes() == whole
  names = {path.name for path in tmp_path.iterdir()}
  assert not any("unfinished" in name or "incomplete" in name for name in names)


@pytest.mark.parametrize("change", ["lines", "settings", "damage"])
def test_what_was_answered_for_something_else_is_made_again(
  change, ranker, requests, tmp_path, monkeypatch
):
  output = tmp_path / "out.jsonl"
  monkeypatch.setattr(
    batch.answer_units.AnswerUnits, "join", lambda *_, **__: None
  )
  batch.recommend(ranker, settings(requests, output), print)
  monkeypatch.undo()
  monkeypatch.setattr(batch, "UNIT", 3)
  more = {}
  if change == "lines":
    requests.write_text(requests.read_text().replace('"r1"', '"new"'))
  elif change == "settings":
    more["reasons"] = True
  else:
    (unit,) = (tmp_path / "out.jsonl.unfinished").glob("*0.jsonl")
    unit.write_bytes(unit.read_bytes().replace(b'"r1"', b'"xx"'))
  found = answered(ranker, requests, output, **more)[1]
  expected = answered(ranker, requests, tmp_path / "fresh", **more)[1]
  assert found == expected
  assert found[1]["id"] == ("new" if change == "lines" else "r1")
  assert ("reasons" in found[0]["places"][0]) == (change == "settings")


def test_wrong_lines_are_named_and_stop_or_say_so(ranker, requests, tmp_path):
  lines = requests.read_text().splitlines()
  lines[1] = '{"wish": 3}'
  lines[5] = '{"history": ["no such thing"]}'
  lines[6] = '{"history": []}'
  lines[7] = '{"wish": "a kite", "max_price": 0.001}'
  lines[8] = '{"wish": "a kite", "min_price": NaN}'
  requests.write_text("\n".join(lines))
  output = tmp_path / "out.jsonl"
  with pytest.raises(
    batch.BadRequestError, match=r"line 2: wish is 3, exp.*skip"
  ):
    answered(ranker, requests, output)
  assert not output.exists()
  done, found = answered(ranker, requests, output, on_bad_row="skip")
  assert (done.requests, done.wrong) == (8, 5)
  assert done.first == "line 2: wish is 3, expected text"
  wrong = {one["line"]: one["error"] for one in found if "error" in one}
  assert set(wrong) == {2, 6, 7, 8, 9}
  assert "no item is called 'no such thing'" in wrong[6]
  assert "needs a history" in wrong[7]
  assert "meet all of this: a price of at most 0.001" in wrong[8]
  assert "min_price is nan, expected a number" in wrong[9]
  assert all("places" in one for one in found if "error" not in one)


def test_wrong_lines_may_be_skipped_after_all_and_not(
  ranker, requests, tmp_path, monkeypatch
):
  """What is answered is kept; what was skipped is no answer otherwise."""
  lines = requests.read_text().splitlines()
  lines[3] = "nonsense"
  requests.write_text("\n".join(lines))
  output, calls = tmp_path / "out.jsonl", []
  rank_all = run_ranker.Ranker.rank_all

  def counted(self, asked):
    calls.append(len(asked))
    return rank_all(self, asked)

  monkeypatch.setattr(run_ranker.Ranker, "rank_all", counted)
  with pytest.raises(batch.BadRequestError, match="line 4"):
    answered(ranker, requests, output)
  monkeypatch.setattr(
    batch.answer_units.AnswerUnits, "join", lambda *_, **__: None
  )
  batch.recommend(ranker, settings(requests, output, on_bad_row="skip"), print)
  assert calls == [3, 2, 2]
  with pytest.raises(batch.BadRequestError, match="line 4"):
    answered(ranker, requests, output)


def test_an_output_that_is_there_stays(ranker, requests, tmp_path):
  output = tmp_path / "out.jsonl"
  output.write_text("mine")
  with pytest.raises(FileExistsError, match="--overwrite"):
    answered(ranker, requests, output)
  assert output.read_text() == "mine"
  assert len(answered(ranker, requests, output, overwrite=True)[1]) == 8
  other = tmp_path / "other.jsonl.unfinished"
  other.mkdir()
  (other / "letter").write_text("mine")
  with pytest.raises(FileExistsError, match="was not made by `recommend`"):
    answered(ranker, requests, tmp_path / "other.jsonl")
  assert (other / "letter").read_text() == "mine"


def test_no_requests_have_no_answers(ranker, tmp_path):
  empty = tmp_path / "empty.jsonl"
  empty.write_text("\n\n")
  done, found = answered(ranker, empty, tmp_path / "out.jsonl")
  assert (done.requests, found) == (0, [])


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ({"input": "a"}, "--input and --output go together"),
    ({"input": "a", "output": "b", "wish": "x"}, "requests of its own"),
    ({"input": "a", "output": "./a"}, "is the file of the requests"),
    ({"only": ("puzzles",)}, "nothing is asked for"),
    ({"history": ("a",), "k": 0}, "k is 0, expected 1 or more"),
  ],
)
def test_settings_that_do_not_fit_are_refused(given, message):
  with pytest.raises(ValueError, match=message):
    ranking.RecommendationSettings(model_dir="x", **given)


def test_filters_hold_for_every_place(ranker):
  items = ranker.opened.catalog
  from instructrec.serving import request_lines

  asked = request_lines.Request(
    wish="something nice",
    only=("Puzzles", "kites"),
    max_price=30.0,
    exclude=(items.titles[0],),
  )
  found = ranker.rank_all([asked.of(ranker, k=len(items))])[0]
  expected = {
    item
    for item in items.item_ids[1:]
    if (items[item].price or 99) <= 30
    and {"Puzzles", "Kites"} & set(items[item].categories)
  }
  assert {place.item_id for place in found} == expected
  assert found.num_candidates == len(expected)
  with pytest.raises(ValueError, match="no items are known as 'spaceships'"):
    dataclasses.replace(asked, only=("spaceships",)).of(ranker, k=3)
