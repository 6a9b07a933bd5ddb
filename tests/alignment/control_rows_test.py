"""Rows of control tasks, all of them, over small data."""

import collections
import dataclasses
import json

import pytest

from instructrec.alignment import asking, constraint, control_rows, wordings
from instructrec.alignment.wordings import ControlTask
from instructrec.data import catalog, dataset
from instructrec.instructions import (
  attributes,
  example_proto,
  generate,
  tally,
  title_list,
  units,
)
from instructrec.instructions.format import Control
from instructrec.retrieval import methods

EPOCHS = 3
HISTORY = 8


@pytest.fixture(scope="module")
def prepared(prepared_dir):
  return dataset.load(prepared_dir)


@pytest.fixture(scope="module", name="folder")
def folder_fixture(prepared, tmp_path_factory):
  """A fitted retriever."""
  folder = tmp_path_factory.mktemp("teacher") / "itemknn"
  methods.METHODS["itemknn"]().fit(
    prepared.split.training_log, prepared.catalog
  ).save(folder, record={"prepared_fingerprint": prepared.fingerprint})
  return folder


def spec(prepared_dir, folder, protocol="stated", seed=0, **settings):
  return units.Spec(
    prepared_dir=str(prepared_dir),
    kinds=(),
    eval_templates=(),
    seed=seed,
    protocol=protocol,
    max_history=HISTORY,
    control=control_rows.ControlSpec(
      retriever=str(folder), **{"num_epochs": EPOCHS, **settings}
    ),
  )


@pytest.fixture(scope="module", name="generator")
def generator_fixture(prepared_dir, folder):
  return spec(prepared_dir, folder).generator()


@pytest.fixture(scope="module", name="rows")
def rows_fixture(generator):
  return list(generator.rows())


@pytest.fixture(scope="module", name="paper")
def paper_fixture(prepared_dir, folder):
  return list(spec(prepared_dir, folder, protocol="paper").generator().rows())


@pytest.fixture(scope="module", name="having")
def having_fixture(prepared):
  """Ids of the items that have an attribute."""
  found = attributes.Attributes.of(prepared.catalog)
  ids = prepared.catalog.item_ids
  return {
    attribute: {ids[i] for i in found.items(number)}
    for number, attribute in enumerate(found.attributes)
  }


def constraints(row):
  return [constraint.Constraint.parse(text) for text in row.constraints]


def test_every_task_has_rows_in_every_split(rows):
  found = collections.Counter((row.kind, row.split) for row in rows)
  for task in ControlTask:
    for split in ("train", "validation", "test"):
      wanted = task is not ControlTask.PALR or split == "train"
      assert bool(found[task, split]) == wanted, (task, split)
  assert {row.config for row in rows} == {f"control_{t}" for t in ControlTask}
  assert len({row.example_id for row in rows}) == len(rows)


@pytest.mark.parametrize("which", ["rows", "paper"])
def test_every_list_does_as_it_is_asked(which, request, prepared, having):
  """Length, items, history and constraints of all rows."""
  titles = dict(
    zip(prepared.catalog.item_ids, prepared.catalog.titles, strict=True)
  )
  for row in request.getfixturevalue(which):
    if row.kind == ControlTask.CATEGORY:
      (item,) = row.label_ids
      assert all(item in having[c.attribute] for c in constraints(row))
      assert row.targets == constraints(row)[0].attribute.name
      sizes = [len(having[c.attribute]) for c in constraints(row)]
      assert sizes == sorted(sizes)
      continue
    assert len(set(row.label_ids)) == len(row.label_ids) == row.k
    assert not set(row.label_ids) & set(row.history_ids)
    for asked in constraints(row):
      count = len(having[asked.attribute] & set(row.label_ids))
      assert asked.is_met(count, row.k), row
    assert title_list.split(row.targets) == (
      [titles[i] for i in row.label_ids],
      0,
    )
    assert f"{row.k} item{'s' * (row.k > 1)}" in row.inputs


