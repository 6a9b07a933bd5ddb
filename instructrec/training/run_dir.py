"""What a run leaves in its folder, and how it is opened again.

`<model_dir>/run.json` says where its data are, under which versions it ran and
with which settings from which step on; `config.gin` holds every binding of its
newest part; `vocabulary/` a copy of the SentencePiece model; `items.parquet` a
copy of the item table, where the run reads items; `checkpoints/`,
`metrics.jsonl`, `tensorboard/` come from the runner; `run.lock` is there while
a process trains.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from instructrec import folder_lock
from instructrec.models import protocol, tokenizer
from instructrec.models.checkpoint import storage
from instructrec.training import (
  checkpoints,
  data_config,
  distributed,
  gin_config,
  initial_checkpoint,
  item_arrays,
  item_table,
  run_history,
  runner,
  strict_gin,
)
from instructrec.training import mesh as mesh_lib

CONFIG = "config.gin"
RECORD = "run.json"
LOCK = "run.lock"
CHECKPOINTS = "checkpoints"
VOCABULARY = pathlib.Path("vocabulary") / "sentencepiece.model"
_WHERE = ("tfds_data_dir", "tfds_data_dir_relative", "instructions_fingerprint")


@dataclasses.dataclass(frozen=True)
class Start:
  """What the parameters of a run began as.

  Attributes:
    seed: of those that were drawn, of dropout and of the data.
    checkpoint: where the others were read, of any form that `instructrec
      checkpoint` reads; None where all were drawn.
    embeddings: see `TrainConfig.initial_embeddings`.
  """

  seed: int = 0
  checkpoint: str | None = None
  embeddings: str = "random"


@dataclasses.dataclass(frozen=True)
class Run:
  """A trained run, as evaluation, ranking and services ask for it.

  They ask for nothing else: how it was trained, and with which runner, is not
  their concern.

  Attributes:
    directory: its folder; score weights and reports are kept there.
    model: the network with its objective.
    data: settings of the data: lengths, mixtures, items.
    start: what its parameters began as.
    layout: how they lay over the devices in training.
    record: where its instructions are: `tfds_data_dir`, see `recorded_folder`,
      and `instructions_fingerprint`.
    config: all settings, as text.
    train_seconds: how long training took; None where that is not known.
    mesh: how parameters that are opened lie over the devices of all
      processes; None for whole on one.
  """

  directory: pathlib.Path
  model: protocol.RankingModel
  data: data_config.DataConfig
  start: Start = Start()
  layout: mesh_lib.MeshConfig = dataclasses.field(
    default_factory=mesh_lib.MeshConfig
  )
  record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  config: str = ""
  train_seconds: float | None = None
  mesh: mesh_lib.MeshConfig | None = None

  def on_all_devices(self, model_parallel: int | None = None) -> "Run":
    """The run, its parameters to be laid out over all devices for scoring.

    They are split as in training, but for the length of the residual stream,
    which saves memory in the backward pass alone.

    Args:
      model_parallel: devices along the model axis; None for as many as in
        training, or the only one there is.

    Returns:
      The run with another `mesh`.

    Raises:
      ValueError: where the devices do not divide.
    """
    count = jax.device_count()
    model = model_parallel or (self.layout.model if count > 1 else 1)
    if count % model:
      raise ValueError(
        f"{count} {jax.devices()[0].platform} devices do not divide into "
        f"groups of {model} that share the parameters; pass --model_parallel "
        f"with a divisor of {count} (the run was trained with "
        f"{self.layout.model})"
      )
    layout = dataclasses.replace(
      self.layout, data=-1, model=model, shard_sequence=False
    )
    return dataclasses.replace(self, mesh=layout)

  @property
  def tokenizer(self) -> tokenizer.Tokenizer:
    """The run's own copy of its vocabulary."""
    return tokenizer.Tokenizer(self.directory / VOCABULARY)

  def item_arrays(
    self, folder: str | os.PathLike[str] | None = None
  ) -> item_arrays.ItemArrays | None:
    """The items as batches show them.

    Args:
      folder: of instructions, whose items are ranked; None for the run's own
        copy of those that it was trained on.

    Returns:
      The arrays; None where the run reads no items.

    Raises:
      FileNotFoundError: where the table is gone.
      ValueError: where they are other items than those that the model has
        vectors of.
    """
    if not self.data.reads_items:
      return None
    table = item_table.ItemTable.load(folder or self.directory)
    if folder is not None and self.model.num_items:
      own = item_table.fingerprint(self.directory / item_table.FILE)
      if own != table.fingerprint:
        raise ValueError(
          f"the model has vectors of the {self.model.num_items:,} items that "
          f"it was trained on, and {folder} has others; evaluate on "
          "instructions of the same items, or train with --gin.NUM_ITEMS=0"
        )
    return item_arrays.ItemArrays.create(table, self.tokenizer, self.data)

  def _shapes(self) -> dict[str, tuple[int, ...]]:
    return self.data.shapes(1)

  def _drawn(self) -> Any:
    """The parameters as they are drawn, of the whole network."""
    rng = jax.random.key(self.start.seed)
    return self.model.get_initial_variables(rng, self._shapes())["params"]

  def _abstract_params(self) -> Any:
    """Shapes and dtypes of the parameters, and where they lie."""
    variables = jax.eval_shape(
      lambda rng: self.model.get_initial_variables(rng, self._shapes()),
      jax.random.key(0),
    )
    shardings = mesh_lib.parameter_shardings(
      variables["params_axes"],
      mesh_lib.scoring_mesh(self.mesh),
      self.mesh or mesh_lib.MeshConfig(),
    )
    mesh_lib.check_divisible(variables["params"], shardings)
    return checkpoints.abstract(variables["params"], shardings)

  def initial_params(self) -> Any:
    """The parameters that training began with.

    Returns:
      Those of the initial checkpoint, and drawn ones where it had none;
      without one, those of the run's seed.

    Raises:
      FileNotFoundError: where the initial checkpoint is gone.
    """
    abstract, new = self._abstract_params(), initial_checkpoint.NEW
    shardings = jax.tree.map(lambda x: x.sharding, abstract)
    if self.start.checkpoint is None:
      return jax.jit(self._drawn, out_shardings=shardings)()
    try:
      return initial_checkpoint.load_params(
        self.start.checkpoint,
        abstract,
        draw_new=jax.jit(
          lambda: self._drawn()[new], out_shardings=shardings.get(new)
        ),
      )
    except FileNotFoundError as error:
      raise FileNotFoundError(
        f"the checkpoint that the run in {self.directory} began with is gone, "
        "which the untrained model needs; if it has moved, pass "
        f"--initial_checkpoint: {error}"
      ) from error

  def params_from(self, path: str, step: int | None = None) -> Any:
    """Parameters of a checkpoint outside the run.

    Args:
      path: of any form that `instructrec checkpoint` reads.
      step: which of a folder of checkpoints; None for the newest.

    Returns:
      The parameters.

    Raises:
      FileNotFoundError: where there is no checkpoint.
      CheckpointError: where it is of another network than the run's.
    """
    return initial_checkpoint.load_params(
      path, self._abstract_params(), step=step
    )

  def params(self, step: int | None = None) -> tuple[Any, int]:
    """Parameters of one of the run's checkpoints.

    Args:
      step: which checkpoint; None for the newest.

    Returns:
      The parameters and their step.

    Raises:
      FileNotFoundError: where there is no such checkpoint.
      ValueError: where the processes see different ones.
    """
    abstract = self._abstract_params()
    store = checkpoints.Checkpoints(self.directory / CHECKPOINTS, keep=None)
    try:
      distributed.check_agreement(
        {f"the list of checkpoints in {store.directory}": store.steps}
      )
      restored = store.restore_params(abstract, step)
      return restored, store.steps[-1] if step is None else step
    finally:
      store.close()


