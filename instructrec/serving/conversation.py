"""Reads conversations, whose messages are all the state there is.

Messages are read from the first to the last, and a later one corrects the
earlier ones. What is asked for stays as constraints, each with the words and
the turn that it came from, and those that do not hold any more say which turn
took them back. Reading the same messages again gives the same.
"""

import dataclasses
import functools
import itertools
import math
import operator
import re
from collections.abc import Sequence
from typing import Any

from instructrec import limits
from instructrec.instructions import attributes as attributes_lib
from instructrec.instructions import wish_reader
from instructrec.serving import constraints, item_shelf, turn_reader
from instructrec.serving.constraints import Constraint, Kind
from instructrec.serving.conversation_state import (
  NotUnderstood,
  Said,
  State,
)
from instructrec.serving.messages import Message
from instructrec.serving.turn_acts import Act, Before, Do

MAX_MESSAGES = 500
MAX_TEXT = 4000
"""Characters of one message of the user."""
MAX_SAID, MAX_ANSWERED = 40_000, 400_000
"""Characters of all messages of the user, and of all others."""
_MOST_KNOWN = 1000
"""Of the items that were shown or taken, so many of the last are known by their
titles: each message is looked through for all of these."""
_NUMBERED = re.compile(r"\s*\d{1,3}[.):]\s")
"""How a line of a numbered list begins."""
_FOR = (Kind.WANTED, Kind.AMONG)
_WISHED = (*_FOR, Kind.UNWANTED)
_AGAINST = (Kind.UNWANTED, Kind.AT_MOST)
_EXCLUSIVE = (attributes_lib.Kind.PRICE, attributes_lib.Kind.DECADE)
"""An item has one of these, so that a later wish for another one corrects."""
_OFF = {
  Do.PRICE_OFF: attributes_lib.Kind.PRICE,
  Do.YEAR_OFF: attributes_lib.Kind.DECADE,
}
"""What is said to be of no concern any more, by what it is of."""


@dataclasses.dataclass(frozen=True, eq=False)
class Conversations:
  """Reads conversations about the items of a catalogue.

  Attributes:
    shelf: the items.
    wishes: reads wishes for what they have.
  """

  shelf: item_shelf.Shelf
  wishes: wish_reader.WishReader

  @functools.cached_property
  def _turns(self) -> turn_reader.TurnReader:
    return turn_reader.TurnReader(self.shelf, self.wishes)

  def read(
    self, messages: Sequence[Message], history: Sequence[str] = ()
  ) -> State:
    """Reads a conversation.

    Args:
      messages: from the first to the last.
      history: ids of items that were taken before, oldest first.

    Returns:
      What it has come to.

    Raises:
      KeyError: for an id of the history that the catalogue does not have.
      ValueError: where there is more than is read.
    """
    _check_size(messages)
    for item in history:
      self.shelf.catalog.index(item)
    course = _Course(self, list(history))
    for message in messages:
      if message.role == "user":
        course.hear(message.text)
      elif message.role == "assistant":
        course.answered(self._shown(message))
    return course.state()

  def _shown(self, message: Message) -> tuple[str, ...]:
    """Ids of the items of an answer; names that are none are left out."""
    items = self.shelf.catalog
    if message.items:
      named = []
      for name in message.items:
        item = name if name in items else self._turns.names.of_title(name)
        if item is not None:
          named.append(item)
      return tuple(named)
    # What else an answer names was understood, or is a reason.
    found = [
      itertools.islice(self._turns.names.in_line(line), 1)
      for line in message.text.splitlines()
      if _NUMBERED.match(line)
    ]
    return tuple(dict.fromkeys(itertools.chain.from_iterable(found)))

  def read_wish(self, wish: str, history: Sequence[str] = ()) -> State:
    """Reads a wish that stands alone: a conversation of one message.

    Args:
      wish: what is wanted, in words, as many as the caller allows.
      history: see `read`.

    Returns:
      What is asked.
    """
    course = _Course(self, list(history))
    course.hear(wish)
    return course.state()

  def wish(
    self, kept: Sequence[Constraint], texts: Sequence[str]
  ) -> str | None:
    """What the model is to read for constraints that hold.

    It is what was said, where one message said it all and nothing else; else
    the constraints are said anew.

    Args:
      kept: what holds.
      texts: messages that said some of it.

    Returns:
      The wish; None where nothing is wanted and nothing unwanted.
    """
    if len(texts) == 1 and len(texts[0]) <= limits.WISH_CHARS.value:
      found = self.shelf.of_reading(self.wishes.read(texts[0]))
      if set(found) == {_as_read(c) for c in kept if c.kind in _WISHED}:
        return " ".join(texts[0].split())
    return constraints.spoken(kept)


