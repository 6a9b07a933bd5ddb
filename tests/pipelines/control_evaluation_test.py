"""The report on lists of control tasks, of a network that learnt nothing."""

import dataclasses
import types

import jax
import numpy as np
import polars as pl
import pytest

from instructrec.alignment import asked
from instructrec.alignment.constraint import Constraint
from instructrec.alignment.wordings import ControlTask
from instructrec.evaluation import control_lists, generated
from instructrec.evaluation.control import Direction
from instructrec.instructions import templates
from instructrec.pipelines import (
  control_evaluation,
  control_lead,
  control_methods,
  control_requests,
  control_turns,
  control_writing,
)
from instructrec.retrieval.methods import item_knn, popularity
from instructrec.serving import opened_run
from instructrec.training import batches, ragged, title_writing

pytestmark = pytest.mark.tf

K, USERS = 4, 4
_WORDS = (
  "something quiet",
  "robots, puzzles and the ocean",
  "by Oakline",
  "for two",
)
_ASKED = (
  (ControlTask.PLAIN, None),
  (ControlTask.WANTED, Direction.WANTED),
  (ControlTask.UNWANTED, Direction.UNWANTED),
  (ControlTask.PROPORTION, Direction.ABOUT),
  (ControlTask.COLD_WANTED, Direction.WANTED),
)


def _rows(matching, attribute):
  """The same few requests under every task."""
  requests = matching.block.requests[:USERS]
  rows = []
  for task, direction in _ASKED:
    constraints = []
    if direction is not None:
      count = 2 if direction is Direction.ABOUT else None
      constraints = [str(Constraint(attribute, direction, count))]
    for one in requests:
      cold = task is ControlTask.COLD_WANTED
      rows.append(
        {
          "task": task.value,
          "request_id": one.request_id,
          "user_id": one.user_id,
          "constraints": constraints,
          "k": K,
          "history_ids": [] if cold else list(one.history),
          "label_ids": list(one.candidates[:K]),
          "next_id": "" if cold else one.target,
          "unseen": [],
        }
      )
  schema = {"constraints": pl.List(pl.String), "unseen": pl.List(pl.String)}
  return pl.DataFrame(rows, schema_overrides=schema)


@pytest.fixture(scope="module", name="evaluation")
def evaluation_fixture(matching):
  opened = opened_run.OpenedRun(
    matching.run, matching.params, matching.prepared, templates.load(), None, 4
  )
  items, block = opened.parts.items, matching.block
  attributes = opened.parts.attributes
  # Histories leave enough of it.
  number = max(range(len(attributes)), key=lambda n: len(attributes.items(n)))
  frame = _rows(matching, attributes.attributes[number])
  places = np.tile(np.arange(USERS), len(_ASKED))
  examples = np.asarray(block.examples)[places]
  rows = control_requests.Rows(
    frame,
    title_writing.Prompts(
      batches.instructions(block.tokens, items),
      examples,
      items.history(block.tokens, examples),
      matching.run.data.inputs_length,
    ),
    block.tokens.targets.take(examples),
  )
  requests = types.SimpleNamespace(
    lists=rows,
    categories=None,
    asked=lambda: asked.Asked.of(frame, opened.catalog),
    instructions=types.SimpleNamespace(directory=matching.run.directory),
    split="test",
  )
  log = matching.prepared.split.training_log
  return control_evaluation.ControlEvaluation(
    control_methods.ControlMethods(
      control_writing.ControlWriter(opened, requests),
      item_knn.ItemKNN().fit(log, opened.catalog),
      popularity.Popularity().fit(log, opened.catalog),
      lead=control_writing.Lead(1.0, pull=1e3),
    ),
    num_resamples=20,
  )


def _columns(evaluation, name, task):
  methods = evaluation.methods
  rows = methods.writer.requests.lists.groups[f"{task}, seen"]
  method, wishes = methods.lists[name], methods.writer.asked.take(rows)
  lists = control_lists.Lists(method.items[rows], wishes.k, wishes.history)
  without = None if method.without is None else method.without[rows]
  return control_evaluation.columns_of(wishes, lists, without)


