"""Generation in units: shards of requests, worked on by several processes.

A unit is some successive requests of one split; a shard of the data set on
disk holds the records of `SHARD` successive requests. Which unit is worked on
by whom, and when, changes nothing.
"""

import collections
import concurrent.futures
import dataclasses
import itertools
import multiprocessing
import os
import pathlib
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from instructrec.data import dataset
from instructrec.instructions import (
  domains,
  example_proto,
  generate,
  offline,
  plans,
  tally,
  templates,
  title_list,
)
from instructrec.instructions import (
  format as instruction_format,
)
from instructrec.instructions.chat import ChatConfig, ChatTeacher
from instructrec.instructions.teacher import Teacher

SHARD = 16 * generate.CHUNK
"""Requests whose records of one config and split share a file."""
VOCABULARY_UNITS = 8
"""How many units of training give their texts to train a vocabulary on."""
_NOT_STORED = frozenset(("task", "split"))


@dataclasses.dataclass(frozen=True, slots=True)
class Unit:
  """Some successive requests.

  Attributes:
    split: of the requests.
    start: number of the first one, within the split.
    stop: number behind the last one.
  """

  split: str
  start: int
  stop: int

  @property
  def shard(self) -> int:
    """The shard that its records belong to."""
    return self.start // SHARD


@dataclasses.dataclass(frozen=True)
class Result:
  """What came of a unit.

  Attributes:
    unit: the unit.
    records: TFDS config and serialized `tf.train.Example` of each record.
    tally: counts and samples.
    texts: instructions and responses, of the first training units.
  """

  unit: Unit
  records: list[tuple[str, bytes]]
  tally: tally.Tally
  texts: list[str]


class ControlSpec(Protocol):
  """How rows of control tasks are made; see `alignment.control_rows`."""

  def open(
    self, spec: "Spec", prepared: dataset.ScannedData, domain: domains.Domain
  ) -> generate.ControlRows:
    """What makes the rows, in this process."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
  """How instructions are made; a process needs no more than this.

  Attributes:
    prepared_dir: the folder that `prepare` wrote.
    seed: of templates and wordings.
    protocol: "stated", "strict" or "paper".
    max_history: longest history, in items.
    chat: the chat teacher's settings; None for the offline teacher. One
      process must do all the work then: each has a budget of its own.
    kinds: whose templates of the package: "instructrec", "genrec"; none where
      only control tasks are wanted.
    template_files: YAML files in their place.
    eval_templates: the templates of validation and test rows.
    domain: what the items are, such as "films"; None finds out.
    control: of rows of control tasks; None for none.
  """

  prepared_dir: str
  seed: int = 0
  protocol: plans.Protocol = "stated"
  max_history: int = 20
  chat: ChatConfig | None = None
  kinds: tuple[str, ...] = (templates.INSTRUCTREC,)
  template_files: tuple[str, ...] | None = None
  eval_templates: tuple[str, ...] = plans.EVAL_TEMPLATES
  domain: str | None = None
  control: ControlSpec | None = None

  def generator(self) -> generate.Generator:
    """The generator, with its teacher.

    Returns:
      The generator.

    Raises:
      FileNotFoundError: where there is no prepared data.
      ValueError: where something does not fit these data.
    """
    prepared = dataset.scan(self.prepared_dir)
    source = prepared.manifest.get("source")
    domain = (
      domains.Domain(self.domain)
      if self.domain
      else domains.of(prepared.catalog, source)
    )
    by_rule = offline.OfflineTeacher(prepared.catalog, domain)
    teacher: Teacher = by_rule
    if self.chat is not None:
      teacher = ChatTeacher(self.chat)
    names = self.template_files
    files = None if names is None else [pathlib.Path(name) for name in names]
    return generate.Generator(
      prepared,
      teacher,
      # Files of one's own say what they say.
      templates.load(files)
      if files
      else templates.load(kinds=self.kinds).reworded(domain),
      seed=self.seed,
      protocol=self.protocol,
      max_history=self.max_history,
      eval_templates=self.eval_templates,
      domain=domain,
      fallback=None if teacher is by_rule else by_rule,
      control=(
        None
        if self.control is None
        else self.control.open(self, prepared, domain)
      ),
    )


def units(counts: dict[str, int]) -> list[Unit]:
  """All units.

  Args:
    counts: number of requests by split.

  Returns:
    Units of at most `generate.CHUNK` requests.
  """
  return [
    Unit(split, start, min(start + generate.CHUNK, count))
    for split, count in counts.items()
    for start in range(0, count, generate.CHUNK)
  ]


def work(generator: generate.Generator, unit: Unit) -> Result:
  """Makes the records of a unit.

  Args:
    generator: makes them.
    unit: which requests.

  Returns:
    The records, in order.
  """
  counted = tally.Tally()
  records, texts = list[tuple[str, bytes]](), list[str]()
  keep = unit.split == "train" and (
    unit.start < VOCABULARY_UNITS * generate.CHUNK
  )
  before = collections.Counter(generator.replaced)
  requests = generator.prepared.requests
  frame = requests.read(unit.split, unit.start, unit.stop)
  for record in generator.chunk(frame):
    counted.add(record)
    records.append(
      (record.config, example_proto.encode(record, omit=_NOT_STORED))
    )
    if keep and isinstance(record, instruction_format.Instruction):
      # The separators of lists are tokens of their own already.
      texts += (record.inputs, *title_list.split(record.targets).entries)
  counted.replaced.update(generator.replaced - before)
  return Result(unit, records, counted, texts)


class _Worker:
  """The generator of this process."""

  generator: generate.Generator | None = None


def end_with_parent() -> None:
  """Has a worker end when its parent does, whatever ended that.

  After `kill -9` nobody says so, and a worker would wait for units forever.
  """
  parent = multiprocessing.parent_process()
  assert parent is not None

  def watch() -> None:
    parent.join()
    os._exit(1)

  threading.Thread(target=watch, name="end_with_parent", daemon=True).start()


def _start(spec: Spec) -> None:
  end_with_parent()
  _Worker.generator = spec.generator()


def _work(unit: Unit) -> Result:
  assert _Worker.generator is not None
  return work(_Worker.generator, unit)


def run(
  spec: Spec,
  wanted: Sequence[Unit],
  num_workers: int,
  *,
  generator: generate.Generator | None = None,
) -> Iterator[Result]:
  """Works on units, several at once; the results come in order.

  Args:
    spec: how instructions are made.
    wanted: the units.
    num_workers: processes; 1 works in this one.
    generator: what this process works with; None makes one from `spec`.

  Yields:
    Results.
  """
  if num_workers <= 1:
    generator = generator or spec.generator()
    for unit in wanted:
      yield work(generator, unit)
    return
  # Each worker is one thread's work; polars would start more in each.
  os.environ.setdefault("POLARS_MAX_THREADS", "1")
  with concurrent.futures.ProcessPoolExecutor(
    num_workers,
    # A forked child inherits locks that other threads hold.
    mp_context=multiprocessing.get_context("spawn"),
    initializer=_start,
    initargs=(spec,),
  ) as pool:
    waiting: collections.deque[concurrent.futures.Future[Result]]
    rest = iter(wanted)
    # As many as keep all busy: results must not pile up in memory.
    waiting = collections.deque(
      pool.submit(_work, unit)
      for unit in itertools.islice(rest, num_workers + 2)
    )
    try:
      while waiting:
        result = waiting.popleft().result()
        for unit in itertools.islice(rest, 1):
          waiting.append(pool.submit(_work, unit))
        yield result
    finally:
      for future in waiting:
        future.cancel()
