"""Decides what is written for a request: which rows, and each text's sources.

A training request gives one row a task type, its template drawn, all equally
likely; under `protocol=stated` one in five gives two more, of personalised
search, which want the opposite on one history. A validation or test request
gives one row for each evaluation template: by default matching ones (T2), whose
instruction does not hold the candidate list, so that scores cannot depend on
the order of candidates.

Beside the rows come the fine-grained texts of the InstructRec paper (Table
2): for each user a preference (P2) for the newest training, the validation
and the test request, and two wordings of a vague intention (I1, I1*) for the
newest training request: three and two a user.

Every draw depends on (seed, request id, task type) alone.
"""

import collections
import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Literal

import polars as pl

from instructrec.data import candidates as candidate_sets
from instructrec.data import ratings as ratings_lib
from instructrec.data.catalog import Catalog, Item
from instructrec.instructions import planned, render, templates
from instructrec.instructions.draws import mix
from instructrec.instructions.format import Kind, Origin, TaskForm, TaskType
from instructrec.instructions.teacher import TextKind, TextRequest
from instructrec.instructions.wishes import WishMaker

Protocol = Literal["stated", "strict", "paper"]
PAIR_EVERY = 5
"""One in so many training requests has a pair of opposite wishes as well."""
EVAL_TEMPLATES: tuple[str, ...] = (
  "seq_next_item",
  "seq_profile_and_history",
  "search_find_product",
  "personal_wish_and_history",
  "personal_query_and_history",
)
GENREC_EVAL_TEMPLATES: tuple[str, ...] = ("genrec_next",)
WHOLE_TEMPLATES: tuple[str, ...] = (
  "seq_next_item",
  "genrec_next",
  "personal_wish_and_history",
)
"""Show each user's whole training sequence, without and with a wish."""
_SLOT_KINDS = {
  "preference": TextKind.PREFERENCE,
  "own_preference": TextKind.OWN_PREFERENCE,
  "vague": TextKind.VAGUE,
  "specific": TextKind.SPECIFIC,
}
_KEY_SALT = {kind: number for number, kind in enumerate(TextKind, start=100)}


