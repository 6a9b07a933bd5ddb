"""Requests -> instructions, streaming.

A training request gives one row a task type, its template drawn, all equally
likely. A validation or test request gives one row for each evaluation
template: by default matching ones (T2), whose instruction does not hold the
candidate list, so that scores cannot depend on the order of candidates.

Beside the rows come the fine-grained texts of the InstructRec paper (Table
2): for each user a preference (P2) for the newest training, the validation
and the test request, and two wordings of a vague intention (I1, I1*) for the
newest training request: three and two a user.

Every draw depends on (seed, request id, task type) alone.
"""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import polars as pl

from instructrec.data import candidates as candidate_sets
from instructrec.data import dataset
from instructrec.data.catalog import Catalog, Item
from instructrec.instructions import leaks, quality, render, templates
from instructrec.instructions.format import (
  MATCH_CANDIDATES,
  NO,
  YES,
  FineGrained,
  Instruction,
  Kind,
  Origin,
  TaskForm,
  TaskType,
)
from instructrec.instructions.teacher import Teacher, TextKind, TextRequest

Protocol = Literal["strict", "paper"]
Record = Instruction | FineGrained

EVAL_TEMPLATES: tuple[str, ...] = (
  "seq_next_item",
  "seq_profile_and_history",
  "search_find_product",
  "personal_wish_and_history",
  "personal_query_and_history",
)
CHUNK = 2048
"""Requests that are worked on at once."""
_RECENT_WORDS = 30
_MASK = (1 << 64) - 1
_SLOT_KINDS = {
  "preference": TextKind.PREFERENCE,
  "own_preference": TextKind.OWN_PREFERENCE,
  "vague": TextKind.VAGUE,
  "specific": TextKind.SPECIFIC,
}
_KEY_SALT = {kind: number for number, kind in enumerate(TextKind, start=100)}


def _mix(key: int, salt: int) -> int:
  """64 bits from a key and a number (splitmix64)."""
  x = (key + (salt + 1) * 0x9E3779B97F4A7C15) & _MASK
  x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
  x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
  return x ^ (x >> 31)


