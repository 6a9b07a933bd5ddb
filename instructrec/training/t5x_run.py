"""A run that T5X trained, from its MODEL_DIR; and a model of gin files alone.

T5X leaves `config.gin` and `checkpoint_<step>` in its MODEL_DIR, and says
neither where its data were nor in which vocabulary: who opens the run does. Of
the settings only those of the model and of its data are taken, under the rules
of `strict_gin`; what T5X runs beside them is neither imported nor called.
"""

import dataclasses
import math
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from instructrec import checkpoint_steps
from instructrec.models import ranking_model, tokenizer
from instructrec.models.checkpoint import adapted, opening
from instructrec.models.networks import adapters
from instructrec.training import (
  adapted_network,
  data_config,
  distributed,
  gin_config,
  gin_data,
  initial_checkpoint,
  item_titles,
  run_dir,
  strict_gin,
  t5x_files,
  trained_run,
)
from instructrec.training import mesh as mesh_lib

# What trains, reads and evaluates: T5X's part, and ours that serves it alone.
_T5XS = (
  "t5x",
  "flax.traverse_util",
  "seqio",
  "__main__",
  "instructrec.pipelines",
  "instructrec.training.initial_checkpoint",
  "instructrec.models.objectives.training_metrics",
)
_OPTIMIZER = "optimizer_def"
_TASKS = "instructrec.pipelines.tasks_v1"
# Of SeqIO tasks that name their items; the same rows are evaluated without.
_ITEMS = "_items"
# Likewise of tasks that say what is asked of lists.
_ASKED = "_asked"
# Lengths of texts, where files say none.
_DEFAULTS = "gin/mixtures/instructrec_rerank.gin"
_Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Checkpoints:
  """A checkpoint, or a folder of them, of any form that is read.

  Attributes:
    path: where it lies, on disk or in a bucket.
    lora: the adapters that lie beside the network in it, if any.
  """

  path: str
  lora: adapters.LoRA | None = None

  @property
  def folder(self) -> pathlib.Path:
    """The folder."""
    return pathlib.Path(self.path)

  def restore(
    self, abstract: Any, step: checkpoint_steps.Step
  ) -> tuple[Any, checkpoint_steps.Chosen]:
    """Parameters of a checkpoint, adapters merged; see `Parameters`.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
      CheckpointError: where it is of another network than the settings say.
      ValueError: where the processes see different ones.
    """
    found = opening.open_checkpoint(self.path, step)
    distributed.check_agreement({"the checkpoint of the run": found.path})
    chosen = checkpoint_steps.Chosen(found.step, found.reason or "the only one")
    if self.lora is None:
      return initial_checkpoint.place(found, abstract), chosen
    both = adapted_network.AdaptedNetwork(
      found, self.lora, adapted.network_of(found)
    )
    return both.place(abstract), chosen


def load(
  directory: _Path,
  *,
  tfds_data_dir: _Path | None,
  vocabulary: _Path | None = None,
  modules: Sequence[str] = (),
) -> trained_run.Run:
  """Opens a MODEL_DIR of T5X, which may be anyone's.

  Args:
    directory: the folder, on disk.
    tfds_data_dir: the instructions that it was trained on.
    vocabulary: the SentencePiece model that it was trained with; None for the
      one that T5X would take here, see `tokenizer.default_path`.
    modules: Python modules that its settings may name beside ours.

  Returns:
    The run.

  Raises:
    FileNotFoundError: where vocabulary or instructions are not said, or gone.
    NotAllowedError: where the settings name anything else.
    ValueError: where they cannot be read, or are of a model of T5X's own.
  """
  folder = pathlib.Path(directory).absolute()
  path = folder / run_dir.CONFIG
  settings = Settings(strict_gin.read(path), modules)
  return trained_run.Run(
    directory=folder,
    parameters=Checkpoints(str(folder), settings.lora),
    start=_start(folder, settings),
    config=path.read_text(encoding="utf-8"),
    **settings.fields(f"the run in {folder}", tfds_data_dir, vocabulary),
  )


