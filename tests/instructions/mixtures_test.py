"""Mixtures count templates, and leave out what they say they do."""

import collections

import pytest

from instructrec.instructions import mixtures, plans, templates
from instructrec.instructions.format import Instruction, Kind, TaskType

SHIPPED = templates.load()
MIXTURES = mixtures.mixtures(SHIPPED)
GROUPS = {
  TaskType.SEQUENTIAL: 17,
  TaskType.PRODUCT_SEARCH: 9,
  TaskType.PERSONALIZED_SEARCH: 13,
}


def share(weights, group):
  return sum(w for name, w in weights.items() if name.startswith(group))


def test_the_papers_mixture_counts_its_39_templates():
  found = MIXTURES[""]
  assert sum(found.values()) == pytest.approx(39)
  for group, count in GROUPS.items():
    assert share(found, f"{group}_") == pytest.approx(count)
  # A1, and half of the ten with an optional preference, A4-A8 and A10-A13.
  assert found["sequential_p1_i0"] == pytest.approx(1 + 9 / 2)
  # A2, A9 and the other halves.
  assert found["sequential_p1p2_i0"] == pytest.approx(2 + 9 / 2)
  assert found["sequential_p2_i0"] == 2  # A16, A17
  assert found["sequential_cot"] == 1  # A3
  # B2, B3 and a third of B1, B4, B7, B8, B9.
  assert found["product_search_p0_i2"] == pytest.approx(2 + 5 / 3)
  assert found["product_search_p2_i0"] == pytest.approx(5 / 3)
  assert found["personalized_search_relatedness"] == 2  # C7, C8
  # C1, and where P2 is the query of C10-C13.
  assert found["personalized_search_p1p2_i0"] == pytest.approx(1 + 4 / 3)
  assert not any(name.endswith("_pairwise") for name in found)


def test_all_adds_our_pairs_and_no_held_out_template():
  training = SHIPPED.of(held_out=False)
  assert sum(MIXTURES["_all"].values()) == pytest.approx(len(training))
  extra = set(MIXTURES["_all"]) - set(MIXTURES[""])
  assert extra >= {f"{group}_pairwise" for group in GROUPS}


def test_direct_has_no_other_kind():
  direct = SHIPPED.of(kind=Kind.DIRECT, held_out=False)
  assert sum(MIXTURES["_direct"].values()) == pytest.approx(len(direct))
  others = {f"_{kind}" for kind in Kind if kind is not Kind.DIRECT}
  for name in MIXTURES["_direct"]:
    assert not any(name.endswith(kind) for kind in others)


@pytest.mark.parametrize("group", TaskType)
def test_leaving_a_group_out_leaves_out_exactly_that_group(group):
  found, paper = MIXTURES[f"_without_{group}"], MIXTURES[""]
  gone = {name: paper[name] for name in set(paper) - set(found)}
  assert set(found) <= set(paper)
  assert all(name.startswith(f"{group}_") for name in gone)
  assert sum(gone.values()) == pytest.approx(GROUPS[group])
  assert all(found[name] == paper[name] for name in found)


def test_without_vague_lacks_the_vague_personalised_searches_alone():
  gone = set(MIXTURES[""]) - set(MIXTURES["_without_vague"])
  assert gone == {
    "personalized_search_p1_i1",
    "personalized_search_p1p2_i1",
  }


def test_evaluation_tasks_have_a_training_task_each():
  names = mixtures.evaluation_tasks(SHIPPED)
  assert names == [
    "sequential_p1_i0",
    "sequential_p1p2_i0",
    "product_search_p0_i2",
    "personalized_search_p1_i1",
    "personalized_search_p1_i2",
  ]
  assert set(names) <= set(MIXTURES[""])


def test_weights_are_the_shares_of_the_rows_that_are_written(generated):
  """Within a task type; each gives a row a request."""
  rows = [
    record
    for record in generated[1]
    if isinstance(record, Instruction) and record.split == "train"
  ]
  found = collections.Counter(row.config for row in rows)
  assert set(found) == set(MIXTURES["_all"])
  for group in TaskType:
    total = sum(row.task == group for row in rows)
    weights = {
      name: weight
      for name, weight in MIXTURES["_all"].items()
      if name.startswith(f"{group}_")
    }
    for name, weight in weights.items():
      expected = total * weight / sum(weights.values())
      # Five standard deviations of a Poisson count.
      assert abs(found[name] - expected) < 5 * expected**0.5, name
  tested = {r.config for r in generated[1] if isinstance(r, Instruction)
            and r.split == "test"}  # fmt: skip
  assert tested == set(mixtures.evaluation_tasks(SHIPPED))
  assert len(plans.EVAL_TEMPLATES) == len(tested)
