"""Candidate lists as trees: each prefix is decoded once, padding never.

A list of 20 titles of up to 16 tokens fills about 60% of its 320 slots, and
all titles share at least the start token. The tree keeps one decoder position
for each distinct prefix; a position looks at its own prefixes only, and target
t of a candidate is predicted at the node of the candidate's first t tokens.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from instructrec.models import prefix_tree


def _forest(
  targets: Int[np.ndarray, "batch candidates length"],
) -> prefix_tree.PrefixTree:
  """One tree a request, over the decoder's inputs."""
  batch, candidates, length = targets.shape
  # Where the decoder's inputs have the start token stands the request.
  rows = np.empty(targets.shape, np.int64)
  rows[..., 0] = np.arange(batch)[:, None]
  rows[..., 1:] = targets[..., :-1]
  return prefix_tree.build(
    rows.reshape(batch * candidates, length),
    (targets != 0).reshape(batch * candidates, length),
  )


def num_nodes(
  targets: Int[np.ndarray, "batch candidates length"],
) -> Int[np.ndarray, " batch"]:
  """Decoder positions that each list needs.

  Args:
    targets: response tokens, 0 where padded.

  Returns:
    The number of distinct prefixes of each list, the empty one included.
  """
  forest = _forest(targets)
  nodes = forest.nodes.reshape(len(targets), -1)
  first = np.where(nodes < 0, len(forest), nodes).min(axis=1)
  last = nodes.max(axis=1)
  return np.maximum(last - first + 1, 0)


def split(
  targets: Int[np.ndarray, "candidates length"],
  *,
  most_nodes: int,
  most_candidates: int,
) -> list[Int[np.ndarray, " group"]]:
  """Cuts a long list into groups whose trees are small.

  A tree's attention looks from each node to each, so that one tree of very
  many nodes would cost more than several. Candidates that begin alike stay
  together.

  Args:
    targets: response tokens of each candidate, 0 where padded.
    most_nodes: nodes of a group's tree, unless a single candidate has more.
    most_candidates: candidates of a group.

  Returns:
    Indices of the candidates of each group.
  """
  order = np.lexsort(targets.T[::-1])
  ordered = targets[order]
  lengths = (ordered != 0).sum(axis=1)
  common = np.zeros(len(order), np.int64)
  same = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
  common[1:] = np.cumprod(same, axis=1).sum(axis=1)
  # A candidate's nodes are its beginnings, from the empty one on.
  own = lengths - np.minimum(common + 1, lengths)
  groups: list[np.ndarray] = []
  first = 0
  nodes = 0
  for row in range(len(order)):
    full = nodes + own[row] > most_nodes or row - first == most_candidates
    if row > first and full:
      groups.append(order[first:row])
      first = row
    nodes = int(lengths[row]) if row == first else nodes + int(own[row])
  return [*groups, order[first:]]


def pad_groups(
  targets: Int[np.ndarray, "candidates length"],
  groups: Sequence[Int[np.ndarray, " group"]],
  num_groups: int,
  num_candidates: int,
) -> Int[np.ndarray, "groups candidates length"]:
  """The targets of each group of `split`, padded to one size.

  Args:
    targets: response tokens of each candidate, 0 where padded.
    groups: what `split` gave.
    num_groups: at least as many; further ones are empty and have no nodes.
    num_candidates: slots of a group; unused ones are padding.

  Returns:
    Tokens in the order of the groups.
  """
  padded = np.zeros((num_groups, num_candidates, targets.shape[1]), np.int32)
  for row, group in enumerate(groups):
    padded[row, : len(group)] = targets[group]
  return padded


def to_features(
  inputs: Int[np.ndarray, "rows inputs_length"],
  targets: Int[np.ndarray, "batch candidates length"],
  nodes_length: int,
) -> dict[str, np.ndarray]:
  """The batch of candidate lists whose decoder inputs are trees.

  Args:
    inputs: instruction tokens, 0 where padded; each row may have several
      trees of targets, next to each other.
    targets: response tokens of each candidate, 0 where padded.
    nodes_length: decoder positions of a request, at least `num_nodes`.

  Returns:
    As `features.to_features`, but for `decoder_input_tokens`, which is
    [batch, nodes_length]; with `decoder_positions` (a node's depth) and
    `decoder_subtree_ends` of that shape, and `decoder_target_nodes` of the
    shape of the targets: where each target is predicted.

  Raises:
    ValueError: where a list needs more than `nodes_length` positions.
  """
  batch = len(targets)
  forest = _forest(targets)
  nodes = forest.nodes.reshape(targets.shape)
  # A request's nodes lie next to each other, in the order of requests.
  request = np.zeros(len(forest), np.int64)
  owner = np.broadcast_to(np.arange(batch)[:, None, None], nodes.shape)
  request[nodes[nodes >= 0]] = owner[nodes >= 0]
  first = np.searchsorted(request, np.arange(batch))
  slot = np.arange(len(forest)) - first[request]
  if slot.max(initial=-1) >= nodes_length:
    raise ValueError(
      f"a candidate list has {slot.max() + 1} distinct prefixes, expected at "
      f"most {nodes_length}; raise nodes_length"
    )

  def fill(values: np.ndarray) -> Int[np.ndarray, "batch nodes_length"]:
    result = np.zeros((batch, nodes_length), np.int32)
    result[request, slot] = values
    return result

  starts = forest.depths == 0
  return {
    "encoder_input_tokens": inputs,
    "decoder_input_tokens": fill(np.where(starts, 0, forest.values)),
    "decoder_positions": fill(forest.depths),
    "decoder_subtree_ends": fill(forest.ends - first[request]),
    "decoder_target_nodes": np.where(
      nodes >= 0, nodes - first[:, None, None], 0
    ).astype(np.int32),
    "decoder_target_tokens": targets,
    "decoder_loss_weights": (targets > 0).astype(np.float32),
  }
