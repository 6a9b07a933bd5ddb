"""Prepared logs -> instructions on disk: TFDS data set, vocabulary, manifest.

The folder that comes out is a TFDS data folder:
`instructrec/<config>/1.0.0/`, `vocabulary/sentencepiece.model`,
`items.parquet` (titles and how often each item was taken in training),
`manifest.json` (counts, origins, seeds, fingerprints), `card.md` (the data
card), `audit.csv` (a sheet for people), and the `SHA256SUMS` of all but that.
"""

import concurrent.futures
import contextlib
import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import polars as pl

from instructrec import (
  foreign_text,
  output_folder,
  progress,
  recorded_folder,
)
from instructrec.instructions import (
  card,
  chat,
  generate,
  tally,
  units,
  wish_card,
)
from instructrec.models import tokenizer
from instructrec.pipelines import resumption, tfds_writer, title_fit
from instructrec.training import item_table

MANIFEST = "manifest.json"
CARD = "card.md"
AUDIT = "audit.csv"
VOCABULARY = pathlib.Path("vocabulary") / "sentencepiece.model"

Produce = Callable[
  [units.Spec, generate.Generator, resumption.Unfinished],
  resumption.Part,
]
"""Makes all shards, or those that an earlier start has not."""
_Place = tuple[str, int]
"""Split and number of shards that hold the records of the same requests."""