def of_files(
  files: Sequence[str],
  bindings: Sequence[str] = (),
  *,
  checkpoint: str,
  tfds_data_dir: _Path | None,
  vocabulary: _Path | None = None,
  modules: Sequence[str] = (),
) -> trained_run.Run:
  """A model of gin files, for a checkpoint that lies in no folder of a run.

  Args:
    files: such as gin/models/xl.gin, and one of gin/objectives/.
    bindings: over them, such as `INPUTS_LENGTH=256`.
    checkpoint: its parameters.
    tfds_data_dir: the instructions.
    vocabulary: as in `load`.
    modules: Python modules that the files may name beside ours.

  Returns:
    The run; what it began as is not known.

  Raises:
    FileNotFoundError: where a file is missing, and as in `load`.
    NotAllowedError: as in `load`.
    ValueError: as in `load`.
  """
  data = t5x_files.read([_DEFAULTS, *files])
  for binding in bindings:
    _put_over(data, binding)
  settings = Settings(data, modules)
  lines = [f"include {file!r}" for file in (_DEFAULTS, *files)]
  return trained_run.Run(
    directory=pathlib.Path(checkpoint).absolute().parent,
    parameters=Checkpoints(checkpoint, settings.lora),
    start=None,
    config="\n".join([*lines, *bindings]) + "\n",
    **settings.fields(", ".join(files), tfds_data_dir, vocabulary),
  )


def _put_over(data: gin_data.GinData, text: str) -> None:
  """Adds a binding of the command line, whose name may lack its module."""
  over = gin_data.GinData()
  over.read(text, t5x_files.option(text))
  for binding in over.bindings:
    name = binding.selector
    if not binding.parameter and name not in data.macros:
      raise gin_config.unknown_macro(name, data.macros)
    if binding.parameter:
      known = {b.selector for b in data.bindings if b.parameter}
      named = {s for s in known if f".{s}".endswith(f".{name}")}
      if len(named) != 1:
        raise gin_data.GinDataError(
          f"{binding.place.file}: the gin files bind no {name}; they bind "
          f"{', '.join(sorted(known))}"
        )
      binding = dataclasses.replace(binding, selector=named.pop())
    data.bindings.append(binding)