def _check_size(messages: Sequence[Message]) -> None:
  """Fails where there is more than is read."""
  said = [len(m.text) for m in messages if m.role == "user"]
  answered = sum(len(m.text) for m in messages) - sum(said)
  for found, most, what in (
    (len(messages), MAX_MESSAGES, "messages"),
    (max(said, default=0), MAX_TEXT, "characters in a message"),
    (sum(said), MAX_SAID, "characters of the user"),
    (answered, MAX_ANSWERED, "characters of answers"),
  ):
    if found > most:
      raise ValueError(
        f"the conversation has {found:,} {what}, expected at most {most:,}; "
        "begin a new one"
      )


class _Course:
  """A conversation as it goes on."""

  def __init__(self, owner: Conversations, taken: list[str]) -> None:
    self._owner, self._taken = owner, taken
    self._said: list[Said] = []
    self._texts: dict[int, str] = {}
    self._shown: tuple[str, ...] = ()
    self._known: dict[str, None] = dict.fromkeys(taken)
    self._unclear: list[NotUnderstood] = []
    self._turn = 0
    self._unread = 0  # Turn of the last words that only the model can read.

  def answered(self, items: tuple[str, ...]) -> None:
    self._shown = items
    self._known |= dict.fromkeys(items)

  def hear(self, text: str) -> None:
    self._turn += 1
    self._texts[self._turn] = text
    acts = self._owner._turns.read(text, self._before())
    flags = {act.do for act in acts}
    if Do.INSTEAD in flags or Do.ALSO not in flags:
      self._make_room(acts, instead=Do.INSTEAD in flags)
    for act in acts:
      self._do(act, added=Do.ALSO in flags)
    if any(act.do is Do.UNKNOWN and not act.why for act in acts):
      self._unread = self._turn
    elif not acts:  # "Thanks" is none where there was one.
      self._unread = self._unread or self._turn

  def _before(self) -> Before:
    find = self._owner.shelf.number
    kept = {
      find(one.attribute): one.kind
      for one in self._kept()
      if one.attribute is not None
    }
    bounds = {one.kind: one.number for one in self._kept()}
    return Before(
      self._shown,
      tuple(self._known)[-_MOST_KNOWN:],
      frozenset(kept),
      frozenset(n for n, kind in kept.items() if kind in _AGAINST),
      bounds.get(Kind.MAX_PRICE) or math.inf,
      bounds.get(Kind.MIN_PRICE) or 0.0,
    )

  def _kept(self) -> list[Constraint]:
    return [one.constraint for one in self._said if one.dropped is None]

  def _drop(self, fits: Any, *, before: int | None = None) -> None:
    """Takes back what fits, of earlier turns alone where one is named."""
    for place, one in enumerate(self._said):
      if one.dropped is None and (before is None or one.turn < before):  # noqa: SIM102
        if fits(one.constraint):
          self._said[place] = dataclasses.replace(one, dropped=self._turn)

  def _add(self, act: Act, constraint: Constraint) -> None:
    if constraint not in self._kept():
      self._said.append(Said(constraint, act.words, self._turn))

  def _make_room(self, acts: Sequence[Act], *, instead: bool) -> None:
    """What was wanted of the same kind is not any more: "only kites".

    Args:
      acts: of the message.
      instead: whether all that is wanted here stands for what was wanted
        before, and for all of that where nothing is of the same kind.
    """
    only = [act for act in acts if act.do is Do.ONLY]
    new = [
      self._owner.shelf.attributes.attributes[act.attribute]
      for act in acts
      if act.attribute is not None
      and (act in only or (instead and act.do is Do.WANT))
    ]
    if not new:
      return
    kinds = {attribute.kind for attribute in new}
    wanted = [c.attribute for c in self._kept() if c.kind in _FOR]
    same = [a for a in wanted if a is not None and a.kind in kinds]
    if instead and not same:
      same = [a for a in wanted if a is not None]
    self._drop(
      lambda c: (
        c.kind in _FOR and c.attribute in same and c.attribute not in new
      )
    )
    if only:
      self._loosen(only[0], but=new)

  def _loosen(
    self, act: Act, but: Sequence[attributes_lib.Attribute] = ()
  ) -> None:
    """What alone was wanted is wanted as anything is."""
    for one in self._kept():
      if one.kind is Kind.AMONG and one.attribute not in but:
        self._drop(functools.partial(operator.eq, one))
        self._add(act, _as_read(one))

  def _do(self, act: Act, *, added: bool) -> None:
    shelf = self._owner.shelf
    if act.do is Do.UNKNOWN:
      self._unclear.append(NotUnderstood(act.words, self._turn, act.why))
    elif act.do is Do.START_OVER:
      self._drop(lambda c: True)
      self._unread = 0
    elif act.do is Do.UNDO:
      self._undo()
    elif act.do is Do.NOT_ONLY:
      self._loosen(act)
    elif act.do in _OFF:
      self._drop(lambda c: c.about is _OFF[act.do])
    elif act.number is not None and act.attribute is None:
      self._bound(act, Constraint(Kind[act.do.name], number=act.number))
    elif act.do is Do.TOOK:
      assert act.item_id is not None
      if act.item_id not in self._taken:
        self._taken.append(act.item_id)
    elif act.item_id is not None:
      kind = Kind.LIKE if act.do is Do.LIKE else Kind.EXCLUDED
      self._drop(lambda c: c.item_id == act.item_id and c.kind is not kind)
      self._add(act, shelf.of_item(kind, act.item_id))
    elif act.attribute is not None:
      self._do_attribute(act, added=added)

  def _bound(self, act: Act, made: Constraint) -> None:
    """A bound takes the place of what was said of the same before."""
    self._drop(lambda c: c.kind is made.kind and c != made)
    self._drop(
      lambda c: c.about is made.about and (c.kind in _FOR or made.excludes(c)),
      before=self._turn,
    )
    self._add(act, made)

  def _do_attribute(self, act: Act, *, added: bool) -> None:
    assert act.attribute is not None
    attribute = self._owner.shelf.attributes.attributes[act.attribute]
    kinds = {
      Do.WANT: Kind.WANTED,
      Do.ONLY: Kind.AMONG,
      Do.UNWANT: Kind.UNWANTED,
      Do.AT_MOST: Kind.AT_MOST,
    }
    if act.do not in kinds:  # It may be there, or is forgotten.
      self._drop(
        lambda c: (
          c.attribute == attribute
          and (act.do is Do.FORGET or c.kind in _AGAINST)
        )
      )
      return
    made = Constraint(kinds[act.do], attribute, act.number, percent=act.percent)
    if act.do is Do.WANT and self._is_bound(attribute, added=added):
      made = dataclasses.replace(made, kind=Kind.AMONG)
    # "At most two puzzles" are wanted as before.
    limits = act.do is Do.AT_MOST and bool(act.number)
    self._drop(
      lambda c: (
        c.attribute == attribute
        and c != made
        and not (limits and c.kind in _FOR)
      )
    )
    wishes = act.do in (Do.WANT, Do.ONLY)
    if wishes and attribute.kind in _EXCLUSIVE and not added:
      self._drop(
        lambda c: (
          c.kind in _FOR
          and c.attribute is not None
          and c.attribute.kind is attribute.kind
          and c.attribute != attribute
        ),
        before=self._turn,
      )
      self._drop(
        lambda c: c.attribute is None and c.about is attribute.kind,
        before=self._turn,
      )
    self._add(act, made)

  def _is_bound(
    self, attribute: attributes_lib.Attribute, *, added: bool
  ) -> bool:
    """Whether what is wanted is, or comes to, what alone is wanted."""
    among = [c.attribute for c in self._kept() if c.kind is Kind.AMONG]
    return attribute in among or (
      added and any(a is not None and a.kind is attribute.kind for a in among)
    )

  def _undo(self) -> None:
    """What was said last goes; what it had taken back holds again."""
    turns = {one.turn for one in self._said} | {
      one.dropped for one in self._said if one.dropped is not None
    }
    last = max(turns, default=0)
    if self._unread > last:
      self._unread = 0
      return
    for place, one in enumerate(self._said):
      if one.turn == last and one.dropped is None:
        self._said[place] = dataclasses.replace(one, dropped=self._turn)
      elif one.dropped == last and one.turn < last:
        self._said[place] = dataclasses.replace(one, dropped=None)

  def state(self) -> State:
    turns = sorted(
      {
        one.turn
        for one in self._said
        if one.dropped is None and one.constraint.kind in _WISHED
      }
    )
    if self._turn == 1 and (turns or self._unread):
      wish: str | None = " ".join(self._texts[1].split()) or None
    elif turns:
      texts = [self._texts[turn] for turn in turns]
      wish = self._owner.wish(self._kept(), texts)
    else:
      wish = " ".join(self._texts.get(self._unread, "").split()) or None
    return State(
      tuple(self._said),
      tuple(self._taken),
      wish,
      self._shown,
      tuple(self._unclear),
      self._turn,
    )


def _as_read(constraint: Constraint) -> Constraint:
  """As a wish says it: what alone is wanted is wanted."""
  if constraint.kind is Kind.AMONG:
    return dataclasses.replace(constraint, kind=Kind.WANTED)
  return constraint
