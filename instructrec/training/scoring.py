"""Scores the candidate lists of a data set, in compiled batches.

Lists are scored as trees (`models/scoring/candidate_tree.py`). They go into
buckets by the length of their instruction and the size of their tree, so that
no list is padded to the longest of all; each bucket is compiled once, for as
many requests as fit a budget of tokens. A long list becomes several trees over
one instruction: in a tree each node looks at each, so that one tree of the
whole list would take time and memory with the square of its length.

Over a mesh, the requests of a batch are split over "data" and the parameters
over "model"; with several processes each makes the rows of its own devices, and
all get all scores.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from instructrec import progress
from instructrec.models import protocol
from instructrec.models.scoring import (
  candidate_scores,
  candidate_tree,
  features,
)
from instructrec.training import (
  batches,
  distributed,
  item_arrays,
  ragged,
  token_dataset,
)
from instructrec.training import mesh as mesh_lib

# Lists whose trees are counted at once.
_BLOCK = 1024
# Of a tree at most, unless a single candidate has more nodes.
_TREE_NODES, _TREE_CANDIDATES = 512, 128
# Sizes of batches that may be compiled for a bucket, and what the width of
# candidates is rounded up to: other requests then rarely have other shapes.
_SIZES, _WIDTH = 8, 16


def _num_nodes(
  dataset: token_dataset.TokenDataset,
  examples: Int[np.ndarray, " requests"],
  longest: Int[np.ndarray, " requests"],
) -> Int[np.ndarray, " requests"]:
  """Size of each list's tree; `longest` is that of each list's candidates."""
  counts = dataset.num_candidates
  found = []
  for start in range(0, len(examples), _BLOCK):
    block = slice(start, start + _BLOCK)
    targets = dataset.pad_lists(
      examples[block],
      int(longest[block].max()),
      int(counts[examples[block]].max()),
    )
    found.append(candidate_tree.num_nodes(targets))
  return np.concatenate(found)


def _one_list(
  dataset: token_dataset.TokenDataset, example: int, length: int
) -> Int[np.ndarray, "candidates length"]:
  (targets,) = dataset.pad_lists(
    np.array([example]), length, int(dataset.num_candidates[example])
  )
  return targets


def _trees(
  dataset: token_dataset.TokenDataset,
  examples: Int[np.ndarray, " requests"],
  longest: Int[np.ndarray, " requests"],
  one_shape: bool,
) -> tuple[
  Int[np.ndarray, " requests"],
  Int[np.ndarray, " requests"],
  dict[int, list[Int[np.ndarray, " group"]]],
]:
  """Nodes of a tree and trees of each list, rounded up to few sizes.

  The lists of several trees have their candidates by tree, too.
  """
  nodes = _num_nodes(dataset, examples, longest)
  trees = np.ones_like(nodes)
  groups = {}
  large = nodes > _TREE_NODES
  if one_shape:
    large[:] = large.any()
  for row in np.flatnonzero(large).tolist():
    groups[row] = candidate_tree.split(
      _one_list(dataset, int(examples[row]), int(longest[row])),
      most_nodes=_TREE_NODES,
      most_candidates=_TREE_CANDIDATES,
    )
    count = len(groups[row])
    # Four sizes an octave.
    step = max(1, 2 ** (count.bit_length() - 3))
    trees[row] = -(-count // step) * step
    nodes[row] = max(_TREE_NODES, longest[row])
  return features.padded_lengths(nodes), trees, groups


@dataclasses.dataclass(frozen=True)
class _Shape:
  """What a bucket is compiled for.

  Attributes:
    inputs: tokens of an instruction.
    targets: tokens of a candidate.
    nodes: of a tree.
    trees: of a list.
  """

  inputs: int
  targets: int
  nodes: int
  trees: int

  @property
  def tokens(self) -> int:
    """Those of a request's instruction and trees."""
    return self.inputs + self.trees * self.nodes


