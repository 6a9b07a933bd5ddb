"""`instructrec devices`: are all processes and accelerators there?"""

import typer

from instructrec.cli.processes import (
  CoordinatorAddress,
  DeviceCount,
  InitializationTimeout,
  MultiprocessGpu,
  ProcessCount,
  ProcessIndex,
  join_processes,
)


def devices(
  multiprocess_gpu: MultiprocessGpu = False,
  coordinator_address: CoordinatorAddress = None,
  process_count: ProcessCount = None,
  process_index: ProcessIndex = None,
  initialization_timeout: InitializationTimeout = None,
  device_count: DeviceCount = None,
) -> None:
  """List the devices of all processes and let each take part in one sum.

  A minute of this before a long job shows hosts that were not started,
  accelerators that are not seen and networks that do not connect.
  """
  join_processes(
    multiprocess_gpu,
    coordinator_address,
    process_count,
    process_index,
    initialization_timeout,
  )
  import jax

  from instructrec.training import distributed

  distributed.check_devices(device_count)
  total = distributed.sum_over_devices()
  if distributed.is_lead():
    for index in range(jax.process_count()):
      own = [d for d in jax.devices() if d.process_index == index]
      typer.echo(
        f"process {index}: {len(own)} {own[0].platform} devices "
        f"({own[0].device_kind})"
      )
    typer.echo(
      f"{jax.device_count()} devices in {jax.process_count()} processes; "
      f"each added 1 over the network: {total}"
    )
