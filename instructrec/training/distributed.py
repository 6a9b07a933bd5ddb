"""Several processes, one run: they start, agree and stop together.

On a TPU pod slice or a GPU cluster the same command runs once per host (or
per GPU). JAX joins the processes; what is here makes sure that all are there,
see as many devices and mean the same run, before anything is compiled. The
process with index 0 is the *lead*: it alone writes logs and messages.
"""

import contextlib
import hashlib
import json
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

# How long processes wait for the lead to build what all of them use. Where
# the lead dies, JAX ends the others at once; this bounds only a lead that
# hangs.
_LEAD_SECONDS = 12 * 3600
_TEXT_BYTES = 4096


def initialize(
  coordinator_address: str | None = None,
  process_count: int | None = None,
  process_index: int | None = None,
  initialization_timeout: int | None = None,
) -> None:
  """Joins this process to the others; before any other use of JAX.

  With no argument everything is detected: on TPU pods, under SLURM and Open
  MPI, and in Kubernetes.

  Args:
    coordinator_address: "host:port" of process 0, where the processes meet.
    process_count: how many processes there are.
    process_index: which one this is, from 0.
    initialization_timeout: seconds to wait for the others; None for JAX's
      default of 300.

  Raises:
    ValueError: where only a part is given, or nothing could be detected.
  """
  given = {
    "coordinator_address": coordinator_address,
    "process_count": process_count,
    "process_index": process_index,
  }
  missing = [f"--{name}" for name, value in given.items() if value is None]
  if 0 < len(missing) < len(given):
    raise ValueError(
      f"{', '.join(missing)} missing; give --coordinator_address, "
      "--process_count and --process_index together, or none of them on TPU "
      "pods and under SLURM, where they are detected"
    )
  options: dict[str, Any] = {}
  if initialization_timeout is not None:
    options["initialization_timeout"] = initialization_timeout
  if coordinator_address is not None:
    host = coordinator_address.rsplit(":", 1)[0]
    if host in ("localhost", "127.0.0.1"):
      # JAX would listen on every interface of the machine.
      options["coordinator_bind_address"] = coordinator_address
    # JAX ends the process where the others do not come, with a message that
    # names none of this: so it is said before.
    print(
      f"process {process_index} of {process_count} waits for the others at "
      f"{coordinator_address}; start the same command on every host, with "
      "its own --process_index",
      file=sys.stderr,
      flush=True,
    )
  try:
    jax.distributed.initialize(
      coordinator_address, process_count, process_index, **options
    )
  except ValueError as error:
    raise ValueError(
      f"the processes of this run could not be joined: {error} Neither a TPU "
      "pod nor SLURM, Open MPI or Kubernetes was detected, or it left that "
      "out; give --coordinator_address, --process_count and --process_index"
    ) from error


def is_lead() -> bool:
  """Whether this is the process that writes logs and messages."""
  return jax.process_index() == 0


def check_devices(expected: int | None = None) -> None:
  """Fails where processes or devices are missing; before compiling.

  Args:
    expected: devices of all processes together; None for any number.

  Raises:
    ValueError: naming what is missing and what to look at.
  """
  if jax.process_count() > 1 and not jax.distributed.is_initialized():
    raise ValueError(
      f"this process is one of {jax.process_count()}, but they were not "
      "joined: checkpoints and shutdown need that. Pass --multiprocess_gpu, "
      "alone on TPU pods"
    )
  devices = jax.devices()
  counts = Counter(device.process_index for device in devices)
  platform = devices[0].platform
  if len(set(counts.values())) > 1:
    raise ValueError(
      f"the processes see different numbers of {platform} devices "
      f"(process: devices): {dict(sorted(counts.items()))}; expected the same "
      "number in each. `instructrec devices` on each host shows what it sees"
    )
  if expected is not None and len(devices) != expected:
    raise ValueError(
      f"this run has {len(devices)} {platform} devices ({len(counts)} "
      f"processes x {jax.local_device_count()}), expected {expected} "
      "(--device_count): a host was not started, does not see its "
      "accelerators (then JAX takes the CPU), or was started without "
      "--multiprocess_gpu. `instructrec devices` on each host shows what it "
      "sees"
    )


def check_alone(reason: str) -> None:
  """Fails where there are other processes.

  Args:
    reason: why there may be none.

  Raises:
    ValueError: naming their number.
  """
  if jax.process_count() > 1:
    raise ValueError(
      f"this command runs in {jax.process_count()} processes, and {reason}; "
      "start it once, without --multiprocess_gpu"
    )


def sum_over_devices() -> int:
  """Adds up a 1 from each device of each process, on the devices.

  Returns:
    The number of devices.

  Raises:
    RuntimeError: where the sum is another: the network lost something.
  """
  mesh = jax.sharding.Mesh(jax.devices(), ("device",))
  sharding = jax.sharding.NamedSharding(
    mesh, jax.sharding.PartitionSpec("device")
  )
  ones = jax.make_array_from_callback(
    (jax.device_count(),), sharding, lambda _: np.ones(1, np.int32)
  )
  total = int(jax.jit(jnp.sum)(ones))
  if total != jax.device_count():
    raise RuntimeError(
      f"{jax.device_count()} devices added 1 each, the sum is {total}"
    )
  return total


