"""Requests -> instructions, streaming: plans become texts, texts rows.

`plans.py` decides what is written; here the teacher writes it, templates put
it together, and every row passes the quality and the leak check.
"""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import polars as pl

from instructrec.data import dataset
from instructrec.data.catalog import Item
from instructrec.instructions import (
  attributes,
  domains,
  draws,
  leaks,
  planned,
  plans,
  quality,
  render,
  templates,
  wish_words,
  wishes,
)
from instructrec.instructions.format import (
  MATCH_CANDIDATES,
  NO,
  YES,
  FineGrained,
  Instruction,
  Kind,
  Origin,
  TaskForm,
)
from instructrec.instructions.teacher import Teacher, TextKind, TextRequest
from instructrec.instructions.wish import Wish

Record = Instruction | FineGrained

CHUNK = 2048
"""Requests that are worked on at once."""
_RECENT_WORDS = 30


class ControlRows(Protocol):
  """Makes the rows of control tasks: `alignment.control_rows.ControlRows`."""

  @property
  def facts(self) -> dict[str, Any]:
    """What the rows are made from, JSON values."""

  def rows(self, requests: pl.DataFrame) -> Iterator[Instruction]:
    """Yields rows of some requests, each by (seed, epoch, user) alone."""


@dataclasses.dataclass(frozen=True)
class Generator:
  """Makes instructions from prepared data.

  Attributes:
    prepared: requests with candidates.
    teacher: writes preferences and intentions.
    template_set: the templates.
    seed: of all draws.
    protocol: "stated", "strict" or "paper"; see `plans.Planner`.
    max_history: longest history in an instruction; the newest are kept.
    eval_templates: the templates of validation and test rows.
    domain: what the items are; None finds out.
    fallback: writes what the teacher wrote badly; None makes that an error.
    control: makes rows of control tasks behind the others; None makes none.
    replaced: how many texts the fallback wrote, by reason; filled by `rows`.
  """

  prepared: dataset.PreparedData | dataset.ScannedData
  teacher: Teacher
  template_set: templates.TemplateSet
  seed: int = 0
  protocol: plans.Protocol = "stated"
  max_history: int = 20
  eval_templates: Sequence[str] = plans.EVAL_TEMPLATES
  domain: domains.Domain | None = None
  fallback: Teacher | None = None
  control: ControlRows | None = None
  replaced: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )

  def __post_init__(self) -> None:
    """Checks the protocol and the templates of evaluation.

    Raises:
      ValueError: where one does not fit.
    """
    self._planner.check()

  @functools.cached_property
  def _planner(self) -> plans.Planner:
    return plans.Planner(
      catalog=self.prepared.catalog,
      template_set=self.template_set,
      seed=self.seed,
      protocol=self.protocol,
      max_history=self.max_history,
      eval_templates=self.eval_templates,
      wishes=self._wishes(),
      ratings=self.prepared.ratings,
    )

  @functools.cached_property
  def resolved_domain(self) -> domains.Domain:
    """What the items are."""
    return self.domain or domains.of(
      self.prepared.catalog, self.prepared.manifest.get("source")
    )

  def _wishes(self) -> wishes.WishMaker | None:
    if self.protocol != "stated" or not len(self.template_set):
      return None
    catalog = self.prepared.catalog
    return wishes.WishMaker(
      catalog,
      attributes.Attributes.of(catalog),
      self.resolved_domain,
      self.prepared.requests.taken(),
    )

  def rows(self, splits: Sequence[str] | None = None) -> Iterator[Record]:
    """Yields instructions and fine-grained texts, request by request.

    Args:
      splits: which splits; None for all.

    Yields:
      Records that passed the quality and the leak check.

    Raises:
      InstructionLeakError: where an instruction gives its answer away.
      TextQualityError: where a text cannot be used and there is no fallback.
    """
    for requests in self._chunks(splits):
      yield from self.chunk(requests)

  def text_requests(
    self, splits: Sequence[str] | None = None
  ) -> Iterator[list[TextRequest]]:
    """Yields what `rows` asks the teacher for, without asking it.

    Args:
      splits: which splits; None for all.

    Yields:
      The argument of each call of `Teacher.write`.
    """
    for requests in self._chunks(splits):
      texts = planned.distinct(self._planner.plan(requests))
      yield [text.wanted for text in texts.values()]

  def _chunks(self, splits: Sequence[str] | None) -> Iterator[pl.DataFrame]:
    requests = self.prepared.requests
    for split, count in requests.counts.items():
      for start in range(0, count, CHUNK):
        if splits is None or split in splits:
          yield requests.read(split, start, start + CHUNK)

  def chunk(self, requests: pl.DataFrame) -> Iterator[Record]:
    """Yields the records of some requests; for the rest see `rows`."""
    wanted = self._planner.plan(requests)
    texts = self._write(wanted)
    for plan in wanted:
      if isinstance(plan, planned.RowPlan):
        yield self._row(plan, texts)
      else:
        yield _fine_grained_row(*plan, texts[planned.text_key(plan[2])])
    if self.control is not None:
      yield from self.control.rows(requests)

  def _write(self, made: Sequence[planned.Plan]) -> dict[Any, str]:
    """All texts of some plans, each written once and checked."""
    wanted = planned.distinct(made)
    requests = [text.wanted for text in wanted.values()]
    written = self.teacher.write(requests)
    result = {}
    for (key, text), words in zip(wanted.items(), written, strict=True):
      result[key] = self._checked(text, words)
    return result

  def _checked(self, text: planned.Text, words: str) -> str:
    reason = _problem(text, words)
    if reason is None:
      return words
    if self.fallback is not None:
      self.replaced[reason] += 1
      (words,) = self.fallback.write([text.wanted])
      reason = _problem(text, words)
      if reason is None:
        return words
    title = text.wanted.hidden_title
    raise quality.TextQualityError(
      f"the {text.wanted.kind} text {words!r} of teacher {self.teacher.name} "
      f"cannot be used ({reason}) where item "
      f"{self.prepared.catalog.find_title(title)!r}, {title!r}, is the target; "
      "leave the item out, or call it otherwise"
    )

  def _row(
    self, plan: planned.RowPlan, texts: Mapping[Any, str]
  ) -> Instruction:
    request, form = plan.request, plan.form
    row, template = request.row, form.template
    slots, choices = _asked(plan, self._slots(plan, texts))
    # What is given of the wish counts, not what is asked for.
    wish = next(
      (plan.texts[s] for s in ("vague", "specific") if s in plan.texts), None
    )
    has_user = bool(
      {"history", "preference", "own_preference"}
      & (form.input_slots | form.response_slots)
    )
    result = Instruction(
      example_id=f"{row['request_id']}/{template.id}{plan.suffix}",
      task=template.task.value,
      template_id=template.id,
      kind=template.kind.value,
      preference=form.preference,
      intention=form.intention,
      task_form=template.form.value,
      intention_origin=(wish.origin if wish else Origin.NONE).value,
      user_id=row["user_id"],
      request_id=row["request_id"],
      inputs=form.inputs(slots),
      prompt=form.prompt(slots),
      targets=form.targets(slots),
      target_id=request.target.item_id if _is_wanted(form) else "",
      candidates=choices.titles,
      candidate_ids=choices.ids,
      label=choices.label,
      history_ids=(
        tuple(item.item_id for item in request.history) if has_user else ()
      ),
      split=row["split"],
      wish_text=texts[planned.text_key(wish)] if wish else "",
      **_said(wish.wanted.wish if wish else None),
    )
    asked = tuple(t for t in (slots.item, *choices.titles) if t)
    leaks.check(result, _known(plan, result, asked, wish))
    return result

  def _slots(
    self, plan: planned.RowPlan, texts: Mapping[Any, str]
  ) -> render.Slots:
    """What may fill a template, whatever its task form asks."""
    request = plan.request
    return render.Slots(
      history=[item.title for item in request.history],
      recent=_recent(request.history),
      target=request.target.title,
      candidates=tuple(
        self._planner.items[i].title for i in request.row["candidates"]
      ),
      **{
        slot: texts[planned.text_key(text)] for slot, text in plan.texts.items()
      },  # type: ignore[arg-type]
    )


