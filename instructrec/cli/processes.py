"""Options of the commands that run once per host or device, named as T5X's."""

from typing import Annotated

import typer

MultiprocessGpu = Annotated[
  bool,
  typer.Option(
    "--multiprocess_gpu",
    help="Join several processes, on TPUs and CPUs too; alone on TPU pods "
    "and under SLURM, where the rest is detected.",
  ),
]
CoordinatorAddress = Annotated[
  str | None, typer.Option(help="host:port of process 0.")
]
ProcessCount = Annotated[
  int | None, typer.Option(help="How many processes there are.", min=1)
]
ProcessIndex = Annotated[
  int | None, typer.Option(help="Which one this is, from 0.", min=0)
]
InitializationTimeout = Annotated[
  int | None, typer.Option(help="Seconds to wait for the others; 300.", min=1)
]
DeviceCount = Annotated[
  int | None,
  typer.Option(
    help="Devices of all processes together; with others, the command fails "
    "before anything is compiled.",
    min=1,
  ),
]


def join_processes(
  multiprocess_gpu: bool,
  coordinator_address: str | None,
  process_count: int | None,
  process_index: int | None,
  initialization_timeout: int | None,
) -> None:
  """Joins this process to the others where the options ask for it.

  Raises:
    ValueError: for options that are given without --multiprocess_gpu, and
      from `distributed.initialize`.
  """
  if multiprocess_gpu:
    from instructrec.training import distributed

    distributed.initialize(
      coordinator_address, process_count, process_index, initialization_timeout
    )
  elif (coordinator_address, process_count, process_index) != (None,) * 3:
    raise ValueError(
      "--coordinator_address, --process_count and --process_index do nothing "
      "without --multiprocess_gpu; add it"
    )
