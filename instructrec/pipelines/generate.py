"""Prepared logs -> instructions on disk: TFDS data set, vocabulary, manifest.

The folder that comes out is a TFDS data folder:
`instructrec/<config>/1.0.0/`, `vocabulary/sentencepiece.model`,
`items.parquet` (titles and how often each item was taken in training),
`manifest.json` (counts, origins, seeds, fingerprints), `card.md` (the data
card) and `audit.csv` (a sheet for people).
"""

import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import polars as pl

from instructrec import foreign_text, output_folder, progress
from instructrec.instructions import (
  card,
  chat,
  generate,
  instruction_folder,
  tally,
  units,
  wish_card,
)
from instructrec.models import tokenizer
from instructrec.pipelines import tfds_writer
from instructrec.training import item_table

MANIFEST, VOCABULARY = (
  instruction_folder.MANIFEST,
  instruction_folder.VOCABULARY,
)
CARD = "card.md"
AUDIT = "audit.csv"

Produced = tuple[list[tfds_writer.Shard], tally.Tally, list[str]]
"""Shards, counts, and texts to train a vocabulary on."""
Produce = Callable[[units.Spec, generate.Generator, pathlib.Path], Produced]


def produce_locally(num_workers: int) -> Produce:
  """Makes the shards on this machine.

  Args:
    num_workers: processes.

  Returns:
    The function that makes them; memory does not grow with the data.
  """

  def produce(
    spec: units.Spec, generator: generate.Generator, root: pathlib.Path
  ) -> Produced:
    counts = generator.prepared.requests.counts
    wanted = units.units(counts)
    counted, texts = tally.Tally(), list[str]()

    def results() -> Iterator[units.Result]:
      with progress.Progress(
        sum(counts.values()), "generate", unit="request"
      ) as line:
        for result in units.run(spec, wanted, num_workers, generator=generator):
          counted.merge(result.tally)
          texts.extend(result.texts)
          yield result
          line.advance(result.unit.stop - result.unit.start)

    shards = _write(results(), root)
    return shards, counted, texts

  return produce


def with_estimate(produce: Produce, tell: Callable[[str], None]) -> Produce:
  """Says what a chat teacher will take before it is asked anything.

  Args:
    produce: makes the shards, in this process.
    tell: shows a line.

  Returns:
    The function that makes them. It raises `BudgetExceededError`, before the
    first request, where the estimate exceeds the budget.
  """

  def produce_within_budget(
    spec: units.Spec, generator: generate.Generator, root: pathlib.Path
  ) -> Produced:
    teacher = generator.teacher
    if not isinstance(teacher, chat.ChatTeacher):
      raise ValueError(f"teacher {teacher.name} costs nothing to estimate")
    batches = progress.track(
      generator.text_requests(),
      "estimate",
      total=len(units.units(generator.prepared.requests.counts)),
      unit="batch",
    )
    estimate = teacher.estimate(batches)
    budget = teacher.config.budget
    tell(
      f"estimate: {estimate.calls:,} calls ({estimate.cached:,} more texts are "
      f"in the cache), about {budget.describe(estimate.tokens)}"
    )
    budget.check(estimate)
    try:
      with progress.Progress(estimate.calls, "ask", unit="call") as line:
        teacher.on_reply = line.advance
        return produce(spec, generator, root)
    finally:
      tell(f"used: {budget.describe(teacher.used)}")

  return produce_within_budget


def _write(
  results: Iterable[units.Result], root: pathlib.Path
) -> list[tfds_writer.Shard]:
  """Writes results, which come in order, to their shards."""
  shards: list[tfds_writer.Shard] = []
  current: tuple[str, int] | None = None
  open_writers: dict[str, tfds_writer.ShardWriter] = {}

  def close() -> None:
    for writer in open_writers.values():
      writer.__exit__()
      shards.append(writer.shard)
    open_writers.clear()

  for result in results:
    place = (result.unit.split, result.unit.shard)
    if place != current:
      close()
      current = place
    for config, record in result.records:
      writer = open_writers.get(config)
      if writer is None:
        writer = tfds_writer.ShardWriter(root, config, *place)
        open_writers[config] = writer
      writer.write(record)
  close()
  return shards


