"""Tallies of parts add up to the tally of the whole."""

import dataclasses
import random

import pytest

from instructrec.instructions import tally
from instructrec.instructions.format import FineGrained, Instruction


@pytest.fixture(scope="module")
def records(generated):
  return generated[1]


@pytest.fixture(autouse=True)
def few(monkeypatch):
  # So few that the samples cannot hold everything.
  monkeypatch.setattr(tally, "NUM_AUDITED", 7)
  monkeypatch.setattr(tally, "NUM_EXAMPLES", 5)


def count(records):
  found = tally.Tally()
  for record in records:
    found.add(record)
  return found


def content(counted):
  """All that a tally says; the order within its heaps says nothing."""
  fields = {
    field.name: getattr(counted, field.name)
    for field in dataclasses.fields(counted)
    if field.name != "samples"
  }
  samples = {name: counted.sample(name) for name in counted.samples}
  return fields, samples


def test_counts_are_those_of_a_loop(records):
  found = count(records)
  assert found.rows.total() == len(records)
  for (config, split), number in found.rows.items():
    assert number == sum((r.config, r.split) == (config, split)
                         for r in records)  # fmt: skip
  rows = [r for r in records if isinstance(r, Instruction)]
  texts = [r for r in records if isinstance(r, FineGrained)]
  train = [row for row in rows if row.split == "train"]
  assert found.templates.total() == len(train)
  for name in ("seq_next_item", "search_duel"):
    assert found.templates[name] == sum(r.template_id == name for r in train)
  words = sum(len(r.inputs.split()) for r in train if r.task == "sequential")
  assert found.words["sequential"] == words
  preferences = [text for text in texts if text.kind == "P2"]
  assert found.counted["P2"] == len(preferences)
  assert found.words["P2"] == sum(len(t.text.split()) for t in preferences)
  for name, number in (("P2", len(preferences)), ("I1", len(texts) // 5)):
    origins = {k: n for k, n in found.origins.items() if k[0] == name}
    assert sum(origins.values()) == number


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_parts_add_up_to_the_whole_in_any_order(records, parts):
  shuffled = random.Random(parts).sample(records, len(records))
  pieces = [count(shuffled[start::parts]) for start in range(parts)]
  pieces[0].replaced["too_short"] += 2
  pieces[-1].replaced["too_short"] += 1
  whole = count(records)
  whole.replaced["too_short"] += 3
  for order in (pieces, pieces[::-1]):
    merged = tally.Tally()
    for piece in order:
      merged.merge(piece)
    assert content(merged) == content(whole)


def test_samples_are_the_smallest_draws_whatever_the_parts(records):
  found = count(records)
  rows = [
    r
    for r in records
    if isinstance(r, Instruction)
    and (r.split, r.task) == ("train", "sequential")
  ]
  drawn = sorted(rows, key=lambda row: tally._draw(row.example_id))
  assert found.sample("sequential") == drawn[:5]
  assert len(found.sample("I1*")) == 7
  assert found.sample("nothing") == []
  # The draw is of the id and not of the place.
  assert drawn[:5] != rows[:5]


def test_a_tally_survives_the_way_through_json(records):
  found = count(records)
  found.replaced["empty"] += 1
  back = tally.Tally.from_json(found.to_json())
  assert back == found
  # It goes on counting and merging as before.
  again = count(records)
  for counted in (back, found):
    counted.merge(again)
  assert content(back) == content(found)
  assert back.rows.total() == 2 * len(records)
