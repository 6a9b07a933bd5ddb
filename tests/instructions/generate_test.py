"""Instructions from prepared data: determinism, protocols, leaks."""

import collections
import dataclasses

import polars as pl
import pytest

from instructrec.data import candidates, catalog, dataset, splits, synthetic
from instructrec.instructions import generate, leaks, offline, templates
from instructrec.instructions.format import TaskForm, TaskType

TEMPLATES = templates.load()


def prepare(log, items):
  split = splits.leave_one_out(log)
  requests = candidates.sample_candidates(split.requests, items, log, seed=1)
  split = dataclasses.replace(split, requests=requests)
  return dataset.PreparedData(log, items, split, {})


@pytest.fixture(scope="module")
def prepared():
  return prepare(*synthetic.generate(num_users=60, num_items=60, seed=2))


def generator(prepared, **changes):
  return generate.Generator(
    prepared, offline.OfflineTeacher(prepared.catalog), TEMPLATES, **changes
  )


@pytest.fixture(scope="module")
def rows(prepared):
  return list(generator(prepared).rows())


def test_each_request_gives_a_row_a_task_type(prepared, rows):
  per_request = collections.Counter((r.request_id, r.task) for r in rows)
  assert set(per_request.values()) == {1}
  assert len(rows) == 3 * prepared.split.requests.height
  assert len({row.example_id for row in rows}) == len(rows)


def test_same_seed_same_rows_in_any_subset(prepared, rows):
  assert list(generator(prepared).rows()) == rows
  assert list(generator(prepared, seed=1).rows()) != rows
  tests = list(generator(prepared).rows(["test"]))
  assert tests == [row for row in rows if row.split == "test"]


def test_every_training_template_and_form_is_used_by_weight(rows):
  train = [row for row in rows if row.split == "train"]
  held_out = {t.id for t in TEMPLATES.of(held_out=True)}
  used = collections.Counter(row.template_id for row in train)
  assert set(used) == {t.id for t in TEMPLATES.of(held_out=False)}
  assert not held_out & set(used)
  forms = collections.Counter(row.task_form for row in train)
  assert forms["T2"] / len(train) == pytest.approx(0.5, abs=0.05)
  assert forms["T0"] / len(train) == pytest.approx(0.25, abs=0.05)


def test_evaluation_rows_do_not_hold_the_candidates(rows):
  for row in rows:
    if row.split != "train":
      assert row.task_form == TaskForm.T2
      assert row.template_id == generate.EVAL_TEMPLATES[TaskType(row.task)]


def test_label_and_response_agree(prepared, rows):
  requests = {
    row["request_id"]: row
    for row in prepared.split.requests.iter_rows(named=True)
  }
  answers = collections.Counter()
  for row in rows:
    assert row.candidates[row.label] == row.targets
    request = requests[row.request_id]
    if row.task_form == TaskForm.T0:
      answers[row.targets] += 1
      title = prepared.catalog.title(request["target"])
      assert (f'"{title}"' in row.inputs) == (row.targets == "Yes")
    else:
      assert row.candidate_ids[row.label] == request["target"]
  assert answers["Yes"] / answers.total() == pytest.approx(0.5, abs=0.1)


def test_strict_rows_do_not_change_with_the_target(prepared, rows):
  """Nothing of the target in the inputs of tasks with a user."""
  requests = prepared.split.requests
  shifted = requests.with_columns(
    pl.col("target_review").shift(7).alias("target_review")
  )
  split = dataclasses.replace(prepared.split, requests=shifted)
  other = dataclasses.replace(prepared, split=split)
  for before, after in zip(rows, generator(other).rows(), strict=True):
    assert before.inputs == after.inputs
    if before.task != TaskType.PRODUCT_SEARCH:
      assert before.intention_origin in ("none", "history")


def test_the_paper_protocol_says_what_it_used(prepared):
  found = list(generator(prepared, protocol="paper").rows())
  origins = collections.Counter(
    (row.task, row.intention_origin) for row in found
  )
  assert origins["personalized_search", "target_review"] > 0
  assert ("personalized_search", "history") not in origins
  assert {o for t, o in origins if t == "product_search"} == {
    "target_attributes"
  }


def test_histories_are_cut_to_the_newest(prepared):
  for row in generator(prepared, max_history=2).rows(["test"]):
    if row.task != TaskType.PRODUCT_SEARCH:
      assert 1 <= len(row.history_ids) <= 2
      title = prepared.catalog.title(row.history_ids[-1])
      assert f'"{title}"' in row.inputs


