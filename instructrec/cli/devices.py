"""`instructrec devices`: are all processes and accelerators there?"""

import typer

from instructrec.cli import options, processes


@options.from_settings
def devices(joined: processes.Processes) -> None:
  """List the devices of all processes and let each take part in one sum.

  A minute of this before a long job shows hosts that were not started,
  accelerators that are not seen and networks that do not connect.
  """
  joined.join()
  import jax

  from instructrec.training import distributed

  distributed.check_devices(joined.device_count)
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
