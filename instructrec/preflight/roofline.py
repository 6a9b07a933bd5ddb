"""The least time a step can take, and the work that its model asks for."""

import dataclasses

from instructrec.alignment import list_objective
from instructrec.models.generation import catalog_trie
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


def _decoded(launch: launch_lib.Launch, step: str) -> list[tuple[int, int]]:
  """Targets of a row and positions of each, for each pass of the decoder."""
  if step == "score":
    return [(launch.num_candidates, launch.targets_length)]
  found = []
  for part in launch.objectives:
    if isinstance(part, list_objective.ListObjective):
      found.append((part.num_lists, _list_length(part)))
    elif isinstance(part, listwise.Listwise):
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
    FLOPs of the global batch; where a draw is learnt from several times, of as
    many updates as there may be.
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
  if any(objective.MATCH in part.trains for part in launch.objectives):
    total += _title_flops(launch)
  updates = 1 if launch.lists is None else launch.lists.num_updates
  return updates * passes * total + _rollout_flops(launch, positions)


def _list_length(part: list_objective.ListObjective) -> int:
  """Tokens of the longest list."""
  trie = part.catalog
  assert isinstance(trie, catalog_trie.CatalogTrie)
  return part.policy.length(trie)


def _rollout_flops(launch: launch_lib.Launch, positions: int) -> float:
  """Passes without a gradient: lists are drawn, and read by the reference.

  That reads the prompts by itself, for they are other without adapters. What is
  learnt from several times is drawn apart from it: the prompts are read for it,
  and the lists by the policy, where drawing does not tell all it said of them.
  """
  part = launch.lists
  if part is None:
    return 0.0
  network, rows = launch.network, launch.batch_size
  prompts = network_flops.prompt_flops(
    network, rows=rows, inputs_length=positions
  )
  lists = network_flops.answer_flops(
    network,
    rows=rows,
    inputs_length=positions,
    targets_length=_list_length(part),
    candidates=part.num_lists,
  )
  drawn, referred = not part.taught, network.adapter is not None
  apart = part.repeats is not None
  followed = apart and (part.taught or network.value_head)
  return (drawn + referred + followed) * lists + (referred + apart) * prompts


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