def test_the_trie_leaves_no_mistakes_and_the_filter_no_disobedience(evaluation):
  """Whatever a network says that has learnt nothing."""
  for task, direction in _ASKED:
    names = [
      control_methods.MODEL,
      control_methods.LED,
      control_methods.READ,
      control_methods.STATE,
      control_methods.POPULARITY,
    ]
    if direction is not None:
      names += [
        control_methods.FILTERED,
        control_methods.STATE_FILTERED,
        control_methods.POPULAR_FILTERED,
      ]
    if direction is not None and task is not ControlTask.COLD_WANTED:
      names += [control_methods.FILTER_ONLY, control_methods.ORACLE]
    for name in names:
      columns = _columns(evaluation, name, task)
      assert (columns["CorrectCount"] == 1).all(), (task, name)
      for mistake in ("NonExist", "RepeatItem", "InHistory", "TooMany"):
        assert not columns[mistake].any(), (task, name, mistake)
      if "filter" in name:
        assert (columns["CPA"] == 1).all(), (task, name)
  free = _columns(evaluation, control_methods.FREE, ControlTask.PLAIN)
  assert free["CorrectCount"].mean() < 1


def test_filters_share_out_by_the_wish(evaluation):
  shares = {
    ControlTask.WANTED: 1.0,
    ControlTask.UNWANTED: 0.0,
    ControlTask.PROPORTION: 0.5,
  }
  for task, share in shares.items():
    for name in (
      control_methods.FILTERED,
      control_methods.STATE_FILTERED,
      control_methods.ORACLE,
    ):
      columns = _columns(evaluation, name, task)
      assert (columns["TCP"] == share).all()
      np.testing.assert_allclose(
        columns["TCP lift"], share - columns["TCP plain"]
      )


def test_a_ranker_that_hears_no_wish_has_no_lift_and_no_cost(evaluation):
  for name in (control_methods.TEACHER, control_methods.POPULARITY):
    columns = _columns(evaluation, name, ControlTask.WANTED)
    assert not columns["TCP lift"].any()
    assert not columns["control cost"].any()


def test_lists_without_a_wish_are_those_of_the_plain_rows(evaluation):
  methods = evaluation.methods
  plain = methods.writer.requests.lists.groups["plain, seen"]
  wanted = methods.writer.requests.lists.groups["wanted, seen"]
  model = methods.lists[control_methods.MODEL]
  np.testing.assert_array_equal(model.without[wanted], model.items[plain])
  # The prompts differ in nothing here, so that nothing is obeyed either.
  np.testing.assert_array_equal(model.items[wanted], model.items[plain])
  only = methods.lists[control_methods.FILTER_ONLY].items[wanted]
  np.testing.assert_array_equal(
    only, methods.lists[control_methods.FILTERED].items[wanted]
  )


def _worded(evaluation):
  """The methods, each task's rows in words of their own."""
  methods = evaluation.methods
  writer = methods.writer
  rows, words = writer.requests.lists, writer.opened.run.tokenizer
  texts = [
    words.encode(f"{task}: {_WORDS[row % USERS]}")
    for row, task in enumerate(rows.frame["task"].to_list())
  ]
  prompts = dataclasses.replace(
    rows.prompts, texts=ragged.Ragged.of(texts), rows=np.arange(len(texts))
  )
  lists = dataclasses.replace(rows, prompts=prompts)
  requests = types.SimpleNamespace(
    lists=lists,
    asked=writer.requests.asked,
    instructions=writer.requests.instructions,
  )
  writer = control_writing.ControlWriter(writer.opened, requests)
  return dataclasses.replace(methods, writer=writer)


