"""Instructions from prepared data: determinism, protocols, leaks."""

import collections
import dataclasses
import re

import polars as pl
import pytest

from instructrec.data import candidates, catalog, dataset, splits, synthetic
from instructrec.instructions import (
  generate,
  keyphrases,
  leaks,
  offline,
  plans,
  quality,
  render,
  templates,
)
from instructrec.instructions.format import (
  FineGrained,
  Instruction,
  Kind,
  TaskForm,
  TaskType,
)
from instructrec.instructions.teacher import TextKind

TEMPLATES = templates.load()


def prepare(log, items):
  split = splits.leave_one_out(log)
  requests = candidates.sample_candidates(split.requests, items, log, seed=1)
  split = dataclasses.replace(split, requests=requests)
  return dataset.PreparedData(log, items, split, {})


@pytest.fixture(scope="module")
def prepared():
  return prepare(*synthetic.generate(num_users=60, num_items=60, seed=2))


def generator(prepared, protocol="strict", **changes):
  return generate.Generator(
    prepared,
    offline.OfflineTeacher(prepared.catalog),
    TEMPLATES,
    protocol=protocol,
    **changes,
  )


def instructions(generator, splits=None):
  return [r for r in generator.rows(splits) if isinstance(r, Instruction)]


@pytest.fixture(scope="module")
def records(prepared):
  return list(generator(prepared).rows())


@pytest.fixture(scope="module")
def rows(records):
  return [record for record in records if isinstance(record, Instruction)]


def test_a_training_request_gives_a_row_a_task_type_others_one_a_template(
  prepared, rows
):
  train = collections.Counter(
    (r.request_id, r.task) for r in rows if r.split == "train"
  )
  assert set(train.values()) == {1}
  held = collections.Counter(
    (r.request_id, r.template_id) for r in rows if r.split != "train"
  )
  assert set(held.values()) == {1}
  counts = dict(prepared.split.requests["split"].value_counts().iter_rows())
  assert len(train) == 3 * counts["train"]
  assert len(held) == len(plans.EVAL_TEMPLATES) * (
    counts["validation"] + counts["test"]
  )
  assert len({row.example_id for row in rows}) == len(rows)


def test_stated_wishes_show_each_users_whole_sequence_twice(prepared):
  """With a wish and without; rows are not written twice for that."""
  rows = instructions(generator(prepared, "stated"), ["train"])
  newest = prepared.requests.read("train").filter("newest")["request_id"]
  assert len(newest) == newest.n_unique() > 0
  shown = collections.Counter(
    (row.request_id, row.template_id)
    for row in rows
    if row.template_id in plans.WHOLE_TEMPLATES
  )
  for request_id in newest:
    for template in set(plans.WHOLE_TEMPLATES) - {"genrec_next"}:
      assert shown[request_id, template] >= 1, (request_id, template)
  assert len({row.example_id for row in rows}) == len(rows)


def test_the_item_that_a_response_names_stands_in_the_row(prepared, rows):
  targets = dict(
    prepared.split.requests.select("request_id", "target").iter_rows()
  )
  named = collections.Counter()
  for row in rows:
    title = prepared.catalog.title(targets[row.request_id])
    wanted = targets[row.request_id] if title in row.targets else ""
    if row.task_form in ("T0", "T1") or row.kind == Kind.TURNED_AROUND:
      wanted = ""
    assert row.target_id == wanted, row
    named[row.kind, bool(wanted)] += 1
  assert named[Kind.DIRECT, True]
  assert named[Kind.COT, True]
  assert named[Kind.TURNED_AROUND, False]


def test_the_history_is_shown_where_the_prompt_has_its_mark(prepared, rows):
  for row in rows:
    titles = [prepared.catalog.title(item) for item in row.shown_history]
    assert row.prompt.count(render.HISTORY_MARK) == bool(titles)
    written = render.join_titles(titles)
    assert row.prompt.replace(render.HISTORY_MARK, written) == row.inputs
  assert any(row.history_ids and not row.shown_history for row in rows)


def test_three_preferences_and_two_intentions_a_user(prepared, records):
  texts = [r for r in records if isinstance(r, FineGrained)]
  users = prepared.log.num_users
  kinds = collections.Counter(text.kind for text in texts)
  assert kinds == {"P2": 3 * users, "I1": users, "I1*": users}
  per_user = collections.Counter((t.user_id, t.kind, t.split) for t in texts)
  assert set(per_user.values()) == {1}
  assert len({text.text_id for text in texts}) == len(texts)
  newest = {
    row["request_id"]
    for split in ("train", "validation", "test")
    for row in prepared.requests.read(split).iter_rows(named=True)
    if row["newest"]
  }
  assert {text.request_id for text in texts} <= newest
  # The two wordings differ.
  both = collections.defaultdict(set)
  for text in texts:
    if text.kind.startswith("I1"):
      both[text.user_id].add(text.text)
  assert sum(len(found) == 2 for found in both.values()) > 0.9 * users