@dataclasses.dataclass(frozen=True)
class Planner:
  """Plans the rows and texts of requests.

  Attributes:
    catalog: the items.
    template_set: the templates.
    seed: of all draws.
    protocol: "stated" (the wish of a task with a user is made from what the
      target has; see `wishes.py`), "strict" (nothing of the target reaches the
      preferences and intentions that tasks with a user are given) or "paper"
      (intentions are made from the target's review or attributes, as in the
      paper).
    max_history: longest history in an instruction; the newest are kept.
    eval_templates: the templates of validation and test rows.
    wishes: makes stated wishes; None under other protocols.
    ratings: what users gave to items: what they disliked is no taste.
  """

  catalog: Catalog
  template_set: templates.TemplateSet
  seed: int
  protocol: Protocol
  max_history: int
  eval_templates: Sequence[str]
  wishes: WishMaker | None = None
  ratings: ratings_lib.Ratings | None = None

  def check(self) -> None:
    """Checks the protocol, the histories and the templates of evaluation.

    Raises:
      ValueError: where one does not fit.
    """
    if self.protocol not in ("stated", "strict", "paper"):
      raise ValueError(
        f"unknown protocol {self.protocol!r}; expected 'stated', 'strict' or "
        "'paper'"
      )
    if self.max_history < 1:
      raise ValueError(f"max_history is {self.max_history}, expected 1 or more")
    for name in self.eval_templates:
      try:
        found = self.template_set[name]
      except KeyError as error:
        raise ValueError(
          f"{error.args[0]}; name the templates of evaluation with "
          "--eval_template"
        ) from None
      if not found.kind.names_item or found.form is TaskForm.T0 or found.query:
        raise ValueError(
          f"template {name} is {found.kind}, {found.form}; evaluation needs a "
          "direct one or a next_title, of form T2 or T3 without {query}"
        )
    names = [
      render.Form(self.template_set[name]) for name in self.eval_templates
    ]
    cells = collections.Counter(form.task_name for form in names)
    (cell, count) = cells.most_common(1)[0] if cells else (None, 0)
    if count > 1:
      raise ValueError(
        f"{count} evaluation templates share {cell}; expected one of each "
        "task, kind, preference and intention"
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
  def _whole_forms(self) -> list[render.Form]:
    return [
      render.Form(template)
      for template in self.template_set.of(held_out=False)
      if template.id in WHOLE_TEMPLATES
    ]

  @functools.cached_property
  def items(self) -> "_ItemCache":
    """The items by id."""
    return _ItemCache(self.catalog)

  def plan(self, requests: pl.DataFrame) -> list[planned.Plan]:
    """What is to be written for some requests, in order.

    Args:
      requests: what `Requests.read` gives.

    Returns:
      The texts and rows of each request.
    """
    keys = candidate_sets.request_keys(
      requests["request_id"].to_list(), self.seed
    ).tolist()
    given = {}
    if self.ratings is not None:
      given = self.ratings.of(requests["user_id"].to_list())
    plans: list[planned.Plan] = []
    for row, key in zip(requests.iter_rows(named=True), keys, strict=True):
      request = self._lookup(row, key, given.get(row["user_id"]))
      plans += self._fine_grained(request)
      plans += self._plans(request)
    return plans

  def _lookup(
    self, row: Mapping[str, Any], key: int, given: dict[str, float] | None
  ) -> planned.Request:
    items = self.items
    newest = row["history"][-self.max_history :]
    return planned.Request(
      row=row,
      key=key,
      history=tuple(items[i] for i in newest),
      liked=tuple(items[i] for i in ratings_lib.liked(newest, given)),
      target=items[row["target"]],
      later=tuple(items[i] for i in row["later"]),
    )

  def _text(
    self,
    request: planned.Request,
    kind: TextKind,
    *,
    of_target: bool,
    has_user: bool = True,
  ) -> planned.Text:
    """What a text is made from.

    Args:
      request: whose.
      kind: what.
      of_target: whether the target is known where the text will stand.
      has_user: whether the user is.
    """
    row, history, target = request.row, request.liked, request.target
    key = mix(request.key, _KEY_SALT[kind])
    if self.wishes is not None and has_user and not kind.is_preference:
      return self._stated(request, kind, key)
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
    return planned.Text(wanted, origin)

  def _stated(
    self,
    request: planned.Request,
    kind: TextKind,
    key: int,
    polarity: str | None = None,
  ) -> planned.Text:
    """A wish of what the target has; for `polarity` see `WishMaker.make`."""
    assert self.wishes is not None
    wish, words = self.wishes.make(
      self.catalog.index(request.target.item_id),
      [self.catalog.index(item.item_id) for item in request.liked],
      request.row["target_review"],
      key,
      split=request.row["split"],
      specific=kind is TextKind.SPECIFIC,
      polarity=polarity,
    )
    wanted = TextRequest(
      kind,
      (request.target,),
      None,
      (),
      request.target.title,
      key,
      wish=wish,
      words=words,
    )
    return planned.Text(wanted, Origin.STATED)

  def _pair(self, request: planned.Request) -> Iterator[planned.RowPlan]:
    """Opposite wishes on one history: for what the target has, against B."""
    key = mix(request.key, 60)
    if self.wishes is None or not self._pair_forms or key % PAIR_EVERY:
      return
    form = self._pair_forms[mix(key, 1) % len(self._pair_forms)]
    slot = "vague" if "vague" in form.input_slots else "specific"
    kind = _SLOT_KINDS[slot]
    wishes = {
      polarity: self._stated(request, kind, mix(key, number), polarity)
      for number, polarity in enumerate(("wanted", "unwanted"), start=2)
    }
    if any(text.is_useless for text in wishes.values()):
      return
    for polarity, text in wishes.items():
      plan = self._plan(request, form, key)
      texts = {**plan.texts, slot: text}
      yield dataclasses.replace(plan, texts=texts, suffix=f"/{polarity}")

  @functools.cached_property
  def _pair_forms(self) -> list[render.Form]:
    """Forms of training whose one wish is given and whose answer is an item."""
    return [
      form
      for forms in self._training_forms[TaskType.PERSONALIZED_SEARCH]
      for form in forms.values()
      if form.template.kind is Kind.DIRECT
      and len({"vague", "specific"} & form.input_slots) == 1
    ]

  @functools.cached_property
  def _has_texts(self) -> bool:
    """Whether any template has a place for what a teacher writes."""
    slots = {
      slot
      for task in self._training_forms.values()
      for forms in task
      for form in forms.values()
      for slot in form.input_slots | form.response_slots
    }
    return bool(slots & _SLOT_KINDS.keys())

  def _fine_grained(
    self, request: planned.Request
  ) -> list[tuple[planned.Request, TextKind, planned.Text]]:
    if not request.row["newest"] or not self._has_texts:
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

  def _plans(self, request: planned.Request) -> Iterator[planned.RowPlan]:
    if request.row["split"] != "train":
      for number, form in enumerate(self._eval_forms):
        yield self._plan(request, form, mix(request.key, 50 + number))
      return
    drawn = set()
    for number, task in enumerate(self.tasks):
      key = mix(request.key, number)
      choices = self._training_forms[task]
      forms = choices[key % len(choices)]
      draw = mix(key, 5)
      query = (draw >> 1) % (len(forms) // 2)
      form = forms[query, bool(draw & 1)]
      drawn.add(form.template.id)
      yield self._plan(request, form, key)
    yield from self._whole(request, drawn)
    yield from self._pair(request)

  def _whole(
    self, request: planned.Request, drawn: Set[str]
  ) -> Iterator[planned.RowPlan]:
    """Rows of a user's newest training request, unless they were drawn.

    Of templates that are drawn, half show no history: a quarter of the users
    would never be seen buying one thing after another.
    """
    if self.protocol != "stated" or not request.row["newest"]:
      return
    for number, form in enumerate(self._whole_forms):
      if form.template.id not in drawn:
        yield self._plan(request, form, mix(request.key, 70 + number))

  def _plan(
    self, request: planned.Request, form: render.Form, key: int
  ) -> planned.RowPlan:
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
        second = request.row["split"] == "train" and mix(key, 4) & 1
        if kind is TextKind.VAGUE and second:
          kind = TextKind.VAGUE_SECOND
      texts[slot] = self._text(
        request,
        kind,
        of_target=of_target,
        has_user=form.template.task is not TaskType.PRODUCT_SEARCH,
      )
    return planned.RowPlan(request, form, key, texts)


class _ItemCache(dict):
  """Items by id, each looked up once: a catalogue row costs microseconds."""

  def __init__(self, catalog: Catalog) -> None:
    super().__init__()
    self._catalog = catalog

  def __missing__(self, item_id: str) -> Item:
    item = self[item_id] = self._catalog[item_id]
    return item
