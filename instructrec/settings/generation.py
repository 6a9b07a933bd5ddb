"""What `instructrec generate` is told."""

import dataclasses
import enum
import pathlib
from typing import Annotated

from instructrec.settings import option
from instructrec.settings.option import Option

_Path = pathlib.Path
_TEACHER_CACHE = _Path("teacher_cache.sqlite")


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


class InstructionKind(enum.StrEnum):
  """Whose instructions are written."""

  instructrec = "instructrec"
  genrec = "genrec"
  control = "control"


class AttributeName(enum.StrEnum):
  """What control tasks ask for."""

  category = "category"
  brand = "brand"
  price = "price"
  decade = "decade"
  keyphrase = "keyphrase"


class TeacherName(enum.StrEnum):
  """Who writes preferences and intentions."""

  offline = "offline"
  chat = "chat"


class Runner(enum.StrEnum):
  """What the work runs on."""

  local = "local"
  beam = "beam"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TeacherSettings:
  """Who writes preferences and intentions, and what that may cost.

  Raises:
    ValueError: where a chat teacher has no model, or another one has.
  """

  teacher: Annotated[
    TeacherName,
    Option(
      "offline: from the data, no network. chat: any OpenAI-compatible server; "
      "the key comes from OPENAI_API_KEY alone ([teacher] extra)."
    ),
  ] = TeacherName.offline
  teacher_model: Annotated[str | None, Option("Model of the chat server.")] = (
    None
  )
  teacher_base_url: Annotated[
    str | None,
    Option("Such as http://127.0.0.1:8000/v1."),
    # It may name a user and a password.
  ] = dataclasses.field(default=None, repr=False)
  teacher_cache: Annotated[
    _Path, Option("SQLite file of the server's replies.")
  ] = _TEACHER_CACHE
  teacher_concurrency: Annotated[
    int, Option("Requests on the way at once.")
  ] = 16
  teacher_max_tokens: Annotated[
    int | None, Option("Tokens that a run may use, in and out.")
  ] = None
  teacher_max_cost: Annotated[
    float | None, Option("Money that a run may spend.")
  ] = None
  teacher_price_in: Annotated[
    float, Option("Money per million tokens of prompts.")
  ] = 0.0
  teacher_price_out: Annotated[
    float, Option("Money per million tokens of replies.")
  ] = 0.0

  def __post_init__(self) -> None:
    """Checks that a chat teacher, and no other, has a model."""
    if self.teacher == TeacherName.chat and self.teacher_model is None:
      raise ValueError("the chat teacher needs --teacher_model")
    server = (self.teacher_model, self.teacher_base_url)
    if self.teacher != TeacherName.chat and server != (None, None):
      raise ValueError(
        f"the {self.teacher} teacher asks no server; pass --teacher=chat, or "
        "leave out --teacher_model and --teacher_base_url"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlSettings:
  """How the rows of control tasks are made.

  Raises:
    ValueError: where there is nothing to ask for.
  """

  retriever: Annotated[
    _Path | None,
    Option(
      "Of control: folder of `retrieve fit`, on the same data, whose lists are "
      "the answers; SASRec in the paper."
    ),
  ] = None
  num_epochs: Annotated[
    int,
    Option(
      "Of control: how often histories, wishes and lengths are drawn anew for "
      "each user.",
      least=1,
    ),
  ] = 5
  attributes: Annotated[
    tuple[AttributeName, ...],
    Option(
      "Of control: what lists are asked for, the most important one first; "
      "may be repeated. What the catalogue lacks is left out.",
      name="attribute",
    ),
  ] = (
    AttributeName.category,
    AttributeName.brand,
    AttributeName.price,
    AttributeName.decade,
  )

  def __post_init__(self) -> None:
    """Checks that there is something to ask for."""
    if not self.attributes:
      raise ValueError("attributes is empty, expected one or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationSettings:
  """Which prepared data become instructions, and how.

  Raises:
    ValueError: where a number is too small, the chat teacher is to work in
      several processes, or control tasks have no retriever.
  """

  data: Annotated[_Path, Option("Folder that `prepare` wrote.")]
  output: Annotated[
    _Path, Option("TFDS data folder to make (pass it as tfds_data_dir).")
  ]
  vocabulary: Annotated[
    _Path | None,
    Option("SentencePiece model, e.g. T5's; trained on the data if left out."),
  ] = None
  vocab_size: Annotated[
    int, Option("Pieces of a trained vocabulary, at most.", least=1)
  ] = 2000
  protocol: Annotated[
    Protocol,
    Option(
      "stated: a wish says what a person knows of what they want, attributes "
      "of the target but never its title; how much is measured in bits. "
      "strict: nothing of the target in preferences and intentions of tasks "
      "with a user. paper: intentions from the target's review, and what "
      "control tasks ask for from its categories."
    ),
  ] = Protocol.stated
  kinds: Annotated[
    tuple[InstructionKind, ...],
    Option(
      "Whose instructions: instructrec (39 templates and ours), genrec (a "
      "history, and the title that follows) or control (lists that do as they "
      "are asked); may be repeated.",
      name="kind",
    ),
  ] = (InstructionKind.instructrec,)
  domain: Annotated[
    DomainName | None,
    Option(
      "What the items are: films are watched, books read, products bought. "
      "Found out by source, titles and categories if left out."
    ),
  ] = None
  max_history: Annotated[
    int, Option("Longest history in an instruction, in items.", least=1)
  ] = 20
  seed: Annotated[int, Option("Of templates and wordings.", least=0)] = 0
  template_files: Annotated[
    tuple[_Path, ...],
    Option(
      "YAML of templates, in place of ours; may be repeated.",
      name="template_file",
    ),
  ] = ()
  eval_templates: Annotated[
    tuple[str, ...],
    Option(
      "Template of the validation and test rows; may be repeated. Held-out "
      "ones test unseen wordings. One for each task if left out.",
      name="eval_template",
    ),
  ] = ()
  runner: Annotated[
    Runner, Option("This machine, or Apache Beam ([beam] extra).")
  ] = Runner.local
  beam_options: Annotated[
    tuple[str, ...],
    Option(
      "Such as --runner=DataflowRunner; may be repeated.", name="beam_option"
    ),
  ] = ()
  num_workers: Annotated[
    int | None,
    Option(
      "Processes; if left out one a core, as far as there are 2,048 requests "
      "for each. The chat teacher has one.",
      least=1,
    ),
  ] = None
  teaching: TeacherSettings = TeacherSettings()
  control: ControlSettings = ControlSettings()
  overwrite: Annotated[bool, Option("Replace an existing output.")] = False

  def __post_init__(self) -> None:
    """Checks numbers, control's retriever, that a chat teacher works alone."""
    option.check_bounds(self)
    option.check_bounds(self.control)
    self._check_control()
    if self.beam_options and self.runner != Runner.beam:
      raise ValueError(
        f"--beam_option={self.beam_options[0]} is read by --runner=beam, and "
        f"the runner is {self.runner}; add it, or leave the options out"
      )
    several = self.runner == Runner.beam or (self.num_workers or 1) > 1
    if self.teaching.teacher == TeacherName.chat and several:
      raise ValueError(
        "the chat teacher works in one process: it watches the budget, keeps "
        "the cache and has --teacher_concurrency requests on the way at once; "
        "leave out --runner=beam and --num_workers"
      )

  def _check_control(self) -> None:
    """Checks what goes with control tasks, and what does not."""
    wanted = InstructionKind.control in self.kinds
    found = self.control.retriever
    if wanted != (found is not None):
      raise ValueError(
        f"--retriever is {found}, but the kinds are {', '.join(self.kinds)}; "
        "--kind=control needs the folder of a fitted retriever, which nothing "
        "else reads: `instructrec retrieve fit --data=... --method=sasrec "
        "--output=FOLDER` makes one"
      )
    if self.kinds == (InstructionKind.control,) and self.template_files:
      raise ValueError(
        "--template_file is read in place of the templates of instructrec and "
        "genrec, which --kind=control alone does not write; leave it out, or "
        "name another --kind as well"
      )
