"""Second turns: a list was shown, and its reader asks for fewer of a kind.

The first turn is a row that asks for something wanted or unwanted. The second
says "Fewer puzzles, please.", of what the method's own list had most of, and
could have less of while it does as it was asked first. No row that is trained
on has a second turn.

Networks read it behind the text of the row. Where words are read as well, a
conversation (`serving.conversation`) says how many are meant, at most half as
many as were shown, and what was read of the first turn pulls as before.
"""

import dataclasses
import functools

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from instructrec.alignment import asked
from instructrec.alignment.constraint import Constraint
from instructrec.alignment.wordings import ControlTask
from instructrec.evaluation import control, control_lists, generated
from instructrec.evaluation.control import Direction
from instructrec.pipelines import (
  control_methods,
  control_requests,
  control_writing,
)
from instructrec.serving import constraints, conversation, item_shelf
from instructrec.serving.messages import Message
from instructrec.training import ragged, title_writing

TASKS = (ControlTask.WANTED, ControlTask.UNWANTED)
"""Of the first turn."""
_METHODS = (
  control_methods.MODEL,
  control_methods.LED,
  control_methods.READ,
  control_methods.STATE,
)
"""Those that read a second sentence."""
_LEAST = 2
"""Items of a kind of which there can be fewer, and still some."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Requests(control_requests.ControlRequests):
  """Rows that are at hand already."""

  given: control_requests.Rows = dataclasses.field(kw_only=True)

  @functools.cached_property
  def lists(self) -> control_requests.Rows:
    return self.given


@dataclasses.dataclass(frozen=True, eq=False)
class _Reading(control_writing.ControlWriter):
  """What was read of the second turn bounds a kind; of the first, it adds.

  All places of a list are to obey what is wanted or unwanted, so that this
  pulls the same at each of them.
  """

  limits: asked.Asked = dataclasses.field(kw_only=True)
  added: Float[np.ndarray, "rows items"] = dataclasses.field(kw_only=True)

  @functools.cached_property
  def said(self) -> asked.Asked:
    return self.limits

  def matches(
    self, rows: Int[np.ndarray, " some"] | slice
  ) -> Float[np.ndarray, "some items"]:
    return super().matches(rows) + self.added[rows]


@dataclasses.dataclass(frozen=True, eq=False)
class SecondTurns:
  """Corrects the lists of rows, each method's own, and measures what follows.

  Attributes:
    methods: lists of the first turn, and what writes more.
  """

  methods: control_methods.ControlMethods

  @property
  def _writer(self) -> control_writing.ControlWriter:
    return self.methods.writer

  @functools.cached_property
  def kinds(self) -> dict[int, Bool[np.ndarray, " items"]]:
    """What lists can have fewer of: what rows ask proportions of."""
    frame = self._writer.requests.lists.frame
    asks = frame.filter(task=ControlTask.PROPORTION)["constraints"].to_list()
    named = {Constraint.parse(row[0]).attribute for row in asks}
    every = self._writer.opened.parts.attributes
    return {
      number: every.mask(number)
      for number, attribute in enumerate(every.attributes)
      if attribute in named
    }

  @functools.cached_property
  def _conversations(self) -> conversation.Conversations:
    opened = self._writer.opened
    shelf = item_shelf.Shelf(opened.catalog, opened.parts.attributes)
    return conversation.Conversations(shelf, opened.parts.reader)

  def columns(
    self, rows: Int[np.ndarray, " some"]
  ) -> dict[str, dict[str, Float[np.ndarray, " some"]]]:
    """What second turns come to after the lists of some rows.

    Args:
      rows: of `TASKS`.

    Returns:
      Of each method: `corrected`, whether its list had a kind to have fewer
      of; and NaN where it had not: `met` and `first holds`
      (`control_lists.turns`, `held`), and the share of that kind before and
      after.
    """
    return {
      name: self._measured(name, rows)
      for name in _METHODS
      if name in self.methods.lists
    }

  def _measured(
    self, name: str, rows: Int[np.ndarray, " some"]
  ) -> dict[str, Float[np.ndarray, " some"]]:
    first, shown = self._writer.asked.take(rows), self.methods.lists[name].items
    fewer = [
      self._fewer(first, row, shown[rows[row]]) for row in range(len(rows))
    ]
    has = np.array([number is not None for number in fewer])
    columns = {"corrected": has.astype(np.float64)}
    names = "met", "first holds", "share before", "share after"
    columns |= {each: np.full(len(rows), np.nan) for each in names}
    if not has.any():
      return columns
    numbers = [number for number in fewer if number is not None]
    where = rows[has]
    again = self.written(name, where, numbers)
    own, kinds = (
      first.take(np.flatnonzero(has)),
      np.stack([self.kinds[number] for number in numbers]),
    )
    before, after = (
      _Turn.of(items, own, kinds) for items in (shown[where], again)
    )
    found = (
      control_lists.turns(before.lacking, after.lacking, own.k),
      control_lists.held(before.shortfall, after.shortfall),
      before.having / own.k,
      after.having / own.k,
    )
    for each, values in zip(names, found, strict=True):
      columns[each][has] = values
    return columns

  def _fewer(
    self, first: asked.Asked, row: int, shown: Int[np.ndarray, " places"]
  ) -> int | None:
    """What a list has most of; None where there is no less of anything."""
    fits = obeying(first)[row].copy()
    seen = first.history[row]
    fits[seen[seen >= 0]] = False
    own, k = first.having[row], int(first.k[row])
    items = shown[shown >= 0][:k]
    counts = {
      number: int(mask[items].sum())
      for number, mask in self.kinds.items()
      if (mask != own).any() and (fits & ~mask).sum() >= k
    }
    most = max(counts, key=lambda number: counts[number], default=None)
    return None if most is None or counts[most] < _LEAST else most

  def written(
    self,
    name: str,
    rows: Int[np.ndarray, " some"],
    fewer: list[int],
  ) -> Int[np.ndarray, "some places"]:
    """A method's lists after the second turn.

    Args:
      name: of the method.
      rows: of the first turn.
      fewer: the attribute that each asks fewer of.
    """
    opened, lists = self._writer.opened, self._writer.requests.lists
    attributes = opened.parts.attributes.attributes
    sentences = [f"Fewer {attributes[n].name}, please." for n in fewer]
    given = control_requests.Rows(
      lists.frame[rows],
      self._prompts(rows, sentences),
      lists.answers.take(rows),
    )
    of = self._writer.requests
    requests = _Requests(opened, of.instructions, of.split, given=given)
    writer = control_writing.ControlWriter(opened, requests)
    every, label = np.arange(len(rows)), f"{name}, second turn"
    if name == control_methods.STATE:
      ranked = zip(writer.matched(), writer.asked.k.tolist(), strict=True)
      return generated.padded([each.best(k) for each, k in ranked])
    lead = self.methods.lead
    if name == control_methods.MODEL or lead is None:
      return writer.constrained(label, every)
    if name == control_methods.LED:
      return writer.constrained(label, every, lead=lead._replace(pull=0.0))
    shown = self.methods.lists[name].items[rows]
    reading = _Reading(
      opened,
      requests,
      limits=self._read(given.frame, shown, sentences),
      added=lead.pull * obeying(self._writer.said.take(rows)),
    )
    return reading.constrained(label, every, lead=lead)

  def _prompts(
    self, rows: Int[np.ndarray, " some"], sentences: list[str]
  ) -> title_writing.Prompts:
    """The texts of rows with a sentence behind each, none cut for it."""
    found = self._writer.requests.lists.prompts_of(rows)
    words = self._writer.opened.run.tokenizer
    texts = ragged.Ragged.of(
      [
        [*found.texts.row(row).tolist()[:-1], *words.encode(sentence)]
        for row, sentence in zip(found.rows, sentences, strict=True)
      ]
    )
    return dataclasses.replace(
      found,
      texts=texts,
      rows=np.arange(len(sentences)),
      inputs_length=max(found.inputs_length, int(texts.lengths.max())),
    )

  def _read(
    self,
    frame: pl.DataFrame,
    shown: Int[np.ndarray, "some places"],
    sentences: list[str],
  ) -> asked.Asked:
    """How many of a kind a conversation says that second turns mean."""
    ids = self._writer.opened.catalog.item_ids
    said: list[list[Constraint]] = []
    for items, sentence in zip(shown.tolist(), sentences, strict=True):
      answer = tuple(ids[place] for place in items if place >= 0)
      state = self._conversations.read(
        [Message("assistant", "", answer), Message("user", sentence)]
      )
      found = [
        Constraint(one.attribute, Direction.AT_MOST, int(one.number))
        for one in state.kept
        if one.kind is constraints.Kind.AT_MOST and one.attribute and one.number
      ]
      said.append(found[:1])
    return asked.Asked.of(frame, self._writer.opened.catalog, said)


@dataclasses.dataclass(frozen=True, eq=False)
class _Turn:
  """What the lists of a turn have.

  Attributes:
    having: good items of the kind that the second turn speaks of.
    lacking: good items of others.
    shortfall: see `control.shortfall`, for the first wish.
  """

  having: Int[np.ndarray, " lists"]
  lacking: Int[np.ndarray, " lists"]
  shortfall: Int[np.ndarray, " lists"]

  @classmethod
  def of(
    cls,
    items: Int[np.ndarray, "lists places"],
    first: asked.Asked,
    kinds: Bool[np.ndarray, "lists items"],
  ) -> "_Turn":
    good = control_lists.Lists(items, first.k, first.history).good
    has = control.at_places(kinds, items)
    return cls(
      (good & has).sum(1),
      (good & ~has).sum(1),
      control.shortfall(first.has(items), good, first.k, first.wish),
    )


def obeying(wishes: asked.Asked) -> Bool[np.ndarray, "rows items"]:
  """Items that each row can have in all places, if it is to obey.

  Args:
    wishes: of which those with numbers bind no single item.
  """
  direction = wishes.wish.direction[:, None]
  return np.select(
    [direction == Direction.WANTED, direction == Direction.UNWANTED],
    [wishes.having, ~wishes.having],
    True,
  )
