"""GenRec's instructions: a history in titles, and the title that follows."""

import dataclasses
import json

import pytest

from instructrec.data import candidates, dataset, splits, synthetic
from instructrec.instructions import (
  domains,
  generate,
  mixtures,
  offline,
  plans,
  render,
  templates,
)
from instructrec.instructions.format import Instruction, Kind

GENREC = templates.load(kinds=[templates.GENREC])
TASK = "sequential_next_title"


@pytest.fixture(scope="module")
def prepared():
  log, items = synthetic.generate(num_users=40, num_items=40, seed=3)
  split = splits.leave_one_out(log)
  requests = candidates.sample_candidates(split.requests, items, log, seed=1)
  split = dataclasses.replace(split, requests=requests)
  return dataset.PreparedData(log, items, split, {})


def rows(prepared, kinds, eval_templates):
  return list(
    generate.Generator(
      prepared,
      offline.OfflineTeacher(prepared.catalog),
      templates.load(kinds=kinds),
      eval_templates=eval_templates,
    ).rows()
  )


@pytest.fixture(scope="module", name="written")
def written_fixture(prepared):
  return rows(prepared, [templates.GENREC], plans.GENREC_EVAL_TEMPLATES)


def test_every_row_asks_for_the_title_behind_its_history(prepared, written):
  titles = dict(
    zip(prepared.catalog.item_ids, prepared.catalog.titles, strict=True)
  )
  frame = prepared.split.requests
  requests = {row["request_id"]: row for row in frame.iter_rows(named=True)}
  for row in written:
    request = requests[row.request_id]
    assert row.config == TASK
    assert row.targets == titles[request["target"]]
    assert row.target_id == request["target"]
    assert row.history_ids == tuple(request["history"][-20:])
    assert render.join_titles([titles[i] for i in row.history_ids]) in (
      row.inputs
    )
    assert not row.wish_text


def test_no_preference_and_no_wish_is_written_that_nobody_reads(written):
  assert all(isinstance(row, Instruction) for row in written)


def test_ten_wordings_are_drawn_and_the_eleventh_never(written):
  drawn = {row.template_id for row in written if row.split == "train"}
  assert drawn == {t.id for t in GENREC.of(held_out=False)}
  assert len(drawn) == 10
  assert {row.template_id for row in written if row.split != "train"} == set(
    plans.GENREC_EVAL_TEMPLATES
  )


def test_every_user_is_seen_whole(written):
  newest = {}
  for row in written:
    if row.split == "train" and row.template_id == "genrec_next":
      newest[row.user_id] = max(
        newest.get(row.user_id, 0), len(row.history_ids)
      )
  longest = {}
  for row in written:
    if row.split == "train":
      longest[row.user_id] = max(
        longest.get(row.user_id, 0), len(row.history_ids)
      )
  assert newest == longest


def test_both_kinds_fill_one_folder_with_tasks_of_their_own(prepared):
  both = rows(
    prepared,
    templates.KINDS,
    (*plans.EVAL_TEMPLATES, *plans.GENREC_EVAL_TEMPLATES),
  )
  found = [row for row in both if isinstance(row, Instruction)]
  for row in found:
    assert (row.config == TASK) == row.template_id.startswith("genrec_")
  assert any(row.config == TASK for row in found)
  assert len({row.config for row in found}) > 5


def test_mixtures_of_a_set_without_the_papers_templates():
  mixed = mixtures.mixtures(GENREC, plans.GENREC_EVAL_TEMPLATES)
  assert mixed == {
    "": {TASK: 10.0},
    "_all": {TASK: 10.0},
    "_direct": {TASK: 10.0},
    "_matching": {TASK: 10.0},
    "_evaluated": {TASK: 1.0},
  }


@pytest.mark.parametrize("domain", domains.Domain)
def test_wordings_know_the_domain(domain):
  words = [t.inputs for t in GENREC.reworded(domain).templates]
  watched = domain in (
    domains.Domain.FILMS, domains.Domain.BOOKS, domains.Domain.MUSIC
  )  # fmt: skip
  for text in words:
    assert not (watched and ("bought" in text or "purchase" in text)), text
    assert "{history}" in text


def test_a_model_is_asked_as_it_was_trained():
  both = templates.load(kinds=templates.KINDS)
  assert both.answering(history=True, wish=False).id == "seq_next_item"
  assert GENREC.answering(history=True, wish=False).id == "genrec_next"
  assert both.knows_wishes
  assert not GENREC.knows_wishes
  with pytest.raises(ValueError, match="kind=instructrec"):
    GENREC.answering(history=True, wish=True)


@pytest.mark.parametrize(
  "change", [{"form": "T3"}, {"task": "product_search", "preference": ["P0"]}]
)
def test_a_next_title_is_of_a_history(tmp_path, change):
  entry = {
    "id": "mine",
    "task": "sequential",
    "kind": Kind.NEXT_TITLE.value,
    "preference": ["P1"],
    "form": "T2",
    "inputs": "What comes behind {history} and {candidates}?",
    **change,
  }
  path = tmp_path / "mine.yaml"
  path.write_text(json.dumps({"templates": [entry]}))
  with pytest.raises(templates.TemplateError, match="kind next_title asks"):
    templates.load([path])
