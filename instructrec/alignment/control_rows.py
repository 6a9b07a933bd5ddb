"""Rows of the control tasks, made with the units of all other instructions.

A unit has some successive requests, and a row is a function of (seed, epoch,
user): so each unit writes all epochs of the users whose newest training request
it has, one moment an epoch, which all tasks of that epoch ask about, so that
the retriever scores each moment once. Of what asks without a history as many
rows are drawn, and not one for each item as in the paper: items belong to no
unit.
"""

import collections
import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from instructrec.alignment import asking, labels, moments, wordings
from instructrec.alignment.wordings import ControlTask
from instructrec.data import dataset
from instructrec.data.catalog import Catalog
from instructrec.instructions import (
  domains,
  leaks,
  render,
  title_list,
  units,
)
from instructrec.instructions.attributes import Attribute, Attributes, Kind
from instructrec.instructions.draws import Draws, mix
from instructrec.instructions.format import (
  CONTROL,
  Control,
  Intention,
  Preference,
  TaskForm,
)
from instructrec.retrieval import methods, retriever

_EITHER = (
  (ControlTask.WANTED, ControlTask.UNWANTED),
  (ControlTask.COLD_WANTED, ControlTask.COLD_UNWANTED),
)
"""Of which training draws one for each moment."""
_ALWAYS = (
  ControlTask.PLAIN,
  ControlTask.PALR,
  ControlTask.PROPORTION,
  ControlTask.COMBINED,
  ControlTask.CATEGORY,
)
TEACHER_LENGTH = 100
"""Of the retriever's best, that a row has: rewards know their ranks."""
_EVALUATED = tuple(t for t in ControlTask if t is not ControlTask.PALR)
_WHICH = 199
"""Salt of which tasks a moment has; the next ones are those of the tasks."""
_SALT = {task: salt for salt, task in enumerate(ControlTask, start=200)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlSpec:
  """How control rows are made, for `instructions.units.Spec`.

  Attributes:
    retriever: folder of a fitted retriever, whose lists are the labels.
    num_epochs: how often everything is drawn for each user.
    kinds: what may be asked for: names of `attributes.Kind`, the first that
      the catalogue has also in proportions.
  """

  retriever: str
  num_epochs: int = 5
  kinds: tuple[str, ...] = ("category", "brand", "price", "decade")

  def open(
    self,
    spec: units.Spec,
    prepared: dataset.ScannedData,
    domain: domains.Domain,
  ) -> "ControlRows":
    """What makes the rows.

    Args:
      spec: seed, protocol and longest history.
      prepared: the data.
      domain: what the items are.

    Returns:
      The maker of rows.

    Raises:
      ValueError: where the retriever was fitted on other data, the catalogue
        lacks what is to be asked for or is too small, or a title cannot stand
        in a list.
    """
    folder = pathlib.Path(self.retriever)
    (teacher,) = methods.load_all([folder], prepared.fingerprint).values()
    items = prepared.catalog
    longest = max(asking.LIST_LENGTH, *asking.UNSEEN_LENGTHS)
    if len(items) < longest + spec.max_history:
      raise ValueError(
        f"lists of control tasks have up to {longest} items and histories up "
        f"to {spec.max_history}, but the catalogue has {len(items)} items; "
        f"expected {longest + spec.max_history} or more, or a shorter "
        "--max_history"
      )
    title_list.check(items.titles)
    found = Attributes.of(items)
    return ControlRows(
      items,
      teacher,
      found,
      _kinds(found, self.kinds),
      wordings.Wordings(domain),
      spec,
      self,
    )


def _kinds(found: Attributes, wanted: Sequence[str]) -> tuple[Kind, ...]:
  """Those kinds of which the catalogue has attributes."""
  counts = collections.Counter(a.kind for a in found.attributes)
  kinds = tuple(kind for kind in map(Kind, wanted) if counts[kind])
  # Without categories, others are asked for where that is what was said.
  missing = Kind.CATEGORY in map(Kind, wanted) and Kind.CATEGORY not in kinds
  if missing or not kinds:
    has = ", ".join(f"{kind} ({n})" for kind, n in sorted(counts.items()))
    raise ValueError(
      f"control tasks ask for {', '.join(wanted)}, but the catalogue has no "
      f"{'categories' if missing else 'such attributes'} that a handful of "
      f"items, and no more than half of all, share; found: {has or 'none'}. "
      "Name what may be asked for with --attribute, or prepare the data with a "
      "column of categories"
    )
  return kinds


class ControlRows:
  """Makes rows of requests; see `instructions.generate.ControlRows`.

  Args:
    items: the catalogue.
    teacher: whose lists are the labels.
    attributes: of the items.
    kinds: what may be asked for.
    words: how it is asked.
    spec: seed, protocol and longest history.
    control: the retriever's folder and the number of epochs.
  """

  def __init__(
    self,
    items: Catalog,
    teacher: retriever.Retriever,
    attributes: Attributes,
    kinds: Sequence[Kind],
    words: wordings.Wordings,
    spec: units.Spec,
    control: ControlSpec,
  ) -> None:
    self._items, self._teacher = items, teacher
    # Each looked up once: a catalogue row costs microseconds.
    self._item = functools.cache(items.__getitem__)
    self._attributes, self._kinds = attributes, tuple(kinds)
    self._words, self._spec, self._control = words, spec, control
    self._asker = asking.Asker(
      attributes, kinds, from_target=spec.protocol == "paper"
    )

  @property
  def facts(self) -> dict[str, Any]:
    """What the rows are made from, JSON values."""
    folder = pathlib.Path(self._control.retriever)
    manifest = retriever.read_manifest(folder)
    return {
      "retriever": {
        "folder": folder.resolve().name,
        "method": manifest["method"],
        "settings": manifest["settings"],
        "seed": manifest["record"].get("seed"),
        "fingerprint": retriever.fingerprint(folder),
      },
      "num_epochs": self._control.num_epochs,
      "attributes": [kind.value for kind in self._kinds],
      "drawn_from": (
        "target, as the paper" if self._spec.protocol == "paper" else "teacher"
      ),
      "list_length": asking.LIST_LENGTH,
      "list_format": title_list.FORMAT_VERSION,
      "unseen": {
        "k": list(asking.UNSEEN_LENGTHS),
        "threshold": list(asking.UNSEEN_COUNTS),
        "wording": [w.id for w in self._words.wordings if w.held_out],
      },
    }

  def rows(self, requests: pl.DataFrame) -> Iterator[Control]:
    """Yields the rows of some requests.

    Args:
      requests: of one split, as `Requests.read` gives them.

    Yields:
      Rows that passed the leak check and whose lists do as they are asked.
    """
    for found in self._moments(requests):
      asked = [moments.to_request(at, self._items.item_ids) for at in found]
      ranked = labels.rankings(self._teacher, asked)
      for at, ranking in zip(found, ranked, strict=True):
        for task, terms in _wanted(at):
          row = self._row(task, at, ranking, terms)
          if row is not None:
            yield row

  def _moments(self, requests: pl.DataFrame) -> Iterator[list[moments.Moment]]:
    """Moments that are scored together, those of an epoch.

    So that no row depends on how many epochs there are.
    """
    split = requests["split"][0] if requests.height else "train"
    seed, longest = self._spec.seed, self._spec.max_history
    if split != "train":
      yield list(
        moments.evaluated(requests, self._items, seed=seed, max_history=longest)
      )
      return
    for epoch in range(self._control.num_epochs):
      yield list(
        moments.trained(
          requests, self._items, seed=seed, epoch=epoch, max_history=longest
        )
      )

  def _row(
    self,
    task: ControlTask,
    at: moments.Moment,
    ranking: labels.Ranking,
    terms: asking.Terms,
  ) -> Control | None:
    # What test rows differ in is one thing: the rest is drawn alike.
    draws = Draws(mix(at.key, _SALT[task]))
    asked = self._asker.ask(task, at, ranking, terms, draws)
    if asked is None:
      return None
    wording = draws.pick(
      self._words.of(
        task,
        held_out="wording" in terms.unseen,
        direction=asked.direction,
      )
    )
    row = self._written(asked, at, ranking, wording, terms)
    self._check(row, asked, at)
    return row

  def _written(
    self,
    asked: asking.Question,
    at: moments.Moment,
    ranking: labels.Ranking,
    wording: wordings.Wording,
    terms: asking.Terms,
  ) -> Control:
    """A question in words, with all that is known of it."""
    has_user = "history" in wordings.SLOTS[asked.task]
    ids, titles = self._items.item_ids, self._items.titles
    history = at.history if has_user else ()
    inputs, prompt = wordings.filled(
      wording,
      self._slots(asked),
      render.join_titles([titles[item] for item in history]),
    )
    variant = "/".join(terms.unseen or ("seen",))
    if at.split == "train":
      variant = str(at.epoch)
    best = ranking.best(TEACHER_LENGTH) if has_user else ()
    led = has_user and asked.label[0] == at.target
    return Control(
      example_id=f"{at.request_id}/{asked.task}/{variant}",
      task=CONTROL,
      template_id=wording.id,
      kind=asked.task.value,
      preference=Preference.P1 if has_user else Preference.P0,
      intention=Intention.I2 if asked.constraints else Intention.I0,
      task_form=TaskForm.T2.value,
      intention_origin=asked.origin.value,
      user_id=at.user_id,
      request_id=at.request_id,
      inputs=inputs,
      prompt=prompt,
      targets=self._answer(asked),
      target_id=ids[at.target] if led else "",
      candidates=(),
      candidate_ids=(),
      label=-1,
      history_ids=tuple(ids[item] for item in history),
      split=at.split,
      constraints=tuple(map(str, asked.constraints)),
      k=asked.k,
      label_ids=tuple(ids[item] for item in asked.label),
      next_id=ids[at.target] if has_user else "",
      teacher_ids=tuple(ids[item] for item in best),
      epoch=at.epoch,
      unseen=terms.unseen,
    )

  def _slots(self, asked: asking.Question) -> dict[str, str]:
    if asked.task is ControlTask.CATEGORY:
      (item,) = asked.label
      return {"item": render.quote(self._items.titles[item])}
    found = {
      wordings.slot_of(c): self._words.phrase(c) for c in asked.constraints
    }
    if asked.direction is not None:
      found["amount"] = wordings.amount(asked.constraints[0])
    return {**found, "items": self._words.items(asked.k)}

  def _answer(self, asked: asking.Question) -> str:
    if asked.task is ControlTask.CATEGORY:
      return asked.constraints[0].attribute.name
    return title_list.write([self._items.titles[i] for i in asked.label])

  def _check(
    self, row: Control, asked: asking.Question, at: moments.Moment
  ) -> None:
    """Refuses a list that does not do as it is asked, and a row that leaks."""
    wrong = [str(c) for c in asked.constraints if not self._is_met(c, asked)]
    if asked.task is not ControlTask.CATEGORY:
      wrong += ["k"] * (asked.k != len(set(asked.label)) or not asked.k)
    if wrong:
      raise ValueError(
        f"row {row.example_id} asks for {wrong} and {row.k} items, which "
        f"{row.label_ids} is not"
      )
    if not row.next_id:
      return
    item, ids = self._item, self._items.item_ids
    leaks.check(
      row,
      leaks.Known(
        target=item(row.next_id),
        history=[item(i) for i in row.history_ids],
        later=[item(ids[place]) for place in at.later],
        taken_before=at.target in at.history,
        # Nothing else that is said is made from the target's title.
        template=row.prompt,
      ),
    )

  def _is_met(
    self, constraint: asking.Constraint, asked: asking.Question
  ) -> bool:
    number = self._numbers[constraint.attribute]
    having = [number in self._attributes.of_item(i) for i in asked.label]
    return constraint.is_met(sum(having), len(having))

  @functools.cached_property
  def _numbers(self) -> dict[Attribute, int]:
    found = self._attributes.attributes
    return {attribute: number for number, attribute in enumerate(found)}


def _wanted(
  at: moments.Moment,
) -> Iterable[tuple[ControlTask, asking.Terms]]:
  """The rows of a moment.

  In training one a task, of wanted and unwanted the one or the other; in
  validation one of each; in test a second one, of which one thing is unseen.
  """
  if at.split == "train":
    draws = Draws(mix(at.key, _WHICH))
    drawn = {*_ALWAYS, *(draws.pick(pair) for pair in _EITHER)}
    return [(task, asking.TRAINED) for task in ControlTask if task in drawn]
  seen = [(task, asking.SEEN) for task in _EVALUATED]
  if at.split != "test":
    return seen
  draws = Draws(mix(at.key, _WHICH))
  unseen = [(task, draws.pick(asking.unseen_of(task))) for task in _EVALUATED]
  return itertools.chain(seen, unseen)
