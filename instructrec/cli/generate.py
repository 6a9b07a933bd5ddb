"""`instructrec generate`: prepared data in, instructions out."""

import enum
import importlib.util
import os
import pathlib
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
  from instructrec.instructions import chat


class Protocol(enum.StrEnum):
  """What intentions may be made from."""

  stated = "stated"
  strict = "strict"
  paper = "paper"


class DomainName(enum.StrEnum):
  """What the items are, which decides on how people speak of them."""

  films = "films"
  books = "books"
  games = "games"
  music = "music"
  products = "products"


class TeacherName(enum.StrEnum):
  """Who writes preferences and intentions."""

  offline = "offline"
  chat = "chat"


class Runner(enum.StrEnum):
  """What the work runs on."""

  local = "local"
  beam = "beam"


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
    int, typer.Option(help="Pieces of a trained vocabulary, at most.", min=1)
  ] = 2000,
  protocol: Annotated[
    Protocol,
    typer.Option(
      help="stated: a wish says what a person knows of what they want, "
      "attributes of the target but never its title; how much is measured in "
      "bits. strict: nothing of the target in preferences and intentions of "
      "tasks with a user. paper: intentions from the target's review."
    ),
  ] = Protocol.stated,
  domain: Annotated[
    DomainName | None,
    typer.Option(
      help="What the items are: films are watched, books read, products "
      "bought. Found out by source, titles and categories if left out."
    ),
  ] = None,
  max_history: Annotated[
    int,
    typer.Option(help="Longest history in an instruction, in items.", min=1),
  ] = 20,
  seed: Annotated[
    int, typer.Option(help="Of templates and wordings.", min=0)
  ] = 0,
  template_file: Annotated[
    list[pathlib.Path] | None,
    typer.Option(help="YAML of templates, in place of ours; repeat it."),
  ] = None,
  eval_template: Annotated[
    list[str] | None,
    typer.Option(
      help="Template of the validation and test rows; repeat it. Held-out "
      "ones test unseen wordings. One for each task if left out."
    ),
  ] = None,
  runner: Annotated[
    Runner, typer.Option(help="This machine, or Apache Beam ([beam] extra).")
  ] = Runner.local,
  beam_option: Annotated[
    list[str] | None,
    typer.Option(help="Such as --runner=DataflowRunner; repeat it."),
  ] = None,
  num_workers: Annotated[
    int | None,
    typer.Option(
      help="Processes; one a core if left out. The chat teacher has one.", min=1
    ),
  ] = None,
  teacher: Annotated[
    TeacherName,
    typer.Option(
      help="offline: from the data, no network. chat: any OpenAI-compatible "
      "server; the key comes from OPENAI_API_KEY alone ([teacher] extra)."
    ),
  ] = TeacherName.offline,
  teacher_model: Annotated[
    str | None, typer.Option(help="Model of the chat server.")
  ] = None,
  teacher_base_url: Annotated[
    str | None, typer.Option(help="Such as http://127.0.0.1:8000/v1.")
  ] = None,
  teacher_cache: Annotated[
    pathlib.Path, typer.Option(help="SQLite file of the server's replies.")
  ] = pathlib.Path("teacher_cache.sqlite"),
  teacher_concurrency: Annotated[
    int, typer.Option(help="Requests on the way at once.")
  ] = 16,
  teacher_max_tokens: Annotated[
    int | None,
    typer.Option(help="Tokens that a run may use, in and out."),
  ] = None,
  teacher_max_cost: Annotated[
    float | None, typer.Option(help="Money that a run may spend.")
  ] = None,
  teacher_price_in: Annotated[
    float, typer.Option(help="Money per million tokens of prompts.")
  ] = 0.0,
  teacher_price_out: Annotated[
    float, typer.Option(help="Money per million tokens of replies.")
  ] = 0.0,
  overwrite: Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing output.")
  ] = False,
) -> None:
  """Turn requests into instructions: a TFDS data set for SeqIO."""
  chat_config = None
  if teacher is TeacherName.chat:
    from instructrec.instructions import budget, chat

    if teacher_model is None:
      raise ValueError("the chat teacher needs --teacher_model")
    chat_config = chat.ChatConfig(
      model=teacher_model,
      base_url=teacher_base_url,
      cache=str(teacher_cache),
      concurrency=teacher_concurrency,
      budget=budget.Budget(
        max_tokens=teacher_max_tokens,
        max_cost=teacher_max_cost,
        price_in=teacher_price_in,
        price_out=teacher_price_out,
      ),
    )
  run(
    data,
    output,
    vocabulary=vocabulary,
    vocab_size=vocab_size,
    protocol=protocol.value,
    domain=domain.value if domain else None,
    max_history=max_history,
    seed=seed,
    template_files=template_file,
    eval_templates=eval_template,
    beam_options=(beam_option or []) if runner is Runner.beam else None,
    num_workers=num_workers,
    chat_config=chat_config,
    overwrite=overwrite,
  )


