"""Requests as lines of JSON."""

import io
import json
import sys

import pytest

from instructrec import limits
from instructrec.serving import rankings, request_lines


def test_a_line_is_a_request():
  line = '{"history": ["a", 7], "wish": "x", "k": 2, "candidates": [], "id": 3}'
  assert request_lines.parse(line.encode()) == request_lines.Request(
    history=("a", "7"), wish="x", k=2, candidates=(), id=3
  )
  assert request_lines.parse(b'{"wish": null}') == request_lines.Request()
  filters = (
    b'{"only": ["kites"], "exclude": [7], "max_price": 3, "min_price": 1, '
    b'"max_year": 1999}'
  )
  assert request_lines.parse(filters) == request_lines.Request(
    only=("kites",), exclude=("7",), max_price=3, min_price=1, max_year=1999
  )


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("{", "found '{', expected a JSON object"),
    ('{"wish": "é"}', "can't decode byte 0xe9"),
    ("[1]", r"found '\[1\]', expected a JSON object"),
    ("[" * 100_000, "expected a JSON object"),
    ('{"wishes": "x"}', "the field 'wishes', expected some of history, wish"),
    ('{"history": "Toy Story"}', "history is 'Toy Story', expected a list"),
    ('{"history": [null]}', "history has None, expected a title or an id"),
    ('{"candidates": [true]}', "candidates has True, expected a title"),
    ('{"wish": 3}', "wish is 3, expected text"),
    ('{"k": "3"}', "k is '3', expected a whole number"),
    ('{"k": true}', "k is True, expected a whole number"),
    ('{"only": "kites"}', "only is 'kites', expected a list of attributes"),
    ('{"max_price": "3"}', "max_price is '3', expected a number"),
    ('{"min_price": true}', "min_price is True, expected a number"),
    ('{"min_year": "1990s"}', "min_year is '1990s', expected a number"),
    ('{"id": [1]}', r"id is \[1\], expected text or a whole number"),
  ],
)
def test_a_line_that_is_no_request_says_why(line, message):
  with pytest.raises(ValueError, match=message):
    request_lines.parse(line.encode("latin-1"))


def test_lines_have_the_numbers_of_their_file(tmp_path):
  path = tmp_path / "requests.jsonl"
  path.write_text('{"id": 1}\n\n  \n{"id": 4}\n')
  assert list(request_lines.read(path)) == [
    (1, b'{"id": 1}\n'),
    (4, b'{"id": 4}\n'),
  ]
  with pytest.raises(FileNotFoundError, match=r"none\.jsonl"):
    list(request_lines.read(tmp_path / "none.jsonl"))


def test_the_standard_input_is_read_as_it_comes(monkeypatch):
  stream = io.BytesIO(b"a\nb\n")
  monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
  lines = request_lines.read("-")
  assert next(lines) == (1, b"a\n")
  assert stream.tell() == 2
  assert next(lines) == (2, b"b\n")


def test_a_line_without_an_end_fills_no_memory(monkeypatch):
  monkeypatch.setenv(limits.LINE_BYTES.variable, "9")
  stream = io.BytesIO(b"x" * 1000)
  monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
  with pytest.raises(limits.LimitError):
    next(request_lines.read("-"))
  assert stream.tell() == 10


def test_an_answer_is_the_ranking():
  place = rankings.Place("i1", "Red Ball", 1.5, {"match": 1.5})
  found = rankings.Ranking((place,), 9, "1 match", history=("i2",), wish="a.")
  assert json.loads(json.dumps(request_lines.answer(found))) == {
    "places": [
      {
        "item_id": "i1",
        "title": "Red Ball",
        "score": 1.5,
        "parts": {"match": 1.5},
      }
    ],
    "num_candidates": 9,
    "score": "1 match",
    "history": ["i2"],
    "wish": "a.",
    "notes": [],
  }