def test_rows_have_the_retrievers_best_whatever_they_ask(rows):
  best = {}
  for row in rows:
    assert bool(row.teacher_ids) == bool(row.next_id)
    assert len(set(row.teacher_ids)) == len(row.teacher_ids) <= 100
    assert not set(row.teacher_ids) & set(row.history_ids)
    if row.kind == ControlTask.PLAIN:
      # The target first, and the best behind it.
      others = [i for i in row.teacher_ids if i != row.next_id]
      assert row.label_ids[1:] == tuple(others[: row.k - 1])
    if row.next_id:
      key = row.request_id, row.epoch, row.history_ids
      assert best.setdefault(key, row.teacher_ids) == row.teacher_ids


def test_the_target_leads_where_the_paper_puts_it(rows):
  for row in rows:
    in_list = row.next_id in row.label_ids
    if row.kind in (ControlTask.PLAIN, ControlTask.PALR):
      assert row.label_ids[0] == row.target_id == row.next_id
    elif row.kind != ControlTask.PROPORTION and in_list:
      assert row.label_ids[0] == row.next_id
    assert row.target_id in ("", row.next_id)


def test_rows_of_a_user_are_prefixes_of_what_training_may_see(rows, prepared):
  log = prepared.split.training_log
  users, sequences = log.sequences()
  of_user = dict(zip(users, map(list, sequences), strict=True))
  starts = collections.Counter()
  for row in rows:
    if row.split != "train" or not row.next_id:
      continue
    sequence = of_user[row.user_id]
    at = sequence.index(row.next_id)
    length = len(row.history_ids)
    assert 1 <= length <= HISTORY
    assert tuple(sequence[at - length : at]) == row.history_ids
    starts[at - length] += 1
    if row.kind == ControlTask.PALR:
      assert row.label_ids == tuple(sequence[at : at + row.k])
  assert len(starts) > 3


def test_epochs_are_drawn_anew_and_do_not_depend_on_how_many_there_are(
  rows, prepared_dir, folder
):
  by_epoch = collections.defaultdict(dict)
  for row in rows:
    if row.split == "train":
      by_epoch[row.epoch][row.example_id.rsplit("/", 1)[0]] = row.inputs
  assert set(by_epoch) == set(range(EPOCHS))
  both = by_epoch[0].keys() & by_epoch[1].keys()
  same = sum(by_epoch[0][name] == by_epoch[1][name] for name in both)
  assert same < len(both) / 10
  one = spec(prepared_dir, folder, num_epochs=1).generator().rows(["train"])
  first = [row for row in rows if row.split == "train" and not row.epoch]
  assert list(one) == first


def test_a_row_depends_on_seed_epoch_and_user_alone(generator, rows, prepared):
  """Whoever else is in the unit, and in which order units are worked on."""
  ids = {row.example_id: row for row in rows}
  alone = list(generator.chunk(prepared.requests.read("train", 90, 140)))
  alone += list(generator.chunk(prepared.requests.read("test", 5, 9)))
  assert alone
  for row in alone:
    assert row == ids[row.example_id]


@pytest.fixture
def small_units(monkeypatch):
  monkeypatch.setattr(generate, "CHUNK", 50)
  monkeypatch.setattr(units, "SHARD", 100)


@pytest.mark.slow
def test_processes_change_nothing(
  generator, rows, prepared_dir, folder, small_units
):
  wanted = units.units(generator.prepared.requests.counts)
  made = units.run(spec(prepared_dir, folder), wanted, num_workers=2)
  records = sorted(record for result in made for record in result.records)
  omit = frozenset(("task", "split"))
  assert records == sorted(
    (row.config, example_proto.encode(row, omit=omit)) for row in rows
  )


def test_another_seed_draws_others(rows, prepared_dir, folder):
  generator = spec(prepared_dir, folder, seed=1).generator()
  other = list(generator.rows(["validation"]))
  mine = {row.example_id: row.inputs for row in rows}
  same = sum(mine.get(row.example_id) == row.inputs for row in other)
  assert same < len(other) / 4


def test_nothing_asked_tells_the_target(generator, rows, prepared):
  """Whatever the user takes next, the same is asked of the list."""
  frame = prepared.requests.read("test")
  others = frame["target"].reverse()
  changed = list(generator.chunk(frame.with_columns(target=others)))
  before = [row for row in rows if row.split == "test"]
  assert len(changed) == len(before)
  for one, other in zip(before, changed, strict=True):
    assert (one.example_id, one.inputs, one.constraints, one.k) == (
      other.example_id,
      other.inputs,
      other.constraints,
      other.k,
    )
  assert (
    sum(
      a.label_ids != b.label_ids for a, b in zip(before, changed, strict=True)
    )
    > 20
  )
  origins = {row.intention_origin for row in rows if row.next_id}
  assert origins == {"none", "teacher"}


