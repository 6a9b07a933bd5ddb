"""Reads gin files for T5X without T5X.

The embedded runner's step is then compiled with the same model, optimizer,
batch, lengths, mesh and random numbers. Only our files are read; of T5X's own
nothing is needed, for `gin/runs/t5x_finetune.gin` sets all that matters here.
"""

import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from instructrec.models import ranking_model
from instructrec.preflight import launch as launch_lib
from instructrec.training import gin_data, mesh, optimizer, runner, t5x_files

# Modules whose classes and functions are called, with what is bound for them.
_CALLED = (
  "instructrec.models.networks.",
  "instructrec.models.objectives.",
  "instructrec.alignment.list_objective",
  "instructrec.training.data_config",
)


class Bindings:
  """The values that gin files give, later ones over earlier ones."""

  def __init__(self, files: Sequence[str], bindings: Sequence[str]) -> None:
    self._data = t5x_files.read(files, bindings)

  def macro(self, name: str) -> Any:
    """The value of a macro.

    Raises:
      LaunchError: where it has none.
    """
    if name not in self._data.macros:
      raise launch_lib.LaunchError(
        f"the gin files give {name} no value; set --gin.{name}=..., or include "
        "gin/runs/t5x_finetune.gin, a file of gin/models and one of "
        "gin/mixtures"
      )
    return self._resolve(self._data.macros[name].value)

  def of(self, name: str, *known: str, scope: str = "") -> dict[str, Any]:
    """Parameters bound for a class or function, macros resolved.

    Args:
      name: of the class, without its module.
      known: parameters that may be bound; none named, any may.
      scope: gin scope of the bindings.

    Raises:
      LaunchError: where another is bound: it might change what is compiled.
    """
    # Classes are told apart by name: files import them as they like.
    bound = self._data.of(name, scope)
    unknown = set(bound) - set(known)
    if known and unknown:
      raise launch_lib.LaunchError(
        f"{name}.{min(unknown)} is bound; preflight of a T5X launch knows "
        f"{', '.join(known)} only"
      )
    return {name: self._resolve(b.value) for name, b in bound.items()}

  def _resolve(self, value: Any) -> Any:
    return gin_data.resolve(
      value, lambda found: self.macro(found.name), self._called
    )

  def _called(self, reference: gin_data.Reference) -> Any:
    """What a reference gives, of modules in `_CALLED`; else the reference."""
    module, _, name = reference.selector.rpartition(".")
    if not (reference.is_called and module.startswith(_CALLED)):
      return reference
    bound = self.of(name)
    if reference.scopes:
      bound |= self.of(name, scope="/".join(reference.scopes))
    bound = {k: v for k, v in bound.items() if not _of_data(v)}
    return getattr(importlib.import_module(module), name)(**bound)


def _of_data(value: Any) -> bool:
  """Whether a value comes from data, which nobody has here."""
  return isinstance(value, gin_data.Reference) and value.selector.startswith(
    "instructrec.pipelines."
  )


# Parameters that say where data and rates come from, not what is computed.
_NOT_COMPILED = {
  "input_vocabulary",
  "output_vocabulary",
  "feature_converter_cls",
  "optimizer_def",
  "throughput",
  "decoder",
}


def _expect(what: str, found: Any, expected: str) -> None:
  name = found
  if isinstance(found, gin_data.Reference):
    name = found.selector.split(".")[-1]
  if name != expected:
    raise launch_lib.LaunchError(
      f"{what} is {name!r}; preflight of a T5X launch knows {expected} only"
    )


def _model(bindings: Bindings) -> ranking_model.NetworkRankingModel:
  _expect("MODEL", bindings.macro("MODEL"), "NetworkRankingModel")
  settings = bindings.of("NetworkRankingModel")
  return ranking_model.NetworkRankingModel(
    **{k: v for k, v in settings.items() if k not in _NOT_COMPILED}
  )


def _optimizer(bindings: Bindings) -> Any:
  found = bindings.macro("OPTIMIZER")
  # Of adapters alone, which are what is trained.
  if not str(getattr(found, "selector", "")).endswith(".MultiOptimizer"):
    _expect("OPTIMIZER", found, "Adafactor")
  settings = bindings.of("Adafactor")
  # Where T5X starts to count, and which axes it factors by name.
  for ignored in ("step_offset", "logical_factor_rules", "learning_rate"):
    settings.pop(ignored, None)
  schedule = bindings.of("create_learning_rate_scheduler")
  try:
    return optimizer.adafactor(
      schedule.get("base_learning_rate", 1e-3), **settings
    )
  except TypeError as error:
    raise launch_lib.LaunchError(
      f"preflight does not know a setting of T5X's Adafactor: {error}"
    ) from error