def check_agreement(values: Mapping[str, Any]) -> None:
  """Fails where the processes mean different runs; every process calls it.

  Processes that disagree would wait for each other for ever, or train on
  other data than they say.

  Args:
    values: what must be the same, JSON values by name.

  Raises:
    ValueError: naming what differs and where.
  """
  digests = [
    hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    for value in values.values()
  ]
  own = np.frombuffer(b"".join(digests), np.uint32).reshape(len(values), -1)
  everyone = multihost_utils.process_allgather(own)
  for position, (name, value) in enumerate(values.items()):
    same = (everyone[:, position] == everyone[0, position]).all(-1)
    if not same.all():
      others = np.flatnonzero(~same).tolist()
      raise ValueError(
        f"{name} differs between process 0 and the processes {others}; here "
        f"(process {jax.process_index()}) it is {value!r}. Start the same "
        "command on every host, with folders that all of them share"
      )


@contextlib.contextmanager
def lead_first(name: str) -> Iterator[None]:
  """Runs a block in the lead, and then in the others.

  What the lead builds in a shared folder is there when the others come; where
  folders are not shared, each then builds its own.

  Args:
    name: of the block; another one each time.
  """
  if not is_lead():
    meet(f"lead_first/{name}")
  yield
  if is_lead():
    meet(f"lead_first/{name}")


def meet(name: str) -> None:
  """Waits until all processes are here, however long each takes.

  Args:
    name: of the place; another one each time.
  """
  wait = ocp.multihost.get_barrier_sync_fn()
  wait(key=name, timeout_ms=_LEAD_SECONDS * 1000)


def by_lead(name: str, check: Callable[[], None]) -> None:
  """Runs a check in the lead alone; where it fails, all processes fail.

  Args:
    name: of the check; another one each time.
    check: such as one that reads or locks a folder that all share.

  Raises:
    ValueError: in the others, with the lead's message; in the lead, what
      `check` raised.
  """
  failure: Exception | None = None
  # The lead may take its time: others would not wait as long in a broadcast.
  with lead_first(name):
    if is_lead():
      try:
        check()
      except (ValueError, OSError) as error:
        failure = error
  message = _from_lead(str(failure) if failure else "")
  if failure is not None:
    raise failure
  if message:
    raise ValueError(f"process 0 says: {message}")


def _from_lead(text: str) -> str:
  """What the lead says, in all processes; cut to the first kilobytes."""
  if jax.process_count() == 1:
    return text
  content = np.zeros(_TEXT_BYTES, np.uint8)
  encoded = np.frombuffer(text.encode(), np.uint8)[:_TEXT_BYTES]
  content[: len(encoded)] = encoded
  told = np.asarray(multihost_utils.broadcast_one_to_all(content))
  return told.tobytes().rstrip(b"\0").decode(errors="ignore")


class StopOnSignal:
  """Notes SIGTERM and SIGINT, so that the loop can save and end.

  SIGTERM is a preemption, SIGINT is Ctrl-C; a second Ctrl-C ends at once. With
  several processes, one that is told to stop tells the others, and JAX names a
  step that all of them can still reach: they save the same one.
  """

  def __init__(self) -> None:
    self._received: signal.Signals | None = None
    self._previous: dict[signal.Signals, Any] = {}

  def __enter__(self) -> "StopOnSignal":
    noted = []
    # Joined processes have JAX's handler, which this would replace.
    if not jax.distributed.is_initialized():
      noted.append(signal.SIGTERM)
    # Where SIGINT is ignored, as in a shell's background, it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
      noted.append(signal.SIGINT)
    # Only the main thread may handle signals; elsewhere the caller does.
    if threading.current_thread() is threading.main_thread():
      self._previous = {
        number: signal.signal(number, self._note) for number in noted
      }
    return self

  def _note(self, number: int, unused: object) -> None:
    self._received = signal.Signals(number)
    if number == signal.SIGINT:
      signal.signal(number, signal.default_int_handler)
      if jax.distributed.is_initialized():
        # JAX tells the other processes of a SIGTERM.
        os.kill(os.getpid(), signal.SIGTERM)

  def __exit__(self, *unused: object) -> None:
    for number, handler in self._previous.items():
      # None: a handler that was not set in Python.
      if handler is not None:
        signal.signal(number, handler)

  @property
  def status(self) -> int:
    """With which a process that was told to stop ends: 143, or 130."""
    return 128 + (self._received or signal.SIGTERM)

  def reached(self, step: int) -> bool:
    """Whether to save and end after this step; asked after every step.

    Args:
      step: updates made.

    Returns:
      True in all processes after the same step.
    """
    if jax.distributed.is_initialized():
      return multihost_utils.reached_preemption_sync_point(step)
    return self._received is not None