def write(
  spec: units.Spec,
  output: str | os.PathLike[str],
  *,
  produce: Produce,
  vocabulary: str | os.PathLike[str] | None = None,
  vocab_size: int = 2000,
  overwrite: bool = False,
) -> dict[str, Any]:
  """Writes a data set with all that belongs to it; complete or not at all.

  Args:
    spec: how instructions are made.
    output: the TFDS data folder to make.
    produce: makes the shards, here or elsewhere.
    vocabulary: a SentencePiece model to use; None trains one on training
      rows.
    vocab_size: pieces of a trained vocabulary, at most.
    overwrite: whether an existing folder is replaced.

  Returns:
    The manifest.

  Raises:
    FileExistsError: where `output` exists and is not to be replaced, or holds
      something else.
    ValueError: where there are no requests.
  """
  output = pathlib.Path(output).absolute()
  output_folder.check(output, overwrite=overwrite, marker=CARD)
  if vocabulary is not None:
    tokenizer.Tokenizer(vocabulary)  # Fails early on a file that is no model.
  generator = spec.generator()
  if not len(generator.prepared.requests):
    raise ValueError("there were no requests to write instructions for")
  temporary = output.with_name(f"{output.name}.incomplete")
  tfds_writer.clear(temporary)
  (temporary / VOCABULARY.parent).mkdir(parents=True)
  root = temporary / tfds_writer.NAME
  shards, counted, texts = produce(spec, generator, root)
  fingerprint = tfds_writer.finish(
    root, shards, description="InstructRec instructions; see card.md."
  )
  if vocabulary is None:
    # Training rows alone: what validation and test say must stay unseen. The
    # titles of a catalogue are known before anybody takes one.
    tokenizer.train(
      itertools.chain(generator.prepared.catalog.titles, texts),
      temporary / VOCABULARY,
      vocab_size=vocab_size,
    )
  else:
    shutil.copyfile(vocabulary, temporary / VOCABULARY)
  manifest = _manifest(
    spec, generator, counted, fingerprint, temporary / VOCABULARY, vocabulary
  )
  items = _items(generator)
  manifest["items"] = {
    "count": items.height,
    "fingerprint": item_table.save(
      temporary, items, histories=counted.histories
    ),
  }
  (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
  page = card.markdown(manifest, counted, generator)
  (temporary / CARD).write_text(foreign_text.printable(page), encoding="utf-8")
  card.write_audit(temporary / AUDIT, counted, generator)
  output_folder.publish(temporary, output)
  return manifest


def _items(generator: generate.Generator) -> pl.DataFrame:
  """The catalogue, with how often each item was taken in training."""
  prepared = generator.prepared
  counts = prepared.training.group_by("item_id").agg(
    pl.len().cast(pl.Int64).alias("count")
  )
  return (
    prepared.catalog.frame.lazy()
    .join(counts, on="item_id", how="left", maintain_order="left")
    .with_columns(pl.col("count").fill_null(0))
    .select("item_id", "title", "count", "categories", "brand", "price")
    .collect()
  )


def _manifest(
  spec: units.Spec,
  generator: generate.Generator,
  counted: tally.Tally,
  fingerprint: str,
  model: pathlib.Path,
  vocabulary: str | os.PathLike[str] | None,
) -> dict[str, Any]:
  rows: dict[str, dict[str, int]] = {}
  for (config, split), count in sorted(counted.rows.items()):
    rows.setdefault(config, {})[split] = count
  origins: dict[str, dict[str, int]] = {}
  for (name, origin), count in sorted(counted.origins.items()):
    origins.setdefault(name, {})[origin] = count
  return {
    "format_version": instruction_folder.FORMAT_VERSION,
    "prepared_dir": str(pathlib.Path(spec.prepared_dir).absolute()),
    "prepared_fingerprint": generator.prepared.fingerprint,
    "source": generator.prepared.manifest["source"],
    "teacher": {
      "name": generator.teacher.name,
      "version": generator.teacher.version,
      "replaced_by_offline": dict(sorted(counted.replaced.items())),
    },
    "protocol": spec.protocol,
    "domain": generator.resolved_domain.value,
    "max_history": spec.max_history,
    "eval_templates": list(spec.eval_templates),
    "seed": spec.seed,
    "rows": rows,
    "templates": dict(sorted(counted.templates.items())),
    "origins": origins,
    "wishes": wish_card.summary(counted),
    "vocabulary": {
      "origin": "trained" if vocabulary is None else str(vocabulary),
      "fingerprint": tokenizer.fingerprint(model),
      "size": tokenizer.Tokenizer(model).vocab_size,
    },
    "fingerprint": fingerprint,
  }
