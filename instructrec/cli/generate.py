"""`instructrec generate`: prepared data in, instructions out."""

import enum
import pathlib
from typing import Annotated, cast

import typer


class Protocol(enum.StrEnum):
  """What vague intentions may be made from."""

  strict = "strict"
  paper = "paper"


def generate(
  data: Annotated[
    pathlib.Path, typer.Option(help="Folder that `prepare` wrote.")
  ],
  output: Annotated[
    pathlib.Path,
    typer.Option(help="TFDS data folder to make (pass it as tfds_data_dir)."),
  ],
  vocabulary: Annotated[
    pathlib.Path | None,
    typer.Option(
      help="SentencePiece model, e.g. T5's; trained on the data if left out."
    ),
  ] = None,
  vocab_size: Annotated[
    int, typer.Option(help="Pieces of a trained vocabulary, at most.")
  ] = 2000,
  protocol: Annotated[
    Protocol,
    typer.Option(
      help="strict: nothing of the target in preferences and intentions of "
      "tasks with a user. paper: intentions from the target's review."
    ),
  ] = Protocol.strict,
  max_history: Annotated[
    int, typer.Option(help="Longest history in an instruction, in items.")
  ] = 20,
  seed: Annotated[int, typer.Option(help="Of templates and wordings.")] = 0,
  overwrite: Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing output.")
  ] = False,
) -> None:
  """Turn requests into instructions: a TFDS data set for SeqIO."""
  run(
    data,
    output,
    vocabulary=vocabulary,
    vocab_size=vocab_size,
    protocol=protocol.value,
    max_history=max_history,
    seed=seed,
    overwrite=overwrite,
  )


def run(
  data: pathlib.Path,
  output: pathlib.Path,
  *,
  vocabulary: pathlib.Path | None = None,
  vocab_size: int = 2000,
  protocol: str = "strict",
  max_history: int = 20,
  seed: int = 0,
  overwrite: bool = False,
) -> None:
  """Generates; the function behind the command and the quickstart.

  Args:
    data: the folder that `prepare` wrote.
    output: the TFDS data folder to make.
    vocabulary: a SentencePiece model, or None to train one.
    vocab_size: pieces of a trained vocabulary, at most.
    protocol: "strict" or "paper".
    max_history: longest history, in items.
    seed: of templates and wordings.
    overwrite: whether an existing output is replaced.
  """
  from instructrec import progress
  from instructrec.data import dataset
  from instructrec.instructions import generate as instruction_generate
  from instructrec.instructions import offline, templates
  from instructrec.pipelines import generate as pipeline

  prepared = dataset.load(data)
  teacher = offline.OfflineTeacher(prepared.catalog)
  template_set = templates.load()
  generator = instruction_generate.Generator(
    prepared,
    teacher,
    template_set,
    seed=seed,
    protocol=cast(instruction_generate.Protocol, protocol),
    max_history=max_history,
  )
  total = prepared.split.requests.height * len(generator.tasks)
  manifest = pipeline.write(
    progress.track(generator.rows(), "generate", total=total),
    output,
    vocabulary=vocabulary,
    vocab_size=vocab_size,
    overwrite=overwrite,
    record={
      "prepared_dir": str(data.absolute()),
      "prepared_fingerprint": prepared.fingerprint,
      "teacher": {"name": teacher.name, "version": teacher.version},
      "protocol": protocol,
      "max_history": max_history,
      "seed": seed,
    },
  )
  for task, splits in manifest["rows"].items():
    counts = ", ".join(f"{n:,} {split}" for split, n in splits.items())
    typer.echo(f"{task}: {counts}")
  typer.echo(
    f"intentions made from: {manifest['intention_origins']}\n"
    f"vocabulary: {manifest['vocabulary']['size']:,} ids "
    f"({manifest['vocabulary']['origin']})\n"
    f"written to {output}; fingerprint {manifest['fingerprint'][:23]}"
  )