def test_same_seed_same_rows_in_any_subset(prepared, records):
  assert list(generator(prepared).rows()) == records
  assert list(generator(prepared, seed=1).rows()) != records
  tests = list(generator(prepared).rows(["test"]))
  assert tests == [r for r in records if r.split == "test"]


def test_training_templates_are_equally_likely_and_none_is_held_out(rows):
  train = [row for row in rows if row.split == "train"]
  used = collections.Counter(row.template_id for row in train)
  wanted = TEMPLATES.of(held_out=False)
  assert set(used) == {template.id for template in wanted}
  for task in TaskType:
    found = [used[t.id] for t in wanted if t.task is task]
    mean = sum(found) / len(found)
    # Five standard deviations of a Poisson count.
    assert all(abs(n - mean) < 5 * mean**0.5 for n in found), (task, found)


def test_optional_parts_and_queries_are_drawn(rows):
  found = collections.defaultdict(collections.Counter)
  for row in rows:
    if row.split == "train":
      found[row.template_id][row.preference, row.intention] += 1
  assert set(found["seq_common_ground"]) == {("P1", "I0"), ("P1+P2", "I0")}
  assert set(found["search_engine"]) == {
    ("P2", "I0"),
    ("P0", "I1"),
    ("P0", "I2"),
  }
  assert set(found["personal_enthusiast"]) == {
    ("P1+P2", "I0"),
    ("P1", "I1"),
    ("P1+P2", "I1"),
    ("P1", "I2"),
    ("P1+P2", "I2"),
  }


def test_evaluation_rows_do_not_hold_the_candidates(rows):
  for row in rows:
    if row.split != "train":
      assert row.task_form == TaskForm.T2
      assert row.template_id in plans.EVAL_TEMPLATES
      assert row.label >= 0


def test_label_and_response_agree(prepared, rows):
  requests = {
    row["request_id"]: row
    for row in prepared.split.requests.iter_rows(named=True)
  }
  answers, first = collections.Counter(), collections.Counter()
  for row in rows:
    request = requests[row.request_id]
    title = prepared.catalog.title(request["target"])
    if row.kind in (Kind.COT, Kind.TURNED_AROUND, Kind.RELATEDNESS):
      assert (row.candidates, row.candidate_ids, row.label) == ((), (), -1)
      continue
    assert row.candidates[row.label] == row.targets
    if row.task_form == TaskForm.T0:
      answers[row.targets] += 1
      assert (f'"{title}"' in row.inputs) == (row.targets == "Yes")
      continue
    assert row.candidate_ids[row.label] == request["target"]
    if row.task_form == TaskForm.T1:
      first[row.label] += 1
      assert len(row.candidates) == 2
      for candidate in row.candidates:
        assert render.quote(candidate) in row.inputs
  assert answers["Yes"] / answers.total() == pytest.approx(0.5, abs=0.12)
  assert first[0] / first.total() == pytest.approx(0.5, abs=0.12)


def test_responses_of_the_kinds(prepared, rows):
  requests = {
    row["request_id"]: row
    for row in prepared.split.requests.iter_rows(named=True)
  }
  seen = set()
  for row in rows:
    request = requests[row.request_id]
    target = prepared.catalog.title(request["target"])
    if row.template_id == "seq_think_first":
      assert row.targets.endswith(f" So I recommend {target}")
    elif row.template_id == "personal_next_search":
      assert re.fullmatch(
        rf"Search: .+ Product: {re.escape(target)}", row.targets
      )
    elif row.template_id in ("personal_why", "search_guess_query"):
      assert render.quote(target) in row.inputs
    elif row.template_id == "personal_estimate_history":
      titles = [prepared.catalog.title(i) for i in request["history"]]
      named = row.targets[1:-1].split('"; "')
      assert named == titles[-len(named) :]
    else:
      continue
    seen.add(row.template_id)
  assert len(seen) == 5


