"""What a message says of years: "from 1994", "before the nineties"."""

import re
from typing import NamedTuple

from instructrec.instructions import attributes as attributes_lib
from instructrec.serving import conversation_cues, message_words, turn_draft
from instructrec.serving.conversation_cues import Cue
from instructrec.serving.turn_acts import Do

_YEAR = re.compile(r"((?:1[89]|20)\d\d)(s?)", re.IGNORECASE)
_BEFORE_YEAR = frozenset("the year years of in".split())
_TO = frozenset(("to", "until", "till", "through"))
_LED_BY = (
  Cue.YEAR_BEFORE,
  Cue.YEAR_AFTER,
  Cue.YEAR_SINCE,
  Cue.YEAR_UNTIL,
  Cue.YEAR_IN,
)
_DENIED = {
  Cue.YEAR_BEFORE: Cue.YEAR_SINCE,
  Cue.YEAR_SINCE: Cue.YEAR_BEFORE,
  Cue.YEAR_AFTER: Cue.YEAR_UNTIL,
  Cue.YEAR_UNTIL: Cue.YEAR_AFTER,
}
"""What is asked by what is denied: "nothing before 1990" is since 1990."""


class _Period(NamedTuple):
  """A year or a decade that is named.

  Attributes:
    first: its first year.
    last: its last one.
    end: where it ends in the message.
  """

  first: int
  last: int
  end: int


