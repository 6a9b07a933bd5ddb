"""What a launch compiles: model, optimizer, batch and mesh of its gin files.

`launch_files.py` reads it from them.
"""

import copy
import dataclasses
from typing import Any

import flax.core
import jax
import numpy as np
from flax import traverse_util
from flax.linen import partitioning

from instructrec.alignment import list_arrays, list_objective
from instructrec.models import tokenizer
from instructrec.models.generation import catalog_trie
from instructrec.models.objectives import objective
from instructrec.models.scoring import features
from instructrec.training import packing, runner

STEPS = ("train", "score")


class LaunchError(ValueError):
  """Gin files from which no step can be compiled."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """What may be changed so that a step fits, its result unchanged.

  Attributes:
    model: devices that share a copy of the weights.
    shard_parameters: whether parameters are split over the data axis too.
    num_microbatches: parts of a batch, one after the other.
    remat_policy: what the backward pass computes again.
  """

  model: int
  shard_parameters: bool
  num_microbatches: int
  remat_policy: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Catalog:
  """The data of a run that is rewarded for lists, which nobody has here.

  Attributes:
    items: how many there are.
    title_length: tokens of the longest title, its end included.
    history: items of the longest history.
    teacher: items of the longest list of a retriever's best.
  """

  items: int = 10_000
  title_length: int = 16
  history: int = 20
  teacher: int = 100

  def trie(self, *, vocab_size: int, eos_id: int) -> catalog_trie.CatalogTrie:
    """As many titles of random tokens, the longest as long as is said.

    Tokens of low ids are the commoner ones, as in vocabularies.
    """
    rng = np.random.default_rng(0)
    # The last tokens are left to be those between titles.
    numbers = np.arange(2, min(tokenizer.counting_sentinels(vocab_size)))
    numbers = numbers[numbers != eos_id]
    lengths = rng.integers(3, self.title_length, self.items)
    lengths[0] = self.title_length - 1
    titles: dict[tuple[int, ...], None] = {}
    while len(titles) < self.items:
      size = int(lengths[len(titles)])
      places = (len(numbers) * rng.random(size) ** 4).astype(np.int64)
      titles[(*numbers[places].tolist(), eos_id)] = None
    return catalog_trie.CatalogTrie.build(
      [*titles], eos_id=eos_id, vocab_size=vocab_size
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
  """A training run as far as it decides what is compiled.

  Attributes:
    config: model, optimizer, mesh and microbatches.
    batch_size: rows of the global batch.
    inputs_length: width of an instruction, in tokens.
    targets_length: width of a response or candidate, in tokens.
    pack: whether several examples share a row.
    loss_on_targets_only: whether instructions are not learnt.
    score_batch_size: candidate lists scored at once.
    num_candidates: candidates of a list.
    history_length: titles of a history that are read item by item.
    title_length: width of such a title, in tokens.
    num_drawn: items drawn beside the target of each row.
    catalog: of a run that is rewarded for lists.
    rng_impl: JAX's name of the random generator; None for its default.
    t5x: whether the files are for T5X.
  """

  config: runner.TrainConfig
  batch_size: int
  inputs_length: int
  targets_length: int
  pack: bool
  score_batch_size: int
  num_candidates: int
  loss_on_targets_only: bool = True
  history_length: int = 0
  title_length: int = 24
  num_drawn: int = 0
  catalog: Catalog | None = None
  rng_impl: str | None = None
  t5x: bool = False

  @property
  def network(self) -> Any:
    """The sizes of the network."""
    model: Any = self.config.model
    return model.module.config

  @property
  def objectives(self) -> list[objective.Objective]:
    """Those of training, sums taken apart."""
    model: Any = self.config.model
    if isinstance(model.objective, objective.WeightedSum):
      return list(model.objective.objectives)
    return [model.objective]

  @property
  def lists(self) -> list_objective.ListObjective | None:
    """That which is rewarded for lists, if any is."""
    found = list_objective.ListObjective
    return next((x for x in self.objectives if isinstance(x, found)), None)

  def with_catalog(self, catalog: Catalog) -> "Launch":
    """The same run on a catalogue of some size, where it writes lists."""
    if self.lists is None:
      return self
    model: Any = self.config.model
    vocab_size = model.vocab_size
    trie = catalog.trie(
      vocab_size=vocab_size, eos_id=model.network_config.eos_id
    )
    separators = tokenizer.counting_sentinels(vocab_size)
    bound = list_objective.bound(model.objective, trie, separators)
    config = dataclasses.replace(self.config, model=model.learning(bound))
    return dataclasses.replace(self, config=config, catalog=catalog)

  @property
  def joined(self) -> bool:
    """Whether training rows hold prompt and answer in one sequence."""
    reads_rows = self.config.model.reads_rows
    return reads_rows and (self.pack or not self.loss_on_targets_only)

  @property
  def row_length(self) -> int:
    """Width of such a row, in tokens."""
    return self.inputs_length + self.targets_length

  @property
  def axes(self) -> set[tuple[str, int]]:
    """Logical name and size of each axis of the parameters."""
    model: Any = self.config.model
    shapes = {name: x.shape for name, x in self.batch("train").items()}
    variables = jax.eval_shape(
      lambda rng: model.get_initial_variables(rng, shapes), jax.random.key(0)
    )
    names = partitioning.get_axis_names(variables["params_axes"])
    flat = traverse_util.flatten_dict(flax.core.unfreeze(names))
    params = traverse_util.flatten_dict(variables["params"])
    return {
      axis
      for path, found in params.items()
      for axis in zip(flat[path], found.shape, strict=True)
    }

  @property
  def settings(self) -> Settings:
    """What `with_settings` may change."""
    return Settings(
      model=self.config.mesh.model,
      shard_parameters=self.config.mesh.shard_parameters,
      num_microbatches=self.config.num_microbatches,
      remat_policy=self.network.remat_policy,
    )

  def with_settings(self, settings: Settings) -> "Launch":
    """The same run with other settings."""
    model: Any = copy.copy(self.config.model)
    model.module = model.module.clone(
      config=dataclasses.replace(
        self.network, remat_policy=settings.remat_policy
      )
    )
    mesh = dataclasses.replace(
      self.config.mesh,
      model=settings.model,
      shard_parameters=settings.shard_parameters,
    )
    config = dataclasses.replace(
      self.config,
      model=model,
      mesh=mesh,
      num_microbatches=settings.num_microbatches,
    )
    return dataclasses.replace(self, config=config)

  def batch(self, step: str) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types of the global batch of a step.

    Args:
      step: "train" or "score".

    Returns:
      As `BatchStream.batch`, or as `batches.list_batch`.
    """
    targets: tuple[int, ...] = (self.targets_length,)
    if step == "train":
      rows = self.batch_size
    else:
      rows = self.score_batch_size
      targets = (self.num_candidates, self.targets_length)
    arrays = features.to_features(
      np.zeros((rows, self.inputs_length), np.int32),
      np.zeros((rows, *targets), np.int32),
    )
    if step == "train" and self.joined:
      arrays = packing.join_features(arrays)
    if step == "train" and self.pack:
      arrays = packing.pack_features(arrays, [1] * rows)
    choices = self.num_drawn and 1 + self.num_drawn
    if step != "train" and (self.history_length or self.num_drawn):
      choices = self.num_candidates
    for name, count in (("history", self.history_length), ("choice", choices)):
      if count:
        arrays |= features.item_arrays(
          name,
          np.zeros((rows, count), np.int32),
          np.zeros((1, self.title_length), np.int32),
          np.zeros((1, features.NUM_LOGS), np.float32),
        )
    if step == "train" and choices:
      arrays["choice_follows"] = np.zeros((rows, 1), np.int32)
    if step == "train" and self.catalog is not None:
      arrays |= list_arrays.zeros(
        rows,
        items=self.catalog.items,
        history=self.catalog.history,
        teacher=self.catalog.teacher,
      )
      arrays["list_keys"] = np.zeros((rows, 2), np.int32)
    return {
      name: jax.ShapeDtypeStruct(array.shape, array.dtype)
      for name, array in arrays.items()
    }