def test_the_state_after_a_rows_own_words_is_matched_with_all_titles(
  evaluation, matching
):
  """Worked out from states, vectors and counts, and under the filter."""
  methods = _worded(evaluation)
  name, _, rankings, where = next(methods._rankers())
  assert name == control_methods.STATE
  assert where.all()
  best, kept = methods._ranked(rankings, where)
  opened = methods.writer.opened
  prompts, items = methods.writer.requests.lists.prompts, opened.parts.items
  model, params = matching.run.model, matching.params
  batch = prompts.batch(np.arange(len(prompts)), items)
  states = np.asarray(jax.jit(model.request_states)(params, batch))
  numbers = np.arange(1, len(items.title_tokens))
  vectors = np.asarray(
    jax.jit(model.title_vectors)(params, items.title_tokens[1:], numbers)
  )
  log = matching.prepared.split.training_log
  taken = np.array(
    [log.item_counts.get(i, 0) + 1 for i in opened.catalog.item_ids]
  )
  weight = float(model.popularity_weight(params))
  assert weight == 1.0
  scores = states @ vectors.T + weight * np.log(taken / taken.sum())
  wishes = methods.writer.asked
  low, high = wishes.bounds
  for row, known in enumerate(wishes.history):
    scores[row, known[known >= 0]] = -np.inf
    order = np.argsort(-scores[row])[: (scores[row] > -np.inf).sum()]
    np.testing.assert_array_equal(best[row], order[:K])
    # One after the other, while there is room for its kind.
    obeying, room = [], {True: high[row], False: K - low[row]}
    for item in order.tolist():
      kind = bool(wishes.having[row, item])
      if room[kind] and len(obeying) < K:
        obeying.append(item)
        room[kind] -= 1
    np.testing.assert_array_equal(kept[row], obeying)
  groups = methods.writer.requests.lists.groups
  plain, wanted = (groups[f"{name}, seen"] for name in ("plain", "wanted"))
  # It is the words that make the difference.
  assert (best[plain] != best[wanted]).any()
  assert (kept[wanted] != best[wanted]).any()


