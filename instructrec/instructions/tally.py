"""Counts and samples of records, which add up over parts of the work."""

import collections
import dataclasses
import hashlib
import heapq
import json
from typing import Any

from instructrec.instructions.format import Control, FineGrained, Instruction
from instructrec.instructions.teacher import TextKind

NUM_EXAMPLES = 20
"""Sampled training instructions of each task type."""
NUM_AUDITED = 1000
"""Sampled fine-grained texts of each kind."""

Record = Instruction | FineGrained
_RECORDS = {made.__name__: made for made in (Instruction, FineGrained, Control)}
Entry = tuple[int, str, Record]
"""Minus the draw of a record, its id, and itself."""


def _draw(record_id: str) -> int:
  digest = hashlib.blake2b(record_id.encode(), digest_size=8).digest()
  return int.from_bytes(digest, "big")


@dataclasses.dataclass
class Tally:
  """What is counted of records.

  Attributes:
    rows: by config and split.
    templates: instructions by template id, training rows alone.
    origins: by config (of fine-grained texts: by kind) and origin.
    words: words of inputs by task type, of texts by kind; training rows alone.
    counted: how many rows `words` adds up, by the same names.
    histories: instructions by titles of the history that they show, training
      rows alone.
    wishes: stated wishes by intention, stance and sources.
    bits: stated wishes by intention and tenths of a bit.
    replaced: texts that the fallback teacher wrote, by reason.
    samples: by task type and by kind, a random few (those with the smallest
      hash of their id, so that parts add up to the sample of the whole).
  """

  rows: collections.Counter[tuple[str, str]] = dataclasses.field(
    default_factory=collections.Counter
  )
  templates: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )
  origins: collections.Counter[tuple[str, str]] = dataclasses.field(
    default_factory=collections.Counter
  )
  words: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )
  counted: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )
  histories: collections.Counter[int] = dataclasses.field(
    default_factory=collections.Counter
  )
  wishes: collections.Counter[tuple[str, str, str]] = dataclasses.field(
    default_factory=collections.Counter
  )
  bits: collections.Counter[tuple[str, int]] = dataclasses.field(
    default_factory=collections.Counter
  )
  replaced: collections.Counter[str] = dataclasses.field(
    default_factory=collections.Counter
  )
  samples: dict[str, list[Entry]] = dataclasses.field(default_factory=dict)

  def add(self, record: Record) -> None:
    """Counts a record."""
    self.rows[record.config, record.split] += 1
    if isinstance(record, FineGrained):
      self.origins[record.kind, record.origin] += 1
      self._measure(record.kind, record.text)
      self._sample(record.kind, record.text_id, record, NUM_AUDITED)
      return
    self.origins[record.config, record.intention_origin] += 1
    if record.wish_stance:
      sources = "+".join(record.wish_sources)
      self.wishes[record.intention, record.wish_stance, sources] += 1
      self.bits[record.intention, round(10 * record.wish_bits)] += 1
    if record.split == "train":
      self.templates[record.template_id] += 1
      self.histories[len(record.shown_history)] += 1
      self._measure(record.task, record.inputs)
      self._sample(record.task, record.example_id, record, NUM_EXAMPLES)

  def _measure(self, name: str, text: str) -> None:
    self.words[name] += text.count(" ") + 1
    self.counted[name] += 1

  def _sample(
    self, name: str, record_id: str, record: Record, size: int
  ) -> None:
    kept = self.samples.setdefault(name, [])
    _keep_smallest(kept, (-_draw(record_id), record_id, record), size)

  def merge(self, other: "Tally") -> None:
    """Adds the counts and samples of another part of the work."""
    for name in _COUNTERS:
      getattr(self, name).update(getattr(other, name))
    for name, found in other.samples.items():
      size = NUM_AUDITED if name in set(TextKind) else NUM_EXAMPLES
      kept = self.samples.setdefault(name, [])
      for entry in found:
        _keep_smallest(kept, entry, size)

  def sample(self, name: str) -> list[Record]:
    """The sampled records of a task type or kind, in the order drawn."""
    ordered = sorted(self.samples.get(name, []), key=lambda entry: -entry[0])
    return [record for _, _, record in ordered]

  def to_json(self) -> str:
    """The tally as text, for another machine."""
    return json.dumps(
      {
        **{
          name: [[key, n] for key, n in getattr(self, name).items()]
          for name in _COUNTERS
        },
        "samples": {
          name: [
            [draw, key, type(record).__name__, dataclasses.asdict(record)]
            for draw, key, record in found
          ]
          for name, found in self.samples.items()
        },
      }
    )

  @classmethod
  def from_json(cls, text: str) -> "Tally":
    """The tally that `to_json` wrote."""
    data = json.loads(text)
    result = cls()
    for name in _COUNTERS:
      for key, count in data[name]:
        getattr(result, name)[tuple(key) if type(key) is list else key] = count
    for name, found in data["samples"].items():
      result.samples[name] = [
        (draw, key, _record(kind, fields)) for draw, key, kind, fields in found
      ]
    return result


_COUNTERS = (
  "rows",
  "templates",
  "origins",
  "words",
  "counted",
  "histories",
  "wishes",
  "bits",
  "replaced",
)


def _record(kind: str, fields: dict[str, Any]) -> Record:
  found: dict[str, Any] = {
    name: tuple(value) if type(value) is list else value
    for name, value in fields.items()
  }
  return _RECORDS[kind](**found)


def _keep_smallest(kept: list[Entry], entry: Entry, size: int) -> None:
  """Keeps the entries with the smallest draws, the largest one on top."""
  if len(kept) < size:
    heapq.heappush(kept, entry)
  elif entry[:2] > kept[0][:2]:
    heapq.heapreplace(kept, entry)
