"""What `instructrec serve` is told."""

import dataclasses
import pathlib
from typing import Annotated

from instructrec.settings.option import Option
from instructrec.settings.run import RunSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServingSettings(RunSettings):
  """Which run is served, where, and how much at once.

  Raises:
    ValueError: where a number is too small, or no run is named, or two.
  """

  host: Annotated[
    str,
    Option(
      "Address to listen at; 0.0.0.0 for all, where keys are a good idea: see "
      "INSTRUCTREC_API_KEYS in docs/serving.md."
    ),
  ] = "127.0.0.1"
  port: Annotated[int, Option("Port; 0 for one that is free.", least=0)] = 8000
  model_name: Annotated[
    str | None,
    Option("What clients call the model; the name of its folder if left out."),
  ] = None
  beside: Annotated[
    tuple[str, ...],
    Option(
      "Folder of another run that is served as well, or NAME=FOLDER; may be "
      "repeated. Requests choose by `model`."
    ),
  ] = ()
  stock: Annotated[
    pathlib.Path | None,
    Option(
      "Text file with the id of an item that is in stock on each line, for the "
      "filter in_stock; read again on reload."
    ),
  ] = None
  most_queued: Annotated[
    int,
    Option("Questions that may wait; one more is answered with 429.", least=1),
  ] = 256
  most_at_once: Annotated[
    int,
    Option("Questions of a step of the model; 1 for no batching.", least=1),
  ] = 64
  most_tokens: Annotated[
    int,
    Option("Tokens of a step; a single question may have more.", least=1),
  ] = 16384
  wait_ms: Annotated[
    int,
    Option(
      "How long a question waits for others to go with, where nothing else is "
      "being done.",
      least=0,
    ),
  ] = 1
  deadline_seconds: Annotated[
    int,
    Option("After so long without an answer a request has a 504.", least=1),
  ] = 30
  drain_seconds: Annotated[
    int,
    Option(
      "After SIGTERM: how long /readyz says no before the port is closed.",
      least=0,
    ),
  ] = 2

  @property
  def name(self) -> str:
    """What clients call the model."""
    folder = self.model_dir or pathlib.Path(self.checkpoint or "model")
    return self.model_name or folder.absolute().name

  def others(self) -> list["ServingSettings"]:
    """The settings of the runs beside this one."""
    found = []
    for text in self.beside:
      name, _, folder = text.rpartition("=")
      found.append(
        dataclasses.replace(
          self,
          model_dir=pathlib.Path(folder),
          model_name=name or None,
          beside=(),
        )
      )
    return found