def test_matches_that_count_enough_lead_to_what_the_state_ranks(evaluation):
  """Title by title, what is written is the best that is left."""
  methods = _worded(evaluation)
  best, _ = methods._ranked(
    methods.writer.matched(), np.ones(len(methods.writer.asked), bool)
  )
  rows = np.arange(len(best))
  led = methods.writer.constrained("led", rows, lead=control_writing.Lead(1e5))
  np.testing.assert_array_equal(led, best)
  # And it is the best known by what is taught, where that is what is taught.
  assert control_lead.shared(led, best) == 1.0
  assert control_lead.shared(led[:, : K // 2], best) == 0.5
  ids = methods.writer.opened.catalog.item_ids
  lists = methods.writer.requests.lists
  taught = [[ids[place] for place in row] for row in best.tolist()]
  methods.writer.requests.lists = dataclasses.replace(
    lists, frame=lists.frame.with_columns(label_ids=pl.Series(taught))
  )
  lead = control_lead.fitted(methods.writer)
  found = {
    match: control_lead.shared(
      methods.writer.constrained("led", rows, lead=control_writing.Lead(match)),
      best,
    )
    for match in control_lead.MATCHES
  }
  assert found[lead.match] == max(found.values()) > min(found.values())
  # The words name nothing that pulls away from it.
  assert lead.pull == control_lead.PULLS[0]


def test_what_is_read_of_the_words_pulls_whatever_the_rows_say(evaluation):
  """Hard enough, lists obey the words, and are led by matches beside them."""
  methods = evaluation.methods
  writer = methods.writer
  attributes = writer.opened.parts.attributes
  largest = sorted(
    range(len(attributes)), key=lambda n: len(attributes.items(n))
  )
  name = attributes.attributes[largest[-1]].name
  texts = (
    f"A customer bought [history] and says: I like {name}. List 4 items.",
    f"Name 4 items, but no {name}.",
    f"List 4 items; at most 25% of them should be {name}.",
    f"List 4 items, 3 or more of which are {name}.",
    f"List 4 items; about 2 of them should be {name}.",
    "Fill a page with exactly 4 items for the owner of [history].",
  )
  words, lists = writer.opened.run.tokenizer, writer.requests.lists
  encoded = [words.encode(text) for text in texts]
  count = len(lists.frame)
  prompts = dataclasses.replace(
    lists.prompts,
    texts=ragged.Ragged.of(encoded),
    rows=np.arange(count) % len(texts),
  )
  requests = types.SimpleNamespace(
    lists=dataclasses.replace(lists, prompts=prompts),
    asked=writer.requests.asked,
    instructions=writer.requests.instructions,
  )
  writer = control_writing.ControlWriter(writer.opened, requests)
  has = attributes.mask(largest[-1])
  every = np.arange(count)
  led = writer.constrained("led", every, lead=control_writing.Lead(2.0))
  read = writer.constrained("read", every, lead=control_writing.Lead(2.0, 1e3))
  number = has[read].sum(1)
  for row, (low, high) in zip(
    every, [(4, 4), (0, 0), (0, 1), (3, 4), (2, 2), (0, 4)] * count,
    strict=False,
  ):  # fmt: skip
    assert low <= number[row] <= high
    if (low, high) == (0, 4):
      np.testing.assert_array_equal(read[row], led[row])
  assert (number != has[led].sum(1)).any()


def _corrected(evaluation):
  """Methods whose rows say what they ask, and what can be had fewer of."""
  writer = evaluation.methods.writer
  lists, words = writer.requests.lists, writer.opened.run.tokenizer
  every = writer.opened.parts.attributes
  (wanted,) = lists.frame.filter(task="wanted")["constraints"][0].to_list()
  own = Constraint.parse(wanted).attribute
  has = every.mask(every.attributes.index(own))
  # Beside what is wanted some have them, and enough have not.
  both = [int((has & every.mask(n)).sum()) for n in range(len(every))]
  others = [n for n, count in enumerate(both) if 2 <= count < has.sum() - 12]
  others = sorted(others, key=lambda n: -both[n])[:USERS]
  said = {
    "wanted": f"I like {own.name}. List 4 items.",
    "unwanted": f"Name 4 items, but no {own.name}.",
  }
  asks, texts = [], []
  for row, task in enumerate(lists.frame["task"].to_list()):
    other = every.attributes[others[row % len(others)]]
    numbered = [str(Constraint(other, Direction.AT_MOST, 1))]
    found = lists.frame["constraints"][row].to_list()
    asks.append(numbered if task == "proportion" else found)
    texts.append(words.encode(said.get(task, "List 4 items.")))
  frame = lists.frame.with_columns(
    constraints=pl.Series(asks, dtype=pl.List(pl.String))
  )
  prompts = dataclasses.replace(
    lists.prompts, texts=ragged.Ragged.of(texts), rows=np.arange(len(texts))
  )
  requests = types.SimpleNamespace(
    lists=dataclasses.replace(lists, frame=frame, prompts=prompts),
    asked=lambda: asked.Asked.of(frame, writer.opened.catalog),
    instructions=writer.requests.instructions,
    split="test",
  )
  writer = control_writing.ControlWriter(writer.opened, requests)
  methods = dataclasses.replace(evaluation.methods, writer=writer)
  every = np.arange(len(frame))
  lists = {
    control_methods.MODEL: writer.constrained("model", every),
    control_methods.READ: writer.constrained("read", every, lead=methods.lead),
  }
  # Those alone, where all would be written.
  methods.__dict__["lists"] = {
    name: control_methods.Method(items, np.ones(len(every), bool))
    for name, items in lists.items()
  }
  return methods


@pytest.fixture(scope="module", name="corrected")
def corrected_fixture(evaluation):
  return _corrected(evaluation)


def test_fewer_of_what_was_shown_is_met_and_the_first_wish_holds(corrected):
  """Where both are read and pull hard, whatever the network has learnt."""
  turns = control_turns.SecondTurns(corrected)
  groups = corrected.writer.requests.lists.groups
  count = 0
  for task in control_turns.TASKS:
    found = turns.columns(groups[f"{task}, seen"])
    assert set(found) == {control_methods.MODEL, control_methods.READ}
    for columns in found.values():
      has = columns["corrected"] == 1
      for name in ("met", "share before", "share after"):
        np.testing.assert_array_equal(np.isfinite(columns[name]), has)
      # Lists are without mistakes: what is not of the kind is of others.
      fewer = columns["share after"] < columns["share before"]
      np.testing.assert_array_equal(columns["met"][has] == 1, fewer[has])
    read = found[control_methods.READ]
    has = read["corrected"] == 1
    count += has.sum()
    before, after = (K * read[f"share {at}"][has] for at in ("before", "after"))
    assert (before >= 2).all()
    assert (after <= before // 2).all()
    assert (read["first holds"][has] == 1).all()
  assert count


def test_the_second_sentence_stands_behind_the_first(corrected):
  methods = corrected
  turns = control_turns.SecondTurns(methods)
  words = methods.writer.opened.run.tokenizer
  rows = methods.writer.requests.lists.groups["wanted, seen"][:2]
  prompts = turns._prompts(rows, ["Fewer kites, please."] * 2)
  first = methods.writer.requests.lists.prompts
  for row, place in enumerate(rows):
    text = words.decode(first.texts.row(first.rows[place]))
    both = f"{text} Fewer kites, please."
    assert prompts.texts.row(row).tolist() == words.encode(both)
  np.testing.assert_array_equal(prompts.history, first.history[rows])
  assert prompts.inputs_length >= prompts.texts.lengths.max()


def test_the_state_has_plain_lists_of_its_own(evaluation):
  methods = evaluation.methods
  plain, wanted = (
    methods.writer.requests.lists.groups[f"{name}, seen"]
    for name in ("plain", "wanted")
  )
  best = methods.lists[control_methods.STATE].items
  for name in (control_methods.STATE, control_methods.STATE_FILTERED):
    without = methods.lists[name].without
    np.testing.assert_array_equal(without[wanted], best[plain])
  written = methods.lists[control_methods.MODEL].items
  assert (best[plain] != written[plain]).any()


def test_a_run_that_matches_no_titles_has_no_state_vector(evaluation, matching):
  writer = evaluation.methods.writer
  opened = dataclasses.replace(
    writer.opened, run=matching.parts("likelihood").run
  )
  methods = dataclasses.replace(
    evaluation.methods, writer=dataclasses.replace(writer, opened=opened)
  )
  assert [plain for plain, *_ in methods._rankers()] == [
    control_methods.TEACHER,
    control_methods.POPULARITY,
  ]


def test_each_group_has_what_can_be_said_of_it(evaluation):
  lines, tables = evaluation.sections()
  page = "\n".join(lines)
  plain, cold = (
    page.split(f"## Control: {name}, seen")[1].split("## ")[0]
    for name in ("plain", "cold_wanted")
  )
  assert "strict reader" in page
  assert "InHistory | WrongNumber |" in plain
  methods = page.split("| method | lists |")[1].split("\n\n")[0]
  assert "\n| state vector, filtered | its best" in methods
  assert "\n| state vector |" in cold
  assert "\n| model, led and read |" in cold
  (shared,) = [
    line for line in page.splitlines() if line.startswith("| wanted, seen |")
  ]
  columns = _columns(evaluation, control_methods.MODEL, ControlTask.WANTED)
  assert shared.split(" | ")[2] == f"{columns['TCP'].mean():.3f}"
  assert shared.split(" | ")[5] == "1.000"  # The oracle obeys.
  assert "TCP" not in plain
  assert "HR@10" in plain
  assert "filtered" not in plain
  assert "CPA within one" in cold
  named = {table.name: table for table in tables}
  figures = named["control: wanted, seen"].row(control_methods.MODEL).metrics
  assert figures["TCP"].mean == columns["TCP"].mean()
  assert "HR@10" not in cold
  assert "\n| teacher " not in cold


def test_columns_are_those_of_lists_worked_by_hand():
  """Three items of ten are wanted; the second list has a mistake."""
  mask = np.arange(10) < 3
  count = np.zeros(2, np.int64)
  wishes = asked.Asked(
    k=np.array([2, 2]),
    history=np.array([[9], [0]]),
    targets=np.array([1, 7]),
    wish=asked.control.Wish(
      np.full(2, Direction.WANTED), count, np.array([3, 2]), np.array([6, 7])
    ),
    having=np.stack([mask, mask]),
  )
  lists = control_lists.Lists(
    np.array([[2, 1], [0, generated.INVALID]]), wishes.k, wishes.history
  )
  without = np.array([[1, 5, 0], [7, 6, 5]])
  found = control_evaluation.columns_of(wishes, lists, without)
  for name, expected in {
    "TCP": [1.0, 0.0],
    "CPA": [1.0, 0.0],
    "TCP plain": [0.5, 0.0],
    "TCP lift": [0.5, 0.0],
    "NonExist": [0.0, 1.0],
    "InHistory": [0.0, 1.0],
    "HR@10": [1.0, 0.0],
    "control cost": [1 - 1 / np.log2(3), 1.0],
  }.items():
    np.testing.assert_allclose(found[name], expected, err_msg=name)