def test_a_catalogue_of_bare_titles_and_no_reviews_works():
  log, items = synthetic.generate(num_users=40, num_items=60, seed=2)
  bare = catalog.Catalog(items.frame.select("item_id", "title"))
  silent = type(log)(log.frame.drop("review"))
  found = list(generator(prepare(silent, bare), protocol="paper").rows())
  assert {row.intention_origin for row in found} == {
    "none",
    "target_attributes",
  }
  # Words carry the taste where there are no categories.
  text = " ".join(row.inputs for row in found).lower()
  assert "looking for" in text


def test_a_query_holds_at_most_half_of_the_titles_words(prepared, rows):
  for row in rows:
    if row.template_id == "search_find_product":
      query = row.inputs.split("The query is:")[1].lower()
      words = offline._words(row.targets)
      said = [word for word in words if word in offline._words(query)]
      assert len(said) <= max(1, len(words) // 2), (query, row.targets)


def planted(**changes):
  from instructrec.instructions import format as instruction_format

  return instruction_format.Instruction(
    **{
      "example_id": "e",
      "task": "sequential",
      "template_id": "t",
      "preference": "P1",
      "intention": "I0",
      "task_form": "T2",
      "intention_origin": "none",
      "user_id": "u",
      "request_id": "r",
      "inputs": 'Bought "Go". Next?',
      "targets": "Space Chess",
      "candidates": ("Space Chess", "Ludo"),
      "candidate_ids": ("c", "l"),
      "label": 0,
      "history_ids": ("g",),
      "split": "test",
      **changes,
    }
  )


def problems(row, history=("Go",), target="Space Chess", **extra):
  return leaks.problems(
    row, target_title=target, target_id="c", history_titles=history, **extra
  )


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"inputs": 'Wants "Space Chess" next'}, "quote the target's title"),
    ({"inputs": "I wish for space chess, please"}, "say the target's title"),
    ({"inputs": 'Item "c" next'}, "hold the target's id"),
    ({"history_ids": ("g", "c")}, "is in the history"),
    (
      {
        "task_form": "T3",
        "inputs": 'Space Chess? From "Space Chess"; "Ludo" choose.',
      },
      "say the target's title",
    ),
    (
      {"task_form": "T0", "inputs": 'Loves Space Chess. Is "Ludo" right?'},
      "say the target's title",
    ),
  ],
)
def test_planted_leaks_are_caught(changes, message):
  item = "Ludo" if changes.get("task_form") == "T0" else None
  (found,) = problems(planted(**changes), item_title=item)
  assert message in found


@pytest.mark.parametrize(
  ("changes", "extra"),
  [
    ({}, {}),
    ({"task_form": "T3", "inputs": 'From "Space Chess"; "Ludo" choose.'}, {}),
    (
      {"task_form": "T0", "inputs": 'Is "Space Chess" right?'},
      {"item_title": "Space Chess"},
    ),
    # Part of another title, or of another word, or an ordinary word.
    ({"inputs": 'Has "Space Chess II".'}, {"history": ("Space Chess II",)}),
    ({"inputs": "Hyperspace Chessboard"}, {}),
    ({"inputs": "Let us go out"}, {"target": "Go", "history": ()}),
  ],
)
def test_what_is_no_leak_passes(changes, extra):
  assert problems(planted(**changes), **extra) == []


def test_a_leak_stops_generation(prepared):
  class Telling(offline.OfflineTeacher):
    def specific_intention(self, item, *, key):
      return f"I want {item.title}."

  leaking = generate.Generator(prepared, Telling(prepared.catalog), TEMPLATES)
  with pytest.raises(
    leaks.InstructionLeakError, match="say the target's title"
  ):
    list(leaking.rows())


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"protocol": "loose"}, "expected 'strict' or 'paper'"),
    (
      {
        "eval_templates": {
          **generate.EVAL_TEMPLATES,
          TaskType.SEQUENTIAL: "search_find_product",
        }
      },
      "evaluating sequential needs one of its own",
    ),
    ({"form_weights": {TaskForm.T1: 1}}, "no training templates"),
  ],
)
def test_settings_that_do_not_fit_are_refused(prepared, changes, message):
  with pytest.raises(ValueError, match=message):
    list(generator(prepared, **changes).rows())
