"""Generation on Apache Beam, for logs that outgrow one machine.

The same units as the local path; each shard's records are gathered, put in
order and written by one worker, so that the files are the same bytes.
"""

import dataclasses
import functools
import json
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options import pipeline_options

from instructrec.instructions import generate as instruction_generate
from instructrec.instructions import tally, units
from instructrec.models import tokenizer
from instructrec.pipelines import generate, resumption, tfds_writer

ShardKey = tuple[str, str, int]
"""Config, split and number of a shard."""
_SHARDS, _COUNTED, _TEXTS = "shards", "counted", "texts"
_WHOLE = "whole"
"""The one part of a run on Beam, which goes on by its runner's own means."""


class _Work(beam.DoFn):
  """Unit -> records by shard, and the unit's counts."""

  def __init__(self, spec: units.Spec) -> None:
    self._spec = spec

  def setup(self) -> None:
    self._generator = self._spec.generator()

  def process(self, unit: units.Unit) -> Iterator[Any]:
    result = units.work(self._generator, unit)
    grouped: dict[str, list[bytes]] = {}
    for config, record in result.records:
      grouped.setdefault(config, []).append(record)
    for config, records in grouped.items():
      yield (config, unit.split, unit.shard), (unit.start, records)
    yield beam.pvalue.TaggedOutput(_COUNTED, result.tally)
    if result.texts:
      yield beam.pvalue.TaggedOutput(_TEXTS, (unit.start, result.texts))


def _write_shard(
  element: tuple[ShardKey, Iterable[tuple[int, list[bytes]]]], *, root: str
) -> tfds_writer.Shard:
  key, parts = element
  ordered = sorted(parts, key=lambda part: part[0])
  records = (record for _, found in ordered for record in found)
  return tfds_writer.write_shard(root, *key, records)


class _Sum(beam.CombineFn):
  """The sum of tallies."""

  def create_accumulator(self) -> tally.Tally:
    return tally.Tally()

  def add_input(
    self, accumulator: tally.Tally, element: tally.Tally
  ) -> tally.Tally:
    accumulator.merge(element)
    return accumulator

  def merge_accumulators(
    self, accumulators: Iterable[tally.Tally]
  ) -> tally.Tally:
    result = tally.Tally()
    for found in accumulators:
      result.merge(found)
    return result

  def extract_output(self, accumulator: tally.Tally) -> str:
    return accumulator.to_json()


def _keep(text: str, *, path: str) -> None:
  pathlib.Path(path).write_text(text)


def _as_json(elements: Iterable[Any]) -> str:
  return json.dumps(sorted(elements, key=str))


def _add_steps(
  pipeline: beam.Pipeline,
  spec: units.Spec,
  wanted: Sequence[units.Unit],
  root: pathlib.Path,
  kept: pathlib.Path,
) -> None:
  """From units to shards; what is counted goes into files of `kept`."""
  made = (
    pipeline
    | "units" >> beam.Create(wanted)
    | "spread" >> beam.Reshuffle()
    | "work"
    >> beam.ParDo(_Work(spec)).with_outputs(_COUNTED, _TEXTS, main="records")
  )
  shards = (
    made.records
    | "by shard" >> beam.GroupByKey()
    | "write" >> beam.Map(functools.partial(_write_shard, root=str(root)))
    | "as lists" >> beam.Map(dataclasses.astuple)
    | "all shards" >> beam.combiners.ToList()
    | "shards as text" >> beam.Map(_as_json)
  )
  counted = made[_COUNTED] | "sum" >> beam.CombineGlobally(_Sum())
  texts = (
    made[_TEXTS]
    | "all texts" >> beam.combiners.ToList()
    | "texts as text" >> beam.Map(json.dumps)
  )
  for name, found in (
    (_SHARDS, shards),
    (_COUNTED, counted),
    (_TEXTS, texts),
  ):
    path = str(kept / name)
    _ = found | f"keep {name}" >> beam.Map(functools.partial(_keep, path=path))


def _read_kept(
  kept: pathlib.Path,
) -> tuple[list[tfds_writer.Shard], tally.Tally, list[str]]:
  """The shards, what was counted, and the texts, in the order of requests."""
  shards = [
    tfds_writer.Shard(*fields)
    for fields in json.loads((kept / _SHARDS).read_text())
  ]
  texts = [
    text
    for _, found in sorted(json.loads((kept / _TEXTS).read_text()))
    for text in found
  ]
  return shards, tally.Tally.from_json((kept / _COUNTED).read_text()), texts


def produce(options: Sequence[str]) -> generate.Produce:
  """Makes the shards on Beam.

  Args:
    options: Beam's options, such as "--runner=DataflowRunner". The prepared
      data and the output must be where all workers see them.

  Returns:
    The function that makes them.
  """

  def on_beam(
    spec: units.Spec,
    generator: instruction_generate.Generator,
    unfinished: resumption.Unfinished,
  ) -> resumption.Part:
    if (done := unfinished.load(_WHOLE)) is not None:
      return done
    root = unfinished.root
    wanted = units.units(generator.prepared.requests.counts)
    # What is counted comes back in files: a pipeline has no other way to its
    # caller that every runner offers.
    kept = unfinished.folder / "beam"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    with beam.Pipeline(
      options=pipeline_options.PipelineOptions(list(options))
    ) as pipeline:
      _add_steps(pipeline, spec, wanted, root, kept)
    shards, counted, texts = _read_kept(kept)
    shutil.rmtree(kept)
    part = resumption.Part(shards, counted, list(tokenizer.first(texts)))
    unfinished.save(_WHOLE, part)
    return part

  return on_beam