def test_strict_inputs_do_not_change_with_the_target(prepared):
  """Nothing of the target in what tasks with a user are given."""
  requests = prepared.split.requests
  others = requests.with_columns(pl.col("target_review").shift(7))
  split = dataclasses.replace(prepared.split, requests=others)
  other = dataclasses.replace(prepared, split=split)
  pairs = zip(
    instructions(generator(prepared)),
    instructions(generator(other)),
    strict=True,
  )
  changed = collections.Counter()
  for before, after in pairs:
    # Where the row gives the target, or asks for the wish, it may.
    given = before.kind in (Kind.TURNED_AROUND, Kind.RELATEDNESS)
    if before.task == TaskType.PRODUCT_SEARCH or given:
      changed[before.task] += before != after
    else:
      assert before.inputs == after.inputs
      assert not before.intention_origin.startswith("target")
  assert changed[TaskType.PRODUCT_SEARCH]
  assert changed[TaskType.PERSONALIZED_SEARCH]


def test_the_paper_protocol_says_what_it_used(prepared):
  found = instructions(generator(prepared, protocol="paper"))
  origins = collections.Counter(
    (row.config, row.intention_origin) for row in found
  )
  assert origins["personalized_search_p1_i1", "target_review"] > 0
  assert origins["personalized_search_p1_i2", "target_attributes"] > 0
  assert not any(origin.startswith("history") for _, origin in origins)


def test_histories_are_cut_to_the_newest(prepared):
  for row in instructions(generator(prepared, max_history=2), ["test"]):
    if row.task != TaskType.PRODUCT_SEARCH:
      assert 1 <= len(row.history_ids) <= 2
      title = prepared.catalog.title(row.history_ids[-1])
      assert f'"{title}"' in row.inputs


def test_a_catalogue_of_bare_titles_and_no_reviews_works():
  log, items = synthetic.generate(num_users=40, num_items=60, seed=2)
  bare = catalog.Catalog(items.frame.select("item_id", "title"))
  silent = type(log)(log.frame.drop("review"))
  found = instructions(generator(prepare(silent, bare), protocol="paper"))
  assert {row.intention_origin for row in found} == {
    "none",
    "target_attributes",
  }
  # Words of titles carry the taste where there are no categories.
  kinds = {word for title in items.titles for word in title.lower().split()}
  queries = [
    row.inputs.lower()
    for row in found
    if row.template_id == "search_find_product"
  ]
  named = [bool(kinds & set(keyphrases.tokens(q))) for q in queries]
  assert sum(named) > 0.9 * len(named)


def test_a_query_holds_at_most_half_of_the_titles_words(prepared, rows):
  for row in rows:
    if row.template_id == "search_find_product":
      query = row.inputs.split("A shopper typed:")[1]
      words = set(keyphrases.content_words(row.targets))
      said = words & set(keyphrases.content_words(query))
      assert len(said) <= max(1, len(words) // 2), (query, row.targets)


class Telling(offline.OfflineTeacher):
  """Says titles that it is not to say, in words that quality passes."""

  def write(self, requests):
    return [
      f'They want "{request.items[-1].title}".'
      if request.kind is TextKind.SPECIFIC
      else text
      for request, text in zip(requests, super().write(requests), strict=True)
    ]


def test_a_leak_stops_generation(prepared, monkeypatch):
  leaking = generate.Generator(
    prepared, Telling(prepared.catalog), TEMPLATES, protocol="strict"
  )
  with pytest.raises(quality.TextQualityError, match="says_the_title"):
    list(leaking.rows())
  # The leak check does not lean on the quality check.
  monkeypatch.setattr(quality, "problem", lambda *args, **extra: None)
  with pytest.raises(leaks.InstructionLeakError, match="the target's title"):
    list(leaking.rows())


def test_a_fallback_writes_what_cannot_be_used_and_is_counted(prepared, rows):
  plain = offline.OfflineTeacher(prepared.catalog)
  mended = generate.Generator(
    prepared,
    Telling(prepared.catalog),
    TEMPLATES,
    protocol="strict",
    fallback=plain,
  )
  found = instructions(mended)
  assert mended.replaced["says_the_title"] > 0
  wanted = {
    row.example_id: row
    for row in rows
    if row.template_id == "search_find_product"
  }
  assert wanted
  for row in found:
    if row.example_id in wanted:
      assert row == wanted[row.example_id]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"protocol": "loose"}, "expected 'stated', 'strict' or"),
    ({"eval_templates": ("seq_think_first",)}, "evaluation needs a direct"),
    ({"eval_templates": ("search_engine",)}, "evaluation needs a direct"),
    ({"eval_templates": ("seq_will_they_click",)}, "evaluation needs a direct"),
    (
      {"eval_templates": ("seq_next_item", "seq_continue_story")},
      "expected one of each",
    ),
  ],
)
def test_settings_that_do_not_fit_are_refused(prepared, changes, message):
  with pytest.raises(ValueError, match=message):
    generator(prepared, **changes)