class _Choices(NamedTuple):
  """What a row offers: titles, their ids, and the place of the right one."""

  titles: tuple[str, ...]
  ids: tuple[str, ...]
  label: int


def _asked(
  plan: planned.RowPlan, slots: render.Slots
) -> tuple[render.Slots, _Choices]:
  """The slots with what the task form asks about, and what it offers."""
  row, template = plan.request.row, plan.form.template
  titles, ids = tuple(slots.candidates or ()), tuple(row["candidates"])
  label = row["label"]
  if template.form is TaskForm.T0:
    label, answer, item = _pointwise(titles, label, draws.mix(plan.key, 3))
    slots = dataclasses.replace(slots, item=item, answer=answer)
    return slots, _Choices(MATCH_CANDIDATES, ("yes", "no"), label)
  if template.form is TaskForm.T1:
    pair = _pair(len(titles), label, draws.mix(plan.key, 3))
    first, second = (titles[i] for i in pair)
    slots = dataclasses.replace(slots, first=first, second=second)
    chosen = tuple(ids[i] for i in pair)
    return slots, _Choices((first, second), chosen, pair.index(label))
  if template.kind in (Kind.TURNED_AROUND, Kind.RELATEDNESS, Kind.COT):
    return slots, _Choices((), (), -1)
  return slots, _Choices(titles, ids, label)


