"""Prepared logs -> instructions on disk: TFDS data set, vocabulary, manifest.

The folder that comes out is a TFDS data folder:
`instructrec/<task type>/1.0.0/`, `vocabulary/sentencepiece.model` and
`manifest.json` (counts, origins, seeds, fingerprints).
"""

import collections
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

from instructrec.instructions import format as instruction_format
from instructrec.models import tokenizer
from instructrec.pipelines import tfds_writer

MANIFEST = "manifest.json"
VOCABULARY = pathlib.Path("vocabulary") / "sentencepiece.model"
_VOCABULARY_ROWS = 20_000


@dataclasses.dataclass
class _Tally:
  """Counts the rows that pass, and keeps texts to train a vocabulary on."""

  by_template: collections.Counter
  by_origin: collections.Counter
  texts: list[str]
  keep_texts: bool

  def watch(
    self, rows: Iterable[instruction_format.Instruction]
  ) -> Iterator[instruction_format.Instruction]:
    for row in rows:
      self.by_template[row.template_id] += 1
      self.by_origin[row.intention_origin] += 1
      # Training rows alone: what validation and test say must stay unseen.
      if (
        self.keep_texts
        and row.split == "train"
        and len(self.texts) < 2 * _VOCABULARY_ROWS
      ):
        self.texts += (row.inputs, row.targets)
      yield row


def write(
  rows: Iterable[instruction_format.Instruction],
  output: str | os.PathLike[str],
  *,
  vocabulary: str | os.PathLike[str] | None = None,
  vocab_size: int = 2000,
  record: dict[str, Any],
  overwrite: bool = False,
) -> dict[str, Any]:
  """Writes rows, the vocabulary and the manifest; complete or not at all.

  Args:
    rows: the instructions.
    output: the TFDS data folder to make.
    vocabulary: a SentencePiece model to use; None trains one on the training
      rows.
    vocab_size: pieces of a trained vocabulary, at most.
    record: what the manifest says of how the rows were made.
    overwrite: whether an existing folder is replaced.

  Returns:
    The manifest.

  Raises:
    FileExistsError: where `output` exists and is not to be replaced.
    ValueError: where there are no rows.
  """
  output = pathlib.Path(output).absolute()
  if output.exists() and not overwrite:
    raise FileExistsError(
      f"{output} exists; choose another --output, or pass --overwrite"
    )
  if vocabulary is not None:
    tokenizer.Tokenizer(vocabulary)  # Fails early on a file that is no model.
  temporary = output.with_name(f"{output.name}.incomplete")
  shutil.rmtree(temporary, ignore_errors=True)
  (temporary / VOCABULARY.parent).mkdir(parents=True)
  tally = _Tally(
    collections.Counter(), collections.Counter(), [], vocabulary is None
  )
  with tfds_writer.InstructionWriter(
    temporary, description="InstructRec instructions; see manifest.json."
  ) as writer:
    for row in tally.watch(rows):
      writer.write(row)
  if not tally.by_template:
    raise ValueError("there were no requests to write instructions for")
  if vocabulary is None:
    tokenizer.train(tally.texts, temporary / VOCABULARY, vocab_size=vocab_size)
  else:
    shutil.copyfile(vocabulary, temporary / VOCABULARY)
  manifest = {
    "format_version": 1,
    **record,
    "rows": writer.counts(),
    "templates": dict(sorted(tally.by_template.items())),
    "intention_origins": dict(sorted(tally.by_origin.items())),
    "vocabulary": {
      "origin": "trained" if vocabulary is None else str(vocabulary),
      "fingerprint": tokenizer.fingerprint(temporary / VOCABULARY),
      "size": tokenizer.Tokenizer(temporary / VOCABULARY).vocab_size,
    },
    "fingerprint": writer.fingerprint(),
  }
  (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
  if output.exists():
    replaced = output.with_name(f"{output.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    output.rename(replaced)
    temporary.rename(output)
    shutil.rmtree(replaced)
  else:
    temporary.rename(output)
  return manifest