_SEQUENCE_RULE = ("residual_length", "model")


def _mesh(bindings: Bindings) -> mesh.MeshConfig:
  partitioner = bindings.of(
    "PjitPartitioner",
    "num_partitions",
    "model_parallel_submesh",
    "logical_axis_rules",
  )
  rules = bindings.of(
    "standard_logical_axis_rules",
    "activation_partitioning_dims",
    "parameter_partitioning_dims",
    "additional_rules",
  )
  if rules.get("activation_partitioning_dims", 1) != 1:
    raise launch_lib.LaunchError(
      "standard_logical_axis_rules.activation_partitioning_dims is "
      f"{rules['activation_partitioning_dims']}; preflight knows 1 only"
    )
  additional = [tuple(rule) for rule in rules.get("additional_rules", ())]
  if additional not in ([], [_SEQUENCE_RULE]):
    raise launch_lib.LaunchError(
      f"standard_logical_axis_rules.additional_rules is {additional}; "
      f"preflight knows [{_SEQUENCE_RULE}] only"
    )
  submesh = partitioner.get("model_parallel_submesh")
  return mesh.MeshConfig(
    model=math.prod(submesh)
    if submesh
    else partitioner.get("num_partitions") or 1,
    shard_parameters=rules.get("parameter_partitioning_dims", 1) == 2,
    shard_sequence=bool(additional),
  )


def _candidates(rerank: Mapping[str, Any]) -> int:
  """Longest list of a reranking evaluation; 10 where there is none."""
  targets = (rerank.get("task_feature_lengths") or {}).get("targets")
  # Others than pairs are of texts that are written.
  return targets[0] if isinstance(targets, tuple) else 10


def read(files: Sequence[str], bindings: Sequence[str]) -> launch_lib.Launch:
  """The launch of gin files that T5X trains with.

  Args:
    files: such as gin/instructrec_xl.gin.
    bindings: gin bindings over them.

  Returns:
    The launch.

  Raises:
    LaunchError: where they set something that decides what is compiled and
      that the embedded runner does not have, or set too little.
  """
  found = Bindings(files, bindings)
  lengths = found.macro("TASK_FEATURE_LENGTHS")
  # T5X's run files take the rest from macros.
  train = found.of(
    "DatasetConfig", "seed", "shuffle", "use_cached", "pack", scope="train"
  )
  rerank = found.of("DatasetConfig", scope="infer_eval")
  if not isinstance(lengths["targets"], int):
    raise launch_lib.LaunchError(
      "TASK_FEATURE_LENGTHS has targets of rank 2: these files evaluate or "
      "infer. Give those of a training run; --step=score compiles its scoring"
    )
  history, choices = lengths.get("history"), lengths.get("choices")
  _, *sizes = lengths.get("lists", (0, 0, 0))
  model: Any = _model(found)
  trainer = found.of("Trainer", "num_microbatches", "learning_rate_fn")
  return launch_lib.Launch(
    config=runner.TrainConfig(
      model=model,
      optimizer=_optimizer(found),
      train_steps=found.macro("TRAIN_STEPS"),
      mesh=_mesh(found),
      num_microbatches=trainer.get("num_microbatches") or 1,
      mean_loss=False,
    ),
    batch_size=found.macro("BATCH_SIZE"),
    inputs_length=lengths["inputs"],
    targets_length=lengths["targets"],
    # T5X's run files pack.
    pack=train.get("pack", True),
    loss_on_targets_only=found.of("RowFeatureConverter").get(
      "loss_on_targets_only", True
    ),
    history_length=history[0] if history else 0,
    title_length=(history or choices or (0, 24))[1],
    num_drawn=choices[0] - 1 if choices else 0,
    catalog=launch_lib.Catalog(history=sizes[0], teacher=sizes[1])
    if "lists" in lengths
    else None,
    score_batch_size=rerank.get("batch_size", 32),
    num_candidates=_candidates(rerank),
    # T5X's name for what USE_HARDWARE_RNG switches on.
    rng_impl="unsafe_rbg" if found.macro("USE_HARDWARE_RNG") else None,
    t5x=True,
  )
