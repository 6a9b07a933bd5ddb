"""Many requests in one process, through the command line."""

import json

import pytest
from typer.testing import CliRunner

import instructrec
from instructrec.cli import main
from instructrec.cli import rank as rank_cli
from instructrec.settings import ranking

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def ranker(work):
  return instructrec.Ranker.open(work / "model")


@pytest.fixture
def call(ranker, work, monkeypatch):
  """Runs the command over one run that stays open."""
  monkeypatch.setattr(rank_cli, "open_ranker", lambda settings, silent: ranker)

  def run(*args, **given):
    command = ["rank", f"--model_dir={work / 'model'}", *map(str, args)]
    return CliRunner().invoke(main.app, command, **given)

  return run


@pytest.fixture(scope="module")
def titles(ranker):
  return ranker.opened.catalog.titles


def lines(*requests):
  return "".join(json.dumps(request) + "\n" for request in requests)


def test_each_line_has_its_answer(call, ranker, titles, tmp_path):
  path = tmp_path / "requests.jsonl"
  path.write_text(
    lines(
      {"history": [titles[0]], "wish": "a toy", "k": 2, "id": "first"},
      {"wish": "a toy.", "candidates": titles[3:6]},
    )
  )
  result = call(f"--input={path}", "--json")
  assert result.exit_code == 0, result.output
  first, second = map(json.loads, result.stdout.splitlines())
  assert (first["line"], first["id"]) == (1, "first")
  assert first["wish"] == second["wish"] == "a toy."
  assert first["history"] == [ranker.opened.catalog.item_ids[0]]
  best = ranker.rank([titles[0]], "a toy", k=2)
  assert [p["item_id"] for p in first["places"]] == [p.item_id for p in best]
  assert [p["score"] for p in first["places"]] == [p.score for p in best]
  assert sorted(p["title"] for p in second["places"]) == sorted(titles[3:6])


def test_a_wrong_line_is_named_and_stops_no_other(call, titles):
  given = lines({"wish": "a", "k": 1}, {"hist": []}, {"history": ["None"]})
  given += "{\n" + lines({"wish": "b", "k": 1})
  result = call("--input=-", "--json", input=given)
  found = [json.loads(line) for line in result.stdout.splitlines()]
  assert [one["line"] for one in found] == [1, 2, 3, 4, 5]
  assert ["error" in one for one in found] == [False, True, True, True, False]
  assert "no item is called 'None'" in found[2]["error"]
  assert isinstance(result.exception, ValueError)
  assert (
    "3 of 5 requests have no ranking; the first: -, line 2: found the "
    in (str(result.exception))
  )
  plain = call("--input=-", input=given)
  assert "error: -, line 4: found '{', expected a JSON object" in plain.stdout
  assert "line 5:" in plain.stdout


def test_ids_stand_beside_titles(call, ranker, titles):
  result = call(f"--history={titles[0]}", "--top=3")
  best = ranker.rank([titles[0]], k=3)
  for place in best:
    assert f"{place.title}  [{place.item_id}]" in result.stdout


def test_a_title_that_is_nearly_one_is_corrected_where_asked(call, titles):
  wrong = titles[0][:-1]
  result = call(f"--history={wrong}", "--top=1", "--on_unknown=nearest")
  assert f"note: {wrong!r} was read as {titles[0]!r}" in result.stdout
  result = call(f"--history={wrong}", "--wish=a toy", "--on_unknown=skip")
  assert f"note: left out: no item is called {wrong!r}" in result.stdout


def test_the_history_goes_before_the_wish(ranker):
  """What the model cannot read, and how far it reads."""
  most = ranker.opened.run.data.inputs_length
  history = ranker.opened.catalog.item_ids[1:] * 3
  found = ranker.rank(history, "some game", k=1)
  (note,) = found.notes
  assert f"of {len(history)} items are read" in note
  assert "some game." in found.instruction
  left, wish = ranker.rank(history, "a " * most, k=1).notes
  assert f"the newest 1 of {len(history)} items are read" in left
  assert "the wish is cut: up to its end" in wish
  assert f"the model reads {most - 1}" in wish


def test_the_second_question_compiles_nothing(ranker, titles):
  ranker.rank(titles[:1], "a")
  search = ranker.instructions._search
  before = search._start._cache_size(), search._extend._cache_size()
  ranker.rank(titles[:12], "something for a long ride on a rainy day")
  ranker.rank((), "b")
  after = search._start._cache_size(), search._extend._cache_size()
  assert after == before


def test_a_conversation_keeps_its_history(ranker, titles, capsys):
  said = iter(
    [f"+{titles[0]}", "+None", "", "a toy", f"-{titles[0]}", "-None", "", None]
  )
  settings = ranking.RankingSettings(model_dir="x", top=1)
  rank_cli.converse(ranker, settings, lambda: next(said))
  shown = capsys.readouterr().out.splitlines()
  assert shown[0] == f"history: {titles[0]}"
  assert shown[1].startswith("error: no item is called 'None'")
  places = [line for line in shown if line.startswith("  1. ")]
  expected = (ranker.rank(titles[:1]), ranker.rank(titles[:1], "a toy"))
  assert [line.split("[")[1] for line in places] == [
    f"{found[0].item_id}]" for found in expected
  ]
  assert "history: none" in shown
  assert shown[-1] == "error: a request needs a history, a sentence, or both"


def test_a_terminal_is_asked_where_nothing_is(call, ranker, monkeypatch):
  monkeypatch.setattr(rank_cli, "_is_terminal", lambda: True)
  result = call("--top=1", input="a toy\n")
  assert result.exit_code == 0, result.output
  assert "Say what you wish for" in result.stdout
  assert ranker.rank((), "a toy")[0].title in result.stdout


def test_requests_are_named_once(call):
  result = call("--input=x", "--wish=a")
  assert "--input has requests of its own" in str(result.exception)