class Settings:
  """What gin files for T5X say of a model and its data.

  Args:
    data: the files.
    modules: Python modules that they may name beside ours.

  Raises:
    NotAllowedError: where they name something that is neither T5X's nor ours.
  """

  def __init__(
    self, data: gin_data.GinData, modules: Sequence[str] = ()
  ) -> None:
    kept = gin_data.GinData()
    kept.imports = [f for f in data.imports if not _is_t5xs(f.module)]
    kept.bindings = [b for b in data.bindings if not _serves_t5x(b)]
    self._gin = strict_gin.StrictGin(kept, modules)
    # A module that is imported and not named registers tasks.
    ours = "instructrec."
    self._modules = [
      f.module for f in kept.imports if not f.module.startswith(ours)
    ]

  def macro(self, name: str, default: Any = None) -> Any:
    """The value of a macro; `default` where it has none."""
    found = self._gin.macro(name)
    return default if found is None else found

  @property
  def model(self) -> ranking_model.NetworkRankingModel:
    """The model.

    Raises:
      GinDataError: where the files make none of ours.
    """
    model = self.macro("MODEL")
    if not isinstance(model, ranking_model.NetworkRankingModel):
      raise gin_data.GinDataError(
        "MODEL is no NetworkRankingModel; expected that of gin/models/ (a "
        "model of T5X's own is evaluated by T5X's eval.py: docs/t5x.md)"
      )
    return model

  @property
  def lora(self) -> adapters.LoRA | None:
    """The adapters of the model."""
    found: adapters.LoRA | None = self.model.network_config.adapter
    return found

  def _lengths(self) -> dict[str, Any]:
    found: dict[str, Any] | None = self.macro("TASK_FEATURE_LENGTHS")
    if found is not None:
      return found
    history, drawn = self.macro("HISTORY_LENGTH", 0), self.macro("NUM_DRAWN", 0)
    titles = {}
    if history or drawn:
      titles["title_length"] = self._length("TITLE_LENGTH", 24)
    return data_config.feature_lengths(
      inputs=self._length("INPUTS_LENGTH"),
      targets=self._length("TARGETS_LENGTH"),
      history_length=history,
      num_drawn=drawn,
      **titles,
    )

  def _length(self, name: str, default: Any = None) -> Any:
    found = self.macro(name, default)
    if found == 0:
      raise gin_data.GinDataError(
        f"{name} is 0, by which `train` takes it from its data; expected a "
        "width in tokens, as the config.gin of the run has it: "
        f"--gin.{name}=..."
      )
    return found

  def _data(self) -> data_config.DataConfig:
    lengths = self._lengths()
    targets = lengths["targets"]
    history, choices = lengths.get("history"), lengths.get("choices")
    registered = self.macro("MIXTURE_OR_TASK_MODULE")
    modules = (_TASKS, *self._modules, *([registered] if registered else ()))
    self._gin.check_task_modules(modules)
    # The embedded runner's name of it, in files of its own.
    own = self.macro("EVAL_MIXTURE_OR_TASK_NAME", "instructrec_v1_rerank")
    evaluated = self.macro("RERANK_MIXTURE_OR_TASK_NAME", own)
    return data_config.DataConfig(
      mixture=self.macro("MIXTURE_OR_TASK_NAME").removesuffix(_ASKED),
      eval_mixture=evaluated.removesuffix(_ITEMS),
      inputs_length=lengths["inputs"],
      targets_length=targets if isinstance(targets, int) else targets[-1],
      batch_size=self.macro("BATCH_SIZE", 1),
      seed=self.macro("SEED", 0),
      modules=modules,
      history_length=history[0] if history else 0,
      title_length=(history or choices or (0, 24))[1],
      num_drawn=choices[0] - 1 if choices else 0,
    )

  def fields(
    self, what: str, tfds_data_dir: _Path | None, vocabulary: _Path | None
  ) -> dict[str, Any]:
    """What a `Run` has of them.

    Args:
      what: they belong to, for messages.
      tfds_data_dir: the instructions.
      vocabulary: as in `load`.

    Returns:
      Fields of `Run` by name.

    Raises:
      FileNotFoundError: where vocabulary or instructions are not said, or gone.
      ValueError: where the network lacks ids of the vocabulary.
    """
    if tfds_data_dir is None:
      raise FileNotFoundError(
        f"{what}: nothing there says where its instructions are; pass "
        "--tfds_data_dir"
      )
    model, words = self.model, _vocabulary(what, vocabulary)
    size = tokenizer.Tokenizer(words).vocab_size
    if size > model.vocab_size:
      raise ValueError(
        f"{words} has {size} ids, the network of {what} {model.vocab_size}; "
        "pass the --vocabulary that it was trained with"
      )
    data, items = self._data(), pathlib.Path(tfds_data_dir).absolute()
    titles = item_titles.ItemTitles(items, words, data.targets_length)
    return {
      "model": item_titles.bound(model.merged(), titles),
      "data": data,
      "layout": mesh_lib.MeshConfig(
        model=math.prod(self.macro("MODEL_PARALLEL_SUBMESH") or ()),
        shard_parameters=self.macro("PARAMETER_PARTITIONING_DIMS") == 2,
      ),
      "vocabulary": words,
      "items": items,
    }


def _vocabulary(what: str, given: _Path | None) -> pathlib.Path:
  path = os.fspath(given or tokenizer.default_path())
  if "://" in path:
    raise FileNotFoundError(
      f"{what} was trained with {path}, unless another vocabulary was named by "
      f"{tokenizer.ENVIRONMENT_VARIABLE}; pass a copy of it on disk as "
      "--vocabulary"
    )
  return pathlib.Path(path).absolute()


def _start(
  folder: pathlib.Path, settings: Settings
) -> trained_run.Start | None:
  """What T5X began with; None where it drew it and kept no copy."""
  path = settings.macro("INITIAL_CHECKPOINT_PATH")
  if not path or not isinstance(path, str):
    first = folder / "checkpoint_0"
    path = str(first) if first.is_dir() else None
  if path is None:
    return None
  return trained_run.Start(settings.macro("RANDOM_SEED", 0), path)


def _is_t5xs(module: str) -> bool:
  return any(f"{module}.".startswith(f"{name}.") for name in _T5XS)


def _modules(references: Iterable[gin_data.Reference]) -> Iterable[str]:
  return (found.selector.rpartition(".")[0] for found in references)


def _serves_t5x(binding: gin_data.Binding) -> bool:
  """Whether a binding is of something that T5X alone runs."""
  _, references = t5x_files.mentioned(binding.value)
  return (
    binding.parameter == _OPTIMIZER
    or (
      bool(binding.parameter) and _is_t5xs(binding.selector.rpartition(".")[0])
    )
    or any(map(_is_t5xs, _modules(references)))
  )