class TurnYears:
  """Reads the years of a message, where those of the items are known.

  Args:
    draft: of the message; what is read is taken from it.
  """

  def __init__(self, draft: turn_draft.TurnDraft) -> None:
    self._draft, self._message = draft, draft.message

  def bounded(self, place: int) -> int:
    """Takes bounds on years that begin at a place.

    Args:
      place: of their first word.

    Returns:
      Where they end; 0 where there are none. A decade alone is none: it is
      wanted as other attributes are.
    """
    if not self._draft.shelf.has_years:
      return 0
    return self._two(place) or self._led(place) or self._followed(place)

  def _period(self, place: int) -> _Period | None:
    """The year or decade at a place, behind "the year"."""
    while self._message.word(place) in _BEFORE_YEAR:
      place += 1
    if place in self._message.things:
      end, number = self._message.things[place]
      known = self._draft.shelf.attributes.attributes[number]
      if known.kind is not attributes_lib.Kind.DECADE:
        return None
      first = int(known.name[:4])
      return _Period(first, first + 9, end)
    if place >= len(self._message.tokens):
      return None
    found = _YEAR.fullmatch(self._message.tokens[place][0])
    if found is None or self._is_other_number(place):
      return None
    first = int(found[1])
    if not found[2]:
      return _Period(first, first, place + 1)
    # "The 1850s" may be no attribute of this catalogue.
    return None if first % 10 else _Period(first, first + 9, place + 1)

  def _is_other_number(self, place: int) -> bool:
    """Whether it is money, of a life, or counts something: "2000 pieces"."""
    message = self._message
    elsewhere = conversation_cues.ABOUT_PRICE | conversation_cues.LIVED
    amount = message.amount(place)
    return (
      message.word(place - 1) in message_words.SIGNS
      or (amount is not None and amount[2])
      or message.word(place + 1) in conversation_cues.NO_PRICE
      or not elsewhere.isdisjoint(
        message.words[at] for at in message.clause(place)
      )
    )

  def _two(self, place: int) -> int:
    """Two years and all between: "from 1990 to 1995", "the 70s to the 90s"."""
    message = self._message
    sizes = [
      size
      for size, cue in conversation_cues.at(message.words, place)
      if cue is Cue.YEARS
    ]
    size = max(sizes, default=0)
    first = self._period(place + size)
    if first is None:
      return 0
    joined_by = _TO | {"and"} if message.word(place) == "between" else _TO
    if message.word(first.end) in joined_by:
      last = self._period(first.end + 1)
    elif message.is_dashed(first.end):
      last = self._period(first.end)
    else:
      return 0
    if last is None:
      return 0
    start = self._start(place)
    if (denial := self._denial(start)) is not None:
      return self._refuse(denial, start, last.end)
    low, high = sorted((first, last))
    for do, year in ((Do.MIN_YEAR, low.first), (Do.MAX_YEAR, high.last)):
      self._draft.add(do, start, last.end, number=float(year))
    return last.end

  def _led(self, place: int) -> int:
    """A year behind what says how it bounds: "since 1990"."""
    for size, cue in conversation_cues.at(self._message.words, place):
      if cue not in _LED_BY:
        continue
      period = self._period(place + size)
      if period is None:
        continue
      if cue is Cue.YEAR_IN and (after := self._after(period.end)):
        cue, end = after
        period = period._replace(end=end)
      return self._add(cue, period, self._start(place))
    return 0

  def _followed(self, place: int) -> int:
    """A year before what says how it bounds, or before what is of it."""
    if self._message.word(place) in _BEFORE_YEAR:
      return 0
    period = self._period(place)
    if period is None:
      return 0
    after = self._after(period.end)
    if after is not None:
      cue, end = after
      return self._add(cue, period._replace(end=end), place)
    # "A 1994 comedy", and not the title of a film.
    if period.end in self._message.things and self._draft.named(place) is None:
      return self._add(Cue.YEAR_IN, period, place)
    return 0

  def _after(self, place: int) -> tuple[Cue, int] | None:
    """How what stands behind a year says that it bounds, and its end."""
    asked = {
      Cue.SINCE_AFTER: Cue.YEAR_SINCE,
      Cue.UNTIL_AFTER: Cue.YEAR_UNTIL,
    }
    for size, cue in conversation_cues.at(self._message.words, place):
      # "From 1994 on", and not "from 1994 on war".
      is_on = self._message.word(place) == "on"
      if cue in asked and (not is_on or self._message.is_loose(place + size)):
        return asked[cue], place + size
    return None

  def _add(self, cue: Cue, period: _Period, start: int) -> int:
    """Takes a bound, or a year alone."""
    first, last, end = period
    if cue is Cue.YEAR_IN and first != last:
      return 0  # What is from the nineties is wanted, or not, as by a wish.
    denial = self._denial(start)
    if denial is not None and cue is Cue.YEAR_IN:
      return self._refuse(denial, start, end)
    if denial is not None:
      cue = _DENIED[cue]
      until = min(self._things(denial, start), default=start)
      self._draft.taken[denial:until] = [True] * (until - denial)
    do, year = {
      Cue.YEAR_BEFORE: (Do.MAX_YEAR, first - 1),
      Cue.YEAR_AFTER: (Do.MIN_YEAR, last + 1),
      Cue.YEAR_SINCE: (Do.MIN_YEAR, first),
      Cue.YEAR_UNTIL: (Do.MAX_YEAR, last),
      Cue.YEAR_IN: (Do.YEAR, first),
    }[cue]
    return self._draft.add(do, start, end, number=float(year))

  def _refuse(self, denial: int, start: int, stop: int) -> int:
    """Some years are not left out where those before and after stay."""
    # What else is denied, "no comedies from 1994", stays so.
    is_alone = not self._things(denial, stop + 1)
    why = "years between others are not left out"
    return self._draft.unknown(denial if is_alone else start, stop, why)

  def _things(self, start: int, stop: int) -> list[int]:
    """Places of what is named there."""
    return [at for at in self._message.things if start < at < stop]

  def _start(self, place: int) -> int:
    """Where "released before" begins."""
    while self._message.word(place - 1) in conversation_cues.MADE:
      place -= 1
    return place

  def _denial(self, start: int) -> int | None:
    """Where a bound is denied: "I don't want anything" before 1990.

    Of what lies between, "no comedies before 1990", the bound alone is denied.
    """
    clause = self._message.clause(start)
    denied = [
      at
      for at in range(clause.start, start)
      if self._message.words[at] in conversation_cues.DENIALS
      and not self._draft.taken[at]
    ]
    return max(denied, default=None)