@dataclasses.dataclass(frozen=True, eq=False)
class _Lists:
  """Lists in buckets of one shape; a request is a place in `examples`.

  Attributes:
    dataset: requests with candidate lists.
    examples: which of them are scored.
    items: of a run that reads items.
    texts: the instructions of the data set.
    targets_length: tokens of any candidate, at most.
    longest: tokens of each request's longest candidate.
    sizes: tokens of each request's instruction, nodes of a tree, trees.
    groups: the candidates of each tree, of requests that have several.
  """

  dataset: token_dataset.TokenDataset
  examples: Int[np.ndarray, " requests"]
  items: item_arrays.ItemArrays | None
  texts: ragged.Ragged
  targets_length: int
  longest: Int[np.ndarray, " requests"]
  sizes: Int[np.ndarray, "requests 3"]
  groups: dict[int, list[Int[np.ndarray, " group"]]]

  @classmethod
  def of(
    cls,
    dataset: token_dataset.TokenDataset,
    examples: Int[np.ndarray, " requests"],
    items: item_arrays.ItemArrays | None,
    inputs_length: int,
    targets_length: int,
    one_shape: bool,
  ) -> "_Lists":
    """Counts tokens, nodes and trees; pads nothing yet."""
    texts = batches.instructions(dataset, items)
    inputs = np.minimum(texts.lengths[examples], inputs_length)
    inputs = np.minimum(features.padded_lengths(inputs), inputs_length)
    starts = dataset.list_offsets[:-1]
    longest = np.maximum.reduceat(dataset.targets.lengths, starts)
    longest = longest[examples]
    nodes, trees, groups = _trees(dataset, examples, longest, one_shape)
    sizes = np.stack([inputs, nodes, trees], axis=1)
    if one_shape:
      sizes[:] = sizes.max(0)
    return cls(
      dataset,
      examples,
      items,
      texts,
      targets_length,
      longest,
      sizes,
      groups,
    )

  @functools.cached_property
  def width(self) -> int:
    """Candidates of the longest list."""
    return int(self.dataset.num_candidates[self.examples].max())

  def buckets(self) -> Iterator[tuple[_Shape, Int[np.ndarray, " members"]]]:
    """The requests of each shape."""
    for size in np.unique(self.sizes, axis=0):
      (members,) = np.nonzero((self.sizes == size).all(1))
      targets = -(-int(self.longest[members].max()) // _WIDTH) * _WIDTH
      inputs, nodes, trees = map(int, size)
      targets = min(targets, self.targets_length)
      yield _Shape(inputs, targets, nodes, trees), members

  def batch(
    self, requests: Int[np.ndarray, " batch"], shape: _Shape
  ) -> protocol.Batch:
    """What the model scores of some requests of a bucket."""
    dataset, examples = self.dataset, self.examples[requests]
    padded = dataset.pad_lists(examples, shape.targets, self.width)
    if shape.trees > 1:
      groups = [self.groups[request] for request in requests.tolist()]
      padded = np.concatenate(
        [
          candidate_tree.pad_groups(rows, found, shape.trees, _TREE_CANDIDATES)
          for rows, found in zip(padded, groups, strict=True)
        ]
      )
    batch = candidate_tree.to_features(
      self.texts.pad(examples, shape.inputs), padded, shape.nodes
    )
    if self.items is not None:
      # Titles are scored as text: which items they are nothing asks.
      batch |= self.items.history_arrays(self.items.history(dataset, examples))
    return batch

  def put(
    self,
    scores: Float[np.ndarray, "requests candidates"],
    requests: Int[np.ndarray, " batch"],
    found: Float[np.ndarray, "batch trees tree_candidates"],
  ) -> None:
    """Puts what was found for a batch where its candidates are."""
    whole = [np.arange(self.width)]
    for request, row in zip(requests.tolist(), found, strict=True):
      parts = self.groups.get(request, whole)
      # Trees past the last group are padding.
      for part, tree in zip(parts, row, strict=False):
        scores[request, part] = tree[: len(part)]


def _batches(
  members: Int[np.ndarray, " members"], most: int, multiple: int
) -> list[Int[np.ndarray, " batch"]]:
  """Cuts `members` into batches of one size, a multiple of `multiple`.

  The last one is filled up with repeats, to be compiled as the others. `most`
  is a multiple of `multiple` as well.
  """
  count = -(-len(members) // most)
  size = -(-len(members) // count)
  step = multiple * -(-most // (multiple * _SIZES))
  size = min(-(-size // step) * step, most)
  return [
    np.resize(members[start : start + size], size)
    for start in range(0, len(members), size)
  ]


@functools.lru_cache(maxsize=8)
def _score_fn(
  model: protocol.RankingModel,
  normalizations: tuple[str, ...],
  mesh_config: mesh_lib.MeshConfig | None,
) -> Callable[[Any, Any], dict[str, jax.Array]]:
  """Scores under each normalisation from one pass, compiled once a shape."""

  def score(params: Any, batch: protocol.Batch) -> dict[str, jax.Array]:
    _, auxiliary = model.score_batch(params, batch, return_intermediates=True)
    decoder = auxiliary["decoder"]
    (tokens,), (weights,) = decoder["token_scores"], decoder["loss_weights"]
    return {
      name: candidate_scores.candidate_scores(
        tokens, weights, normalization=name
      )
      for name in normalizations
    }

  everywhere = mesh_lib.replicated(mesh_lib.scoring_mesh(mesh_config))
  return jax.jit(score, out_shardings=everywhere)


def score_lists(
  model: protocol.RankingModel,
  params: Any,
  dataset: token_dataset.TokenDataset,
  examples: Int[np.ndarray, " requests"],
  *,
  inputs_length: int,
  targets_length: int,
  normalizations: Sequence[str] = (),
  batch_size: int = 32,
  max_tokens: int = 16384,
  mesh_config: mesh_lib.MeshConfig | None = None,
  items: item_arrays.ItemArrays | None = None,
  one_shape: bool = False,
  label: str | None = "score",
) -> dict[str, Float[np.ndarray, "requests candidates"]]:
  """Log-likelihood of each candidate of each request, in nats.

  With several processes each calls this with the same arguments.

  Args:
    model: its `score_batch` scores a list with one encoder pass.
    params: the model's parameters, where `mesh_config` lays them.
    dataset: requests with candidate lists.
    examples: which of them.
    inputs_length: longest instruction, in tokens; longer ones are cut.
    targets_length: longest candidate, in tokens.
    normalizations: "sum" over a candidate's tokens, "mean" over them, or both;
      empty for the model's own.
    batch_size: most requests scored at once, rounded up to a multiple of the
      mesh's data axis.
    max_tokens: most tokens of a batch on a device, those of the instructions
      and of the candidates' trees together; a single request may have more.
    mesh_config: how the devices of all processes share the work; None for one
      device.
    items: of a run that reads items; batches then hold `history_*`.
    one_shape: whether all lists are padded to the longest, for the sake of one
      compiled program: few lists that are scored again and again.
    label: what the progress line says; None for none.

  Returns:
    float64 scores by normalisation, all from one pass; slots past the end of
    a list are minus infinity.

  Raises:
    ValueError: where a candidate is longer than `targets_length`: cut
      candidates could not be told apart; or the devices do not divide.
  """
  longest = int(dataset.targets.lengths.max())
  if longest > targets_length:
    raise ValueError(
      f"{dataset.name} has candidates of {longest} tokens, expected at most "
      f"{targets_length}; raise the length of the targets"
    )
  device_mesh = mesh_lib.scoring_mesh(mesh_config)
  data = device_mesh.shape["data"]
  lists = _Lists.of(
    dataset, examples, items, inputs_length, targets_length, one_shape
  )
  names = tuple(normalizations) or (model.score_normalization,)
  # Models are compared by identity, which their protocol does not say.
  score_fn = _score_fn(model, names, mesh_config)  # type: ignore[arg-type]
  scores = {
    name: np.full((len(examples), lists.width), -np.inf) for name in names
  }
  with (
    mesh_lib.use(device_mesh, mesh_config or mesh_lib.MeshConfig()),
    progress.Progress(
      len(examples),
      label,
      unit="lists",
      enabled=distributed.is_lead(),
    ) as line,
  ):
    for shape, members in lists.buckets():
      most = np.clip(max_tokens // shape.tokens, 1, -(-batch_size // data))
      for chosen in _batches(members, int(most) * data, data):
        size = len(chosen)
        own = mesh_lib.process_rows(device_mesh, size, jax.process_index())
        rows = lists.batch(chosen[own], shape)
        batch = mesh_lib.global_batch(device_mesh, rows, size)
        for name, found in score_fn(params, batch).items():
          values = np.asarray(found, np.float64)
          lists.put(scores[name], chosen, values.reshape(size, shape.trees, -1))
        line.advance(len(np.unique(chosen)))
  return scores