@contextlib.contextmanager
def locked(
  directory: str | os.PathLike[str], tell: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
  """Keeps other runs out of a model folder; of several processes, the lead.

  Args:
    directory: the model folder; made where it is missing.
    tell: shows a line.

  Yields:
    What fails where the folder is this run's no more; to be asked before
    something is written there.

  Raises:
    InUseError: where another run is trained there.
    OSError: where it cannot be written to.
  """
  folder = pathlib.Path(directory)
  lock = folder_lock.FolderLock(
    folder / LOCK, folder=directory, command="train", tell=tell
  )
  with contextlib.ExitStack() as stack:

    def enter() -> None:
      stack.enter_context(lock)
      _check_checkpoints(folder / CHECKPOINTS)

    distributed.by_lead("lock", enter)
    yield lock.check if distributed.is_lead() else lambda: None


def _check_checkpoints(folder: pathlib.Path) -> None:
  """Fails where checkpoints could not be written; before hours of training."""
  storage.check_name(folder)
  if folder.exists() and not folder.is_dir():
    raise NotADirectoryError(
      f"{folder} is a file, expected the folder of checkpoints; remove it or "
      "name another --model_dir"
    )
  if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
    raise PermissionError(
      f"{folder} cannot be written to; let this user write there, or name "
      "another --model_dir"
    )


def save(
  directory: str | os.PathLike[str],
  *,
  vocabulary: str | os.PathLike[str],
  record: dict[str, Any],
  items: str | os.PathLike[str] | None = None,
  step: int = 0,
) -> None:
  """Writes `config.gin`, `run.json`, the vocabulary and the item table.

  To be called when it is known that what the folder holds is of the same run,
  and that it is trained further: the record is of what was trained.

  Args:
    directory: the model folder; made where it is missing.
    vocabulary: the SentencePiece model of the data.
    record: what `run.json` holds; JSON values. The settings of gin and the
      starts of the run are added.
    items: the item table of the data; None where the run reads no items.
    step: that training goes on from.

  Raises:
    ValueError: where the folder holds a run with another vocabulary or other
      items.
  """
  folder = pathlib.Path(directory)
  copy = folder / VOCABULARY
  copy.parent.mkdir(parents=True, exist_ok=True)
  _copy(vocabulary, copy, "another vocabulary")
  if items is not None:
    _copy(items, folder / item_table.FILE, "other items")
  history = run_history.go_on(_record(folder), step, gin_config.bindings())
  # First what knows the past: a kill leaves it whole, and the config as it was.
  _write_record(folder, {**record, **history})
  _write(folder / CONFIG, gin_config.config_text())


def finish(directory: str | os.PathLike[str], seconds: float) -> None:
  """Writes down how long a run took that was never stopped.

  Args:
    directory: the model folder.
    seconds: from its start to its end.
  """
  folder = pathlib.Path(directory)
  record = _record(folder) | {"train_seconds": round(seconds, 1)}
  _write_record(folder, record)


def untrained_changes(directory: str | os.PathLike[str]) -> str:
  """Which settings of gin are others than those that a run was trained with.

  Args:
    directory: the model folder.

  Returns:
    Their names and values in words; empty where there are none, or the folder
    has no record.
  """
  known = _record(pathlib.Path(directory)).get(run_history.SETTINGS)
  if known is None:
    return ""
  return run_history.in_words(
    run_history.differences(known, gin_config.bindings())
  )


def _record(folder: pathlib.Path) -> dict[str, Any]:
  path = folder / RECORD
  if not path.is_file():
    return {}
  try:
    return json.loads(path.read_text(encoding="utf-8"))
  except ValueError as error:
    raise ValueError(
      f"{path} is damaged ({error}); put back a copy of it, or remove it, "
      "which loses what is known of the run's settings so far"
    ) from error


def _write_record(folder: pathlib.Path, record: dict[str, Any]) -> None:
  _write(folder / RECORD, json.dumps(record, indent=2) + "\n")


def _write(path: pathlib.Path, text: str) -> None:
  temporary = path.with_name(f"{path.name}.tmp")
  temporary.write_text(text)
  temporary.replace(path)


def _copy(
  source: str | os.PathLike[str], copy: pathlib.Path, other: str
) -> None:
  """Copies a file that no run in the folder may have another one of."""
  if not copy.exists():
    temporary = copy.with_name(f"{copy.name}.tmp")
    shutil.copyfile(source, temporary)
    temporary.replace(copy)
  elif tokenizer.fingerprint(copy) != tokenizer.fingerprint(source):
    raise ValueError(
      f"{copy} is of a run with {other} than {source}; train into another "
      "folder"
    )


def load(
  directory: str | os.PathLike[str], *, modules: Sequence[str] = ()
) -> Run:
  """Opens a run's folder, which may be anyone's: see `strict_gin`.

  Args:
    directory: the model folder.
    modules: Python modules that its settings may name beside ours; they are
      imported where it does.

  Returns:
    The run.

  Raises:
    FileNotFoundError: where no run was started in the folder.
    NotAllowedError: where its settings name anything else.
    ValueError: where its settings cannot be read.
  """
  folder = pathlib.Path(directory).absolute()
  for name in (CONFIG, RECORD):
    if not (folder / name).is_file():
      raise FileNotFoundError(
        f"{folder} holds no run ({name} is missing); `instructrec train "
        f"--model_dir={directory}` makes one"
      )
  record = _record(folder)
  if missing := [name for name in _WHERE if name not in record]:
    raise ValueError(
      f"{folder / RECORD} lacks {', '.join(missing)}, by which its data are "
      "found: an earlier version wrote it; train the run again"
    )
  settings = strict_gin.StrictGin.open(folder / CONFIG, modules)
  data = settings.build(data_config.DataConfig)
  settings.check_task_modules(data.modules)
  train = settings.build(runner.TrainConfig)
  return Run(
    directory=folder,
    model=train.model,
    data=data,
    start=Start(train.seed, train.initial_checkpoint, train.initial_embeddings),
    layout=train.mesh,
    record=record,
    config=(folder / CONFIG).read_text(),
    train_seconds=record.get("train_seconds"),
  )