def produce_locally(num_workers: int | None = None) -> Produce:
  """Makes the shards on this machine.

  Args:
    num_workers: processes; None for one a core, as far as there is a unit of
      requests for each: to start one takes about as long as to make a unit.

  Returns:
    The function that makes them; memory does not grow with the data.
  """

  def produce(
    spec: units.Spec,
    generator: generate.Generator,
    unfinished: resumption.Unfinished,
  ) -> resumption.Part:
    counts = generator.prepared.requests.counts
    wanted: dict[_Place, list[units.Unit]] = {}
    for unit in units.units(counts):
      wanted.setdefault((unit.split, unit.shard), []).append(unit)
    done: dict[_Place, resumption.Part] = {}
    for place in wanted:
      if (part := unfinished.load(_name(place))) is not None:
        done[place] = part
    rest = [
      unit
      for place, found in wanted.items()
      if place not in done
      for unit in found
    ]
    total = sum(counts.values())
    left = sum(unit.stop - unit.start for unit in rest)
    with progress.Progress(
      total, "generate", unit="requests", initial=total - left
    ) as line:
      worth = min(os.cpu_count() or 1, -(-left // generate.CHUNK))
      workers = num_workers or worth
      results = units.run(spec, rest, workers, generator=generator)
      for place, group in itertools.groupby(
        results, key=lambda result: (result.unit.split, result.unit.shard)
      ):
        done[place] = _write(group, unfinished.root, place, line)
        unfinished.save(_name(place), done[place])
    return _joined(done[place] for place in wanted)

  return produce


def _name(place: _Place) -> str:
  return f"{place[0]}-{place[1]:05d}"


def _joined(parts: Iterable[resumption.Part]) -> resumption.Part:
  whole = resumption.Part([], tally.Tally(), [])
  for part in parts:
    whole.shards.extend(part.shards)
    whole.tally.merge(part.tally)
    whole.texts.extend(part.texts)
  return whole


def _write(
  results: Iterable[units.Result],
  root: pathlib.Path,
  place: _Place,
  line: progress.Progress,
) -> resumption.Part:
  """Writes the results of one place, which come in order, to its shards."""
  writers: dict[str, tfds_writer.ShardWriter] = {}
  counted, texts = tally.Tally(), list[str]()
  with contextlib.ExitStack() as stack:
    for result in results:
      for config, record in result.records:
        if config not in writers:
          writer = tfds_writer.ShardWriter(root, config, *place)
          writers[config] = stack.enter_context(writer)
        writers[config].write(record)
      counted.merge(result.tally)
      texts.extend(result.texts)
      line.advance(result.unit.stop - result.unit.start)
  shards = [writer.shard for writer in writers.values()]
  return resumption.Part(shards, counted, list(tokenizer.first(texts)))


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
    spec: units.Spec,
    generator: generate.Generator,
    unfinished: resumption.Unfinished,
  ) -> resumption.Part:
    teacher = generator.teacher
    if not isinstance(teacher, chat.ChatTeacher):
      raise ValueError(f"teacher {teacher.name} costs nothing to estimate")
    batches = progress.track(
      generator.text_requests(),
      "estimate",
      total=len(units.units(generator.prepared.requests.counts)),
      unit="batches",
    )
    estimate = teacher.estimate(batches)
    budget = teacher.config.budget
    tell(
      f"estimate: {estimate.calls:,} calls ({estimate.cached:,} more texts are "
      f"in the cache), about {budget.describe(estimate.tokens)}"
    )
    budget.check(estimate)
    try:
      with progress.Progress(estimate.calls, "ask", unit="calls") as line:
        teacher.on_reply = line.advance
        return produce(spec, generator, unfinished)
    finally:
      tell(f"used: {budget.describe(teacher.used)}")

  return produce_within_budget


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

  What a start that was stopped has finished is not made again; see
  `resumption.py`.

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
    OSError: also where the disk is full; what is finished is kept.
    ValueError: where there are no requests, or the vocabulary cannot tell
      titles apart.
  """
  output = pathlib.Path(output).resolve()
  output_folder.check(output, overwrite=overwrite, marker=CARD)
  generator = spec.generator()
  items = generator.prepared.catalog
  if vocabulary is not None:
    # Fails early on a file that is no model, or that does not fit.
    own = tokenizer.Tokenizer(vocabulary)
    title_fit.TitleFit.of(items.titles, own).check(items, vocabulary)
  if not len(generator.prepared.requests):
    raise ValueError("there were no requests to write instructions for")
  key = resumption.key(spec, generator)
  unfinished = resumption.Unfinished(output, key)
  whole = produce(spec, generator, unfinished)
  if vocabulary is None:
    _train_vocabulary(unfinished, items.titles, whole.texts, vocab_size)
  with output_folder.making(
    output, overwrite=overwrite, marker=CARD, for_people=[AUDIT]
  ) as temporary:
    manifest = _fill(
      temporary, spec, generator, unfinished, whole, vocabulary, output
    )
    # Before the output has its name: a kill after that leaves nothing, as the
    # next start is refused and looks no further.
    unfinished.remove()
  return manifest


def _fill(
  temporary: pathlib.Path,
  spec: units.Spec,
  generator: generate.Generator,
  unfinished: resumption.Unfinished,
  whole: resumption.Part,
  vocabulary: str | os.PathLike[str] | None,
  output: pathlib.Path,
) -> dict[str, Any]:
  """Puts a data set together in a new folder; returns its manifest."""
  (temporary / VOCABULARY.parent).mkdir(parents=True)
  shutil.copyfile(vocabulary or unfinished.vocabulary, temporary / VOCABULARY)
  manifest = _manifest(
    spec, generator, whole, temporary / VOCABULARY, vocabulary, output
  )
  items = _items(generator)
  manifest["items"] = {
    "count": items.height,
    "fingerprint": item_table.save(
      temporary, items, histories=whole.tally.histories
    ),
  }
  (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
  page = card.markdown(manifest, whole.tally, generator)
  (temporary / CARD).write_text(foreign_text.printable(page), encoding="utf-8")
  card.write_audit(temporary / AUDIT, whole.tally, generator)
  # Last, for shards that are moved are no longer where a next start looks.
  tfds_writer.finish(
    unfinished.root,
    whole.shards,
    temporary / tfds_writer.NAME,
    description="InstructRec instructions; see card.md.",
  )
  return manifest


def _train_vocabulary(
  unfinished: resumption.Unfinished,
  titles: Sequence[str],
  texts: Sequence[str],
  size: int,
) -> None:
  """Trains a vocabulary, unless an earlier start has.

  On training rows alone: what validation and test say must stay unseen. The
  titles of a catalogue are known before anybody takes one.
  """
  if unfinished.has_vocabulary(size):
    return
  path = unfinished.vocabulary.with_suffix(".tmp")
  sample = tokenizer.sample(titles, texts)
  label = f"train a vocabulary on {sum(map(len, sample)):,} characters"
  # SentencePiece tells nothing of how far it is: seconds show that it works.
  with (
    progress.Progress(None, label, unit="s") as line,
    concurrent.futures.ThreadPoolExecutor(1) as pool,
  ):
    training = pool.submit(tokenizer.train, sample, path, vocab_size=size)
    while not concurrent.futures.wait([training], timeout=1).done:
      line.advance()
    training.result()
  unfinished.keep_vocabulary(path, size)


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
    .select(
      pl.col("item_id", "title", "count", "categories", "brand", "price"),
      pl.col("^year$"),
    )
    .collect()
  )


def _manifest(
  spec: units.Spec,
  generator: generate.Generator,
  whole: resumption.Part,
  model: pathlib.Path,
  vocabulary: str | os.PathLike[str] | None,
  output: pathlib.Path,
) -> dict[str, Any]:
  counted, items = whole.tally, generator.prepared.catalog
  own = tokenizer.Tokenizer(model)
  fit = title_fit.TitleFit.of(items.titles, own)
  fit.check(items, vocabulary)
  rows: dict[str, dict[str, int]] = {}
  for (config, split), count in sorted(counted.rows.items()):
    rows.setdefault(config, {})[split] = count
  origins: dict[str, dict[str, int]] = {}
  for (name, origin), count in sorted(counted.origins.items()):
    origins.setdefault(name, {})[origin] = count
  return {
    "format_version": 4,
    **recorded_folder.record("prepared_dir", spec.prepared_dir, output),
    "prepared_fingerprint": generator.prepared.fingerprint,
    "source": generator.prepared.manifest["source"],
    "catalog": generator.prepared.manifest.get("catalog", {}),
    "teacher": {
      "name": generator.teacher.name,
      "version": generator.teacher.version,
      "replaced_by_offline": dict(sorted(counted.replaced.items())),
    },
    "protocol": spec.protocol,
    "domain": generator.resolved_domain.value,
    "max_history": spec.max_history,
    "kinds": list(spec.kinds),
    "control": generator.control and generator.control.facts,
    "eval_templates": list(spec.eval_templates),
    "seed": spec.seed,
    "rows": rows,
    "templates": dict(sorted(counted.templates.items())),
    "origins": origins,
    "wishes": wish_card.summary(counted),
    "vocabulary": {
      "origin": "trained" if vocabulary is None else str(vocabulary),
      "fingerprint": tokenizer.fingerprint(model),
      "size": own.vocab_size,
      **fit.summary(),
    },
    "fingerprint": tfds_writer.fingerprint(whole.shards),
  }