def run(
  data: pathlib.Path,
  output: pathlib.Path,
  *,
  vocabulary: pathlib.Path | None = None,
  vocab_size: int = 2000,
  protocol: str = "stated",
  domain: str | None = None,
  max_history: int = 20,
  seed: int = 0,
  template_files: list[pathlib.Path] | None = None,
  eval_templates: list[str] | None = None,
  beam_options: list[str] | None = None,
  num_workers: int | None = None,
  chat_config: "chat.ChatConfig | None" = None,
  overwrite: bool = False,
) -> None:
  """Generates; the function behind the command and the quickstart.

  Args:
    data: the folder that `prepare` wrote.
    output: the TFDS data folder to make.
    vocabulary: a SentencePiece model, or None to train one.
    vocab_size: pieces of a trained vocabulary, at most.
    protocol: "stated", "strict" or "paper".
    domain: what the items are, such as "films"; None finds out.
    max_history: longest history, in items.
    seed: of templates and wordings.
    template_files: YAML files in place of the package's.
    eval_templates: templates of validation and test rows, by id; None for
      those of `plans.EVAL_TEMPLATES`.
    beam_options: options of Apache Beam; None to run on this machine.
    num_workers: processes; None for one a core.
    chat_config: the chat teacher's settings; None for the offline teacher.
    overwrite: whether an existing output is replaced.

  Raises:
    InUseError: where another process makes the output.
    ValueError: where the chat teacher is to work in several processes, or
      Beam is not installed.
  """
  from instructrec import folder_lock
  from instructrec.instructions import card, plans, units
  from instructrec.pipelines import generate as pipeline

  several = beam_options is not None or (num_workers or 1) > 1
  if chat_config is not None and several:
    raise ValueError(
      "the chat teacher works in one process: it watches the budget, keeps "
      "the cache and has --teacher_concurrency requests on the way at once; "
      "leave out --runner=beam and --num_workers"
    )
  spec = units.Spec(
    prepared_dir=str(data),
    seed=seed,
    protocol=cast(plans.Protocol, protocol),
    domain=domain,
    max_history=max_history,
    chat=chat_config,
    template_files=tuple(map(str, template_files)) if template_files else None,
    eval_templates=tuple(eval_templates or plans.EVAL_TEMPLATES),
  )
  if beam_options is not None:
    if importlib.util.find_spec("apache_beam") is None:
      raise ValueError(
        "--runner=beam needs Apache Beam: pip install 'instructrec[beam]'"
      )
    from instructrec.pipelines import beam_generate

    produce = beam_generate.produce(beam_options)
  elif chat_config is not None:
    produce = pipeline.with_estimate(pipeline.produce_locally(1), typer.echo)
  else:
    workers = num_workers or os.cpu_count() or 1
    produce = pipeline.produce_locally(workers)
  with folder_lock.beside(output, "generate", typer.echo):
    manifest = pipeline.write(
      spec,
      output,
      produce=produce,
      vocabulary=vocabulary,
      vocab_size=vocab_size,
      overwrite=overwrite,
    )
  for name, splits in manifest["rows"].items():
    counts = ", ".join(f"{n:,} {split}" for split, n in splits.items())
    typer.echo(f"{name}: {counts}")
  texts = sum(manifest["rows"]["fine_grained"].values())
  found = manifest["vocabulary"]
  unknown = card.unknown_tokens(found, manifest["items"]["count"])
  typer.echo(
    f"{texts:,} fine-grained instructions, vocabulary of {found['size']:,} ids "
    f"({found['origin']}): {unknown}"
  )
  if found["titles_with_unknown"]:
    typer.echo(
      "note: a model reads all unknown tokens alike; leave out --vocabulary to "
      "have one trained, which knows every character"
    )
  typer.echo(
    f"written to {output}; read {output / pipeline.CARD}; fingerprint "
    f"{manifest['fingerprint'][:23]}"
  )