def _problem(text: planned.Text, words: str) -> str | None:
  wanted = text.wanted
  is_query = wanted.kind is TextKind.SPECIFIC or wanted.wish is not None
  reason = quality.problem(words, wanted.hidden_title, is_query=is_query)
  if reason or wanted.wish is None or wish_words.allowed(words, wanted.wish):
    return reason
  return "distinguishing_words"


def _known(
  plan: planned.RowPlan,
  row: Instruction,
  asked: tuple[str, ...],
  wish: planned.Text | None,
) -> leaks.Known:
  """What must be known of a row to find its leaks."""
  request = plan.request
  stated = wish.wanted.wish if wish else None
  return leaks.Known(
    target=request.target,
    history=request.history,
    later=request.later,
    taken_before=request.row["target"] in request.row["history"],
    target_review=request.row["target_review"],
    history_review=request.row["history_review"],
    asked=asked,
    target_given="target" in plan.form.input_slots,
    review_allowed=wish is not None and wish.origin is Origin.TARGET_REVIEW,
    wish=row.wish_text if stated else None,
    hidden_words=stated.hidden_words if stated else frozenset(),
    template=plan.form.own_words,
  )


def _said(wish: Wish | None) -> dict[str, Any]:
  """The columns that say what a stated wish says."""
  if wish is None:
    return {}
  return {
    "wish_stance": wish.stance.value,
    "wish_sources": wish.sources,
    "wish_attributes": wish.attributes,
    "wish_bits": wish.bits,
  }


def _fine_grained_row(
  request: planned.Request, kind: TextKind, text: planned.Text, words: str
) -> FineGrained:
  row = request.row
  return FineGrained(
    text_id=f"{row['request_id']}/{kind}",
    kind=kind.value,
    origin=text.origin.value,
    user_id=row["user_id"],
    request_id=row["request_id"],
    text=words,
    split=row["split"],
  )


def _is_wanted(form: render.Form) -> bool:
  """Whether the response names the target, out of all items."""
  template = form.template
  return (
    "target" in form.response_slots
    and template.form is not TaskForm.T1
    and template.kind is not Kind.TURNED_AROUND
  )


def _recent(history: Sequence[Item]) -> list[str]:
  """The newest titles that a response can name; at least one."""
  words = itertools.accumulate(
    len(item.title.split()) for item in reversed(history)
  )
  count = max(1, sum(total <= _RECENT_WORDS for total in words))
  return [item.title for item in history[-count:]]


def _pointwise(
  titles: Sequence[str], label: int, key: int
) -> tuple[int, str, str]:
  """Label, response and item of a T0 row: half right, half a negative."""
  if key % 2:
    return 0, YES, titles[label]
  negatives = [t for i, t in enumerate(titles) if i != label]
  return 1, NO, negatives[(key >> 1) % len(negatives)]


def _pair(size: int, label: int, key: int) -> list[int]:
  """Two candidates of a T1 row, the right one first or second."""
  other = (label + 1 + (key >> 1) % (size - 1)) % size
  return [label, other] if key % 2 else [other, label]
