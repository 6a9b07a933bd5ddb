"""The least time a step can take, and the work that its model asks for."""

import dataclasses
from typing import Any

from instructrec.models.objectives import listwise, objective
from instructrec.preflight import chips, cost, network_flops
from instructrec.preflight import launch as launch_lib


def _title_flops(launch: launch_lib.Launch) -> float:
  """As `network_flops`, of title vectors, queries and their products."""
  width, rows = launch.network.emb_dim, launch.batch_size
  titles = rows * (launch.history_length + 1 + launch.num_drawn)
  queries = rows * (launch.history_length + 1)
  return 2.0 * (
    titles * 5 * width**2 + queries * width**2 + titles * queries * width
  )


def _parts(launch: launch_lib.Launch) -> list[Any]:
  """The objectives of training, sums taken apart."""
  model: Any = launch.config.model
  if isinstance(model.objective, objective.WeightedSum):
    return list(model.objective.objectives)
  return [model.objective]


def _decoded(launch: launch_lib.Launch, step: str) -> list[tuple[int, int]]:
  """Targets of a row and positions of each, for each pass of the decoder."""
  if step == "score":
    return [(launch.num_candidates, launch.targets_length)]
  found = []
  for part in _parts(launch):
    if isinstance(part, listwise.Listwise):
      # Titles and their ends.
      found.append((1 + launch.num_drawn, launch.title_length + 1))
    elif objective.LIKELIHOOD in part.trains:
      found.append((1, launch.targets_length))
  return found


def model_flops(launch: launch_lib.Launch, step: str) -> float:
  """FLOPs that a step needs, recomputation left out, over all devices.

  Args:
    launch: what is run.
    step: "train", three times the forward pass, of which adapters, with no
      gradient of the network's matrices, need two; or "score", that pass.

  Returns:
    FLOPs of the global batch.
  """
  train = step == "train"
  rows = launch.batch_size if train else launch.score_batch_size
  passes = 3 if launch.network.adapter is None else 2
  if train and launch.joined:
    return passes * network_flops.row_flops(
      launch.network, rows=rows, length=launch.row_length
    )
  positions = launch.inputs_length + launch.history_length
  total = network_flops.prompt_flops(
    launch.network, rows=rows, inputs_length=positions
  )
  for candidates, length in _decoded(launch, step):
    total += network_flops.answer_flops(
      launch.network,
      rows=rows,
      inputs_length=positions,
      targets_length=length,
      candidates=candidates,
    )
  if not train:
    return total
  if any(objective.MATCH in part.trains for part in _parts(launch)):
    total += _title_flops(launch)
  return passes * total


def tokens(launch: launch_lib.Launch, step: str) -> int:
  """Positions that the stacks read in a step's global batch."""
  rows = launch.batch_size if step == "train" else launch.score_batch_size
  if step == "train" and launch.joined:
    return rows * launch.row_length
  decoded = sum(count * length for count, length in _decoded(launch, step))
  return rows * (launch.inputs_length + launch.history_length + decoded)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bounds:
  """Least times of a step on a device, in seconds.

  Attributes:
    compute: FLOPs over the peak for bfloat16.
    memory: bytes over the memory's bandwidth.
    network: bytes sent over the bandwidth of all links.
  """

  compute: float
  memory: float
  network: float

  @property
  def seconds(self) -> float:
    """The largest: the step cannot be faster."""
    return max(self.compute, self.memory, self.network)

  @property
  def by(self) -> str:
    """Which one that is."""
    return max(
      ("compute", "memory", "network"), key=lambda name: getattr(self, name)
    )


def bounds(work: cost.Cost, chip: chips.Chip) -> Bounds:
  """The roofline of a step (Williams et al., 2009), network included.

  Args:
    work: what a device does.
    chip: what it can do.

  Returns:
    The bounds.
  """
  return Bounds(
    compute=work.flops / chip.peak_flops,
    memory=work.hbm_bytes / chip.hbm_bandwidth,
    network=work.sent_bytes / chip.ici_bandwidth,
  )