def test_the_papers_protocol_asks_for_the_target_and_says_so(paper, having):
  wanted = collections.Counter()
  for row in paper:
    if row.kind == ControlTask.WANTED and row.split == "test":
      assert row.intention_origin == "target_attributes"
      (asked,) = constraints(row)
      assert row.next_id in having[asked.attribute]
      wanted[row.intention_origin] += 1
    if row.kind == ControlTask.UNWANTED:
      (asked,) = constraints(row)
      assert row.next_id not in having[asked.attribute]
  assert wanted


def test_what_is_held_out_stands_in_test_rows_alone_and_is_marked(rows):
  words = {w.id: w for w in wordings.Wordings().wordings}
  marks = collections.Counter()
  for row in rows:
    found = set()
    if words[row.template_id].held_out:
      found.add("wording")
    if row.k in asking.UNSEEN_LENGTHS:
      found.add("k")
    for asked in constraints(row):
      if asked.number(10) in asking.UNSEEN_COUNTS:
        found.add("threshold")
    if row.split != "train":
      assert row.kind == ControlTask.CATEGORY or row.k in (7, 10, 12)
    assert found == set(row.unseen)
    assert not found or row.split == "test"
    marks.update(found)
  assert set(marks) == {"wording", "k", "threshold"}


def test_an_unseen_row_differs_from_its_sister_in_that_alone(rows):
  by_id = {row.example_id: row for row in rows}
  count = 0
  for row in rows:
    if row.unseen == ("wording",):
      name = row.example_id.rsplit("/", 1)[0]
      sister = by_id[f"{name}/seen"]
      assert sister.constraints == row.constraints
      assert sister.label_ids == row.label_ids
      assert sister.inputs != row.inputs
      count += 1
  assert count > 50


def test_all_that_the_catalogue_has_is_asked_for(rows):
  kinds = collections.Counter(
    asked.attribute.kind
    for row in rows
    if row.kind == ControlTask.WANTED
    for asked in constraints(row)
  )
  assert set(kinds) == {"category", "brand", "price"}
  assert kinds["category"] > kinds["brand"] > 0


def test_counts_and_samples_of_rows_survive_their_file(rows):
  counted = tally.Tally()
  for row in rows:
    counted.add(row)
  assert tally.Tally.from_json(counted.to_json()) == counted
  assert all(isinstance(row, Control) for row in counted.sample("control"))


def test_a_retriever_of_other_data_is_refused(prepared_dir, folder, tmp_path):
  other = tmp_path / "other"
  methods.load(folder).save(other, record={"prepared_fingerprint": "sha256:0"})
  with pytest.raises(ValueError, match="was fit on the data"):
    spec(prepared_dir, other).generator()


def cut(prepared, *columns, items=60):
  """The data with fewer columns or items."""
  frame = prepared.catalog.frame.drop(columns).head(items)
  return dataclasses.replace(prepared, catalog=catalog.Catalog(frame))


def test_a_catalogue_without_categories_is_refused_with_what_it_has(
  prepared, prepared_dir, folder, generator
):
  made = spec(prepared_dir, folder)
  bare = cut(prepared, "categories")
  domain = generator.resolved_domain
  with pytest.raises(ValueError, match=r"no categories .* brand \(\d+\)"):
    made.control.open(made, bare, domain)
  brands = dataclasses.replace(made.control, kinds=("brand",))
  assert brands.open(made, bare, domain).facts["attributes"] == ["brand"]


def test_a_catalogue_smaller_than_its_lists_is_refused(
  prepared, prepared_dir, folder, generator
):
  made = spec(prepared_dir, folder)
  small = cut(prepared, items=19)
  with pytest.raises(ValueError, match="19 items; expected 20 or more"):
    made.control.open(made, small, generator.resolved_domain)


def test_facts_are_json(generator):
  facts = json.loads(json.dumps(generator.control.facts))
  assert facts["retriever"]["method"] == "itemknn"
  assert facts["unseen"]["k"] == list(asking.UNSEEN_LENGTHS)