@dataclasses.dataclass(frozen=True, slots=True)
class _Request:
  """A request with its items looked up."""

  row: Mapping[str, Any]
  key: int
  history: tuple[Item, ...]
  target: Item
  later: tuple[Item, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
  """A row to be written: its form, and its texts by slot."""

  request: _Request
  form: render.Form
  key: int
  texts: Mapping[str, "_Text"]


@dataclasses.dataclass(frozen=True, slots=True)
class _Text:
  """A text to be written, with what it was made from."""

  wanted: TextRequest
  origin: Origin


_AnyPlan = _Plan | tuple[_Request, TextKind, _Text]
"""An instruction to be written, or a fine-grained text."""


@dataclasses.dataclass(frozen=True)
class Generator:
  """Makes instructions from prepared data.

  Attributes:
    prepared: requests with candidates.
    teacher: writes preferences and intentions.
    template_set: the templates.
    seed: of all draws.
    protocol: "strict" (nothing of the target reaches the preferences and
      intentions that tasks with a user are given) or "paper" (intentions are
      made from the target's review or attributes, as in the paper).
    max_history: longest history in an instruction; the newest are kept.
    eval_templates: the templates of validation and test rows.
    fallback: writes what the teacher wrote badly; None makes that an error.
    replaced: how many texts the fallback wrote, by reason; filled by `rows`.
  """

  prepared: dataset.PreparedData | dataset.ScannedData
  teacher: Teacher
  template_set: templates.TemplateSet
  seed: int = 0
  protocol: Protocol = "strict"
  max_history: int = 20
  eval_templates: Sequence[str] = EVAL_TEMPLATES
  fallback: Teacher | None = None
  replaced: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )

  def __post_init__(self) -> None:
    """Checks the protocol and the templates of evaluation.

    Raises:
      ValueError: where one does not fit.
    """
    if self.protocol not in ("strict", "paper"):
      raise ValueError(
        f"unknown protocol {self.protocol!r}; expected 'strict' or 'paper'"
      )
    for name in self.eval_templates:
      found = self.template_set[name]
      if (
        found.kind is not Kind.DIRECT
        or found.form is TaskForm.T0
        or found.query
      ):
        raise ValueError(
          f"template {name} is {found.kind}, {found.form}; evaluation needs a "
          "direct one of form T2 or T3 without {query}"
        )
    names = [
      render.Form(self.template_set[name]) for name in self.eval_templates
    ]
    cells = collections.Counter(
      (form.template.task, form.preference, form.intention) for form in names
    )
    (cell, count) = cells.most_common(1)[0] if cells else (None, 0)
    if count > 1:
      raise ValueError(
        f"{count} evaluation templates share {cell}; expected one of each "
        "task, preference and intention"
      )

  @property
  def tasks(self) -> tuple[TaskType, ...]:
    """The task types that the templates serve."""
    return tuple(t for t in TaskType if self._training_forms[t])

  @functools.cached_property
  def _training_forms(
    self,
  ) -> dict[TaskType, list[dict[tuple[int, bool], render.Form]]]:
    """For each task type its templates; for each template its forms."""
    return {
      task: [
        {
          (number, optional): render.Form(
            template, query=query, optional=optional
          )
          for number, query in enumerate(template.query or (None,))
          for optional in (False, True)
        }
        for template in self.template_set.of(task=task, held_out=False)
      ]
      for task in TaskType
    }

  @functools.cached_property
  def _eval_forms(self) -> list[render.Form]:
    return [
      render.Form(self.template_set[name]) for name in self.eval_templates
    ]

  @functools.cached_property
  def _items(self) -> "_ItemCache":
    return _ItemCache(self.prepared.catalog)

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
      texts = _distinct(self._planned(requests))
      yield [text.wanted for text in texts.values()]

  def _chunks(self, splits: Sequence[str] | None) -> Iterator[pl.DataFrame]:
    requests = self.prepared.requests
    for split, count in requests.counts.items():
      for start in range(0, count, CHUNK):
        if splits is None or split in splits:
          yield requests.read(split, start, start + CHUNK)

  def chunk(self, requests: pl.DataFrame) -> Iterator[Record]:
    """Yields the records of some requests; for the rest see `rows`."""
    plans = self._planned(requests)
    texts = self._write(plans)
    for plan in plans:
      if isinstance(plan, _Plan):
        yield self._row(plan, texts)
      else:
        yield _fine_grained_row(*plan, texts[_text_key(plan[2])])

  def _planned(self, requests: pl.DataFrame) -> list[_AnyPlan]:
    keys = candidate_sets.request_keys(
      requests["request_id"].to_list(), self.seed
    ).tolist()
    plans: list[_AnyPlan] = []
    for row, key in zip(requests.iter_rows(named=True), keys, strict=True):
      request = self._lookup(row, key)
      plans += self._fine_grained(request)
      plans += self._plans(request)
    return plans

  def _lookup(self, row: Mapping[str, Any], key: int) -> _Request:
    items = self._items
    return _Request(
      row=row,
      key=key,
      history=tuple(items[i] for i in row["history"][-self.max_history :]),
      target=items[row["target"]],
      later=tuple(items[i] for i in row["later"]),
    )

  def _text(
    self,
    request: _Request,
    kind: TextKind,
    *,
    of_target: bool,
    has_user: bool = True,
  ) -> _Text:
    """What a text is made from.

    Args:
      request: whose.
      kind: what.
      of_target: whether the target is known where the text will stand.
      has_user: whether the user is.
    """
    row, history, target = request.row, request.history, request.target
    key = _mix(request.key, _KEY_SALT[kind])
    review, origin = row["history_review"], Origin.HISTORY
    if kind.is_preference:
      items = (*history, target) if of_target else history
    elif of_target:
      items, review = (target,), row["target_review"]
      origin = Origin.TARGET_ATTRIBUTES
    else:
      items = history[-1:] if kind is TextKind.SPECIFIC else history
    if kind is TextKind.SPECIFIC:
      review = None
    if review is not None:
      origin = (
        Origin.HISTORY_REVIEW
        if origin is Origin.HISTORY
        else Origin.TARGET_REVIEW
      )
    side = history if kind is TextKind.VAGUE_SECOND and has_user else ()
    wanted = TextRequest(kind, tuple(items), review, side, target.title, key)
    return _Text(wanted, origin)

  def _fine_grained(
    self, request: _Request
  ) -> list[tuple[_Request, TextKind, _Text]]:
    if not request.row["newest"]:
      return []
    kinds = [TextKind.PREFERENCE]
    if request.row["split"] == "train":
      kinds += [TextKind.VAGUE, TextKind.VAGUE_SECOND]
    result = []
    for kind in kinds:
      of_target = self.protocol == "paper" and not kind.is_preference
      text = self._text(request, kind, of_target=of_target)
      result.append((request, kind, text))
    return result

  def _plans(self, request: _Request) -> Iterator[_Plan]:
    if request.row["split"] != "train":
      for number, form in enumerate(self._eval_forms):
        yield self._plan(request, form, _mix(request.key, 50 + number))
      return
    for number, task in enumerate(self.tasks):
      key = _mix(request.key, number)
      choices = self._training_forms[task]
      forms = choices[key % len(choices)]
      draw = _mix(key, 5)
      query = (draw >> 1) % (len(forms) // 2)
      yield self._plan(request, forms[query, bool(draw & 1)], key)

  def _plan(self, request: _Request, form: render.Form, key: int) -> _Plan:
    """Decides what each text of a row is made from.

    A text may be made from the target where the row is not to find it: it is
    asked for, or given, in the same row; where there is no user (a query can
    only describe what is wanted); and by the protocol of the paper.
    """
    texts = {}
    for slot, kind in _SLOT_KINDS.items():
      if slot not in form.input_slots | form.response_slots:
        continue
      of_target = "target" in form.input_slots
      if not kind.is_preference:
        of_target |= (
          self.protocol == "paper"
          or form.template.task is TaskType.PRODUCT_SEARCH
          or slot in form.response_slots
        )
        second = request.row["split"] == "train" and _mix(key, 4) & 1
        if kind is TextKind.VAGUE and second:
          kind = TextKind.VAGUE_SECOND
      texts[slot] = self._text(
        request,
        kind,
        of_target=of_target,
        has_user=form.template.task is not TaskType.PRODUCT_SEARCH,
      )
    return _Plan(request, form, key, texts)

  def _write(self, plans: Sequence[_AnyPlan]) -> dict[Any, str]:
    """All texts of some plans, each written once and checked."""
    wanted = _distinct(plans)
    requests = [text.wanted for text in wanted.values()]
    written = self.teacher.write(requests)
    result = {}
    for (key, text), words in zip(wanted.items(), written, strict=True):
      result[key] = self._checked(text, words)
    return result

  def _checked(self, text: _Text, words: str) -> str:
    reason = _problem(text, words)
    if reason is None:
      return words
    if self.fallback is not None:
      self.replaced[reason] += 1
      (words,) = self.fallback.write([text.wanted])
      reason = _problem(text, words)
      if reason is None:
        return words
    raise quality.TextQualityError(
      f"the {text.wanted.kind} text {words!r} of teacher {self.teacher.name} "
      f"cannot be used: {reason}"
    )

  def _row(self, plan: _Plan, texts: Mapping[Any, str]) -> Instruction:
    request, form = plan.request, plan.form
    row, template = request.row, form.template
    task_form, target = template.form, request.target
    ids = tuple(row["candidates"])
    titles = tuple(self._items[i].title for i in ids)
    label = row["label"]
    slots = render.Slots(
      history=[item.title for item in request.history],
      recent=_recent(request.history),
      target=target.title,
      candidates=titles,
      **{slot: texts[_text_key(text)] for slot, text in plan.texts.items()},  # type: ignore[arg-type]
    )
    if task_form is TaskForm.T0:
      label, answer, item = _pointwise(titles, label, _mix(plan.key, 3))
      slots = dataclasses.replace(slots, item=item, answer=answer)
      titles, ids = MATCH_CANDIDATES, ("yes", "no")
    elif task_form is TaskForm.T1:
      pair = _pair(len(titles), label, _mix(plan.key, 3))
      titles = tuple(titles[i] for i in pair)
      ids, label = tuple(ids[i] for i in pair), pair.index(label)
      slots = dataclasses.replace(slots, first=titles[0], second=titles[1])
    elif template.kind in (Kind.TURNED_AROUND, Kind.RELATEDNESS, Kind.COT):
      titles, ids, label = (), (), -1
    # What is given of the wish counts, not what is asked for.
    wish = next(
      (plan.texts[s] for s in ("vague", "specific") if s in plan.texts), None
    )
    has_user = bool(
      {"history", "preference", "own_preference"}
      & (form.input_slots | form.response_slots)
    )
    result = Instruction(
      example_id=f"{row['request_id']}/{template.id}",
      task=template.task.value,
      template_id=template.id,
      kind=template.kind.value,
      preference=form.preference,
      intention=form.intention,
      task_form=task_form.value,
      intention_origin=(wish.origin if wish else Origin.NONE).value,
      user_id=row["user_id"],
      request_id=row["request_id"],
      inputs=form.inputs(slots),
      targets=form.targets(slots),
      candidates=titles,
      candidate_ids=ids,
      label=label,
      history_ids=(
        tuple(item.item_id for item in request.history) if has_user else ()
      ),
      split=row["split"],
    )
    leaks.check(
      result,
      leaks.Known(
        target=target,
        history=request.history,
        later=request.later,
        target_review=row["target_review"],
        history_review=row["history_review"],
        asked=tuple(t for t in (slots.item, *titles) if t),
        target_given="target" in form.input_slots,
        review_allowed=wish is not None and wish.origin is Origin.TARGET_REVIEW,
      ),
    )
    return result


def _problem(text: _Text, words: str) -> str | None:
  wanted = text.wanted
  is_query = wanted.kind is TextKind.SPECIFIC
  return quality.problem(words, wanted.hidden_title, is_query=is_query)


def _distinct(plans: Iterable[_AnyPlan]) -> dict[Any, _Text]:
  """The texts of some plans, each once, by key."""
  texts: dict[Any, _Text] = {}
  for plan in plans:
    found = plan.texts.values() if isinstance(plan, _Plan) else plan[2:]
    texts.update((_text_key(text), text) for text in found)
  return texts


def _text_key(text: _Text) -> Any:
  """Texts with the same key are the same text: items by id, not by value."""
  wanted = text.wanted
  return (
    wanted.kind,
    wanted.key,
    text.origin,
    len(wanted.items),
    len(wanted.history),
    wanted.items[-1].item_id,
  )


def _fine_grained_row(
  request: _Request, kind: TextKind, text: _Text, words: str
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


class _ItemCache(dict):
  """Items by id, each looked up once: a catalogue row costs microseconds."""

  def __init__(self, catalog: Catalog) -> None:
    super().__init__()
    self._catalog = catalog

  def __missing__(self, item_id: str) -> Item:
    item = self[item_id] = self._catalog[item_id]
    return item
