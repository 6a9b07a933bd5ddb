"""Options of the commands that run once per host or device, named as T5X's."""

import dataclasses
from typing import Annotated

from instructrec.settings.option import Option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes:
  """How this process joins the others of its command."""

  multiprocess_gpu: Annotated[
    bool,
    Option(
      "Join several processes, on TPUs and CPUs too; alone on TPU pods and "
      "under SLURM, where the rest is detected."
    ),
  ] = False
  coordinator_address: Annotated[
    str | None, Option("host:port of process 0.")
  ] = None
  process_count: Annotated[
    int | None, Option("How many processes there are.", least=1)
  ] = None
  process_index: Annotated[
    int | None, Option("Which one this is, from 0.", least=0)
  ] = None
  initialization_timeout: Annotated[
    int | None, Option("Seconds to wait for the others; 300.", least=1)
  ] = None
  device_count: Annotated[
    int | None,
    Option(
      "Devices of all processes together; with others, the command fails "
      "before anything is compiled.",
      least=1,
    ),
  ] = None

  def join(self) -> None:
    """Joins this process to the others where the options ask for it.

    Raises:
      ValueError: for options that are given without --multiprocess_gpu, and
        from `distributed.initialize`.
    """
    others = (self.coordinator_address, self.process_count, self.process_index)
    if self.multiprocess_gpu:
      from instructrec.training import distributed

      distributed.initialize(*others, self.initialization_timeout)
    elif others != (None,) * 3:
      raise ValueError(
        "--coordinator_address, --process_count and --process_index do nothing "
        "without --multiprocess_gpu; add it"
      )
