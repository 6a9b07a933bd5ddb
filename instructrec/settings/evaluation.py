"""What `instructrec evaluate` is told."""

import dataclasses
import pathlib
from typing import Annotated

from instructrec.settings.metric_names import Metrics
from instructrec.settings.option import Option
from instructrec.settings.run import RunSettings

_Path = pathlib.Path
PROTOCOLS = ("one_pass", "tournament")
PLACES = 10
"""Titles of a list that a run writes itself."""
_NUM_VALIDATION = 1000
_CHAT_CACHE = _Path("chat_cache.sqlite")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatSettings:
  """A chat model that ranks lists; none where no `model` is named.

  Raises:
    ValueError: where a server is named and no model.
  """

  model: Annotated[
    str | None,
    Option(
      "Model of a chat server, as a row; the key comes from OPENAI_API_KEY "
      "alone ([teacher] extra).",
      name="chat_model",
    ),
  ] = None
  base_url: Annotated[
    str | None,
    Option("Such as http://127.0.0.1:8000/v1.", name="chat_base_url"),
    # It may name a user and a password.
  ] = dataclasses.field(default=None, repr=False)
  cache: Annotated[
    _Path, Option("SQLite file of the server's replies.", name="chat_cache")
  ] = _CHAT_CACHE
  concurrency: Annotated[
    int, Option("Requests on the way at once.", name="chat_concurrency")
  ] = 16
  max_tokens: Annotated[
    int | None,
    Option("Tokens that a run may use, in and out.", name="chat_max_tokens"),
  ] = None
  max_cost: Annotated[
    float | None, Option("Money that a run may spend.", name="chat_max_cost")
  ] = None
  price_in: Annotated[
    float, Option("Money per million tokens of prompts.", name="chat_price_in")
  ] = 0.0
  price_out: Annotated[
    float, Option("Money per million tokens of replies.", name="chat_price_out")
  ] = 0.0

  def __post_init__(self) -> None:
    """Checks that a server comes with a model."""
    if self.base_url is not None and self.model is None:
      raise ValueError(
        "--chat_base_url names a server and no model; pass --chat_model as well"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSettings(RunSettings):
  """Which requests to rerank, with what, and where the report goes.

  Raises:
    ValueError: where a number is too small, a protocol is unknown, weights
      would be fitted on the requests that are evaluated, no run is named, or
      no folder for the report of one that has none.
  """

  output: Annotated[
    _Path | None,
    Option("Folder of the report; <model_dir>/report if left out."),
  ] = None
  publish: Annotated[
    _Path | None,
    Option(
      "Keep the figures as a small JSON file as well, such as "
      "docs/results/NAME.json; `results publish` chooses rows and metrics."
    ),
  ] = None
  split: Annotated[str, Option("validation or test.")] = "test"
  tfds_data_dir: Annotated[
    _Path | None,
    Option(
      "Instructions of the run, where they have moved, or of other data or "
      "wordings, made with its vocabulary; those of the run if left out. A run "
      "of T5X, and gin files, do not say where they are."
    ),
  ] = None
  initial_checkpoint: Annotated[
    str | None,
    Option(
      "What the run began with, where it has moved or nothing says what it "
      "was: the untrained model."
    ),
  ] = None
  mixture: Annotated[
    str | None,
    Option(
      "SeqIO mixture or task of candidate lists, such as genrec_v1_rerank; "
      "that of the run if left out."
    ),
  ] = None
  task_types: Annotated[
    tuple[str, ...],
    Option(
      "Such as sequential or sequential_p1_i0; may be repeated; all if left "
      "out.",
      name="task_type",
    ),
  ] = ()
  num_requests: Annotated[
    int | None,
    Option("Requests a task type, drawn by seed; all if left out.", least=1),
  ] = None
  candidates: Annotated[
    _Path | None,
    Option(
      "Lists to rank: of `retrieve candidates`, or a published file in "
      "LLMRank's format; the frozen ones if left out."
    ),
  ] = None
  validation_candidates: Annotated[
    _Path | None,
    Option(
      "Lists of the validation split that are made alike: they fit the "
      "weights of the scores of retriever and model."
    ),
  ] = None
  num_candidates: Annotated[
    int, Option("Of a published list, the target included.", least=2)
  ] = 20
  retrievers: Annotated[
    tuple[_Path, ...],
    Option(
      "Folder that `retrieve fit` wrote, as a row; may be repeated.",
      name="retriever",
    ),
  ] = ()
  metrics: Metrics = ()
  score_normalizations: Annotated[
    tuple[str, ...],
    Option(
      "sum or mean over tokens; may be repeated, to compare.",
      name="score_normalization",
    ),
  ] = ()
  num_validation: Annotated[
    int | None,
    Option(
      "Validation requests a task that fit the weights of the score's parts; 0 "
      "takes those of the run. 1000 if left out. Of fewer than 50, what leads "
      "lists (--teacher) is chosen on so many as well.",
      least=0,
    ),
  ] = None
  num_beams: Annotated[
    tuple[int, ...],
    Option(
      "Write the ten best titles of the whole catalogue as well, by so many "
      "beams (10 or more); may be repeated. Retrievers and popularity rank the "
      "same catalogue beside them."
    ),
  ] = ()
  num_exact: Annotated[
    int,
    Option(
      "Requests for which every title of the catalogue is scored, to see what "
      "the beams miss; seconds each.",
      least=0,
    ),
  ] = 0
  teacher: Annotated[
    _Path | None,
    Option(
      "Folder of the fitted retriever whose lists control tasks teach: has the "
      "run write lists for them as well, and reports how far they obey, beside "
      "the retriever under a filter that always does; docs/control.md."
    ),
  ] = None
  num_histories: Annotated[
    int,
    Option(
      "Histories that following wishes is measured on, where the run matches "
      "titles; 0 for none.",
      least=0,
    ),
  ] = 500
  protocols: Annotated[
    tuple[str, ...],
    Option(
      "one_pass (the default) or tournament; may be repeated.", name="protocol"
    ),
  ] = ("one_pass",)
  chat: ChatSettings = ChatSettings()
  num_orders: Annotated[
    int,
    Option(
      "Ask tournaments and chat models that often, each time with the "
      "candidates in another order, and report how far the rankings agree.",
      least=1,
    ),
  ] = 1
  batch_size: Annotated[
    int,
    Option("Requests scored at once, by all devices together.", least=1),
  ] = 32
  model_parallel: Annotated[
    int | None,
    Option(
      "Devices that share one copy of the parameters; as in training if left "
      "out. The requests are split over the others.",
      least=1,
    ),
  ] = None
  seed: Annotated[
    int, Option("Of subset, random baseline, groups and bootstrap.", least=0)
  ] = 0

  def __post_init__(self) -> None:
    """Checks the numbers, and what belongs together."""
    super().__post_init__()
    if self.gin_files and self.output is None:
      raise ValueError(
        "--gin_file evaluates a checkpoint that lies in no folder of a run; "
        "name the folder of the report with --output"
      )
    if min(self.num_beams, default=PLACES) < PLACES:
      raise ValueError(
        f"--num_beams={min(self.num_beams)}: lists have {PLACES} places; "
        f"expected {PLACES} beams or more"
      )
    if self.num_exact and not self.num_beams:
      raise ValueError(
        f"--num_exact={self.num_exact} says what beams miss, and there are "
        "none; pass --num_beams as well"
      )
    if not self.protocols:
      raise ValueError(f"no protocol; expected some of {PROTOCOLS}")
    if unknown := set(self.protocols) - set(PROTOCOLS):
      raise ValueError(
        f"unknown protocols {sorted(unknown)}; expected some of {PROTOCOLS}"
      )
    if self.split == "validation" and self.num_validation:
      raise ValueError(
        f"num_validation is {self.num_validation}: score weights would be "
        "fitted on the requests that are evaluated; evaluate the split 'test', "
        "or fit none with --num_validation=0"
      )

  @property
  def num_fitted_on(self) -> int:
    """Validation requests a task that fit score weights.

    None where they are the ones that are ranked.
    """
    if self.num_validation is not None:
      return self.num_validation
    return 0 if self.split == "validation" else _NUM_VALIDATION

  @property
  def orders(self) -> range:
    """Seeds of the orders in which lists are read and grouped."""
    return range(self.seed, self.seed + self.num_orders)
