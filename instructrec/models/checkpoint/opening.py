"""Opens a checkpoint of any form, by what lies in its folder."""

import os
import re
from collections.abc import Callable

from etils import epath

from instructrec.models.checkpoint import (
  huggingface,
  names,
  orbax_form,
  t5x_legacy,
)
from instructrec.models.checkpoint.tensors import (
  Checkpoint,
  CheckpointError,
  compare_names,
)
from instructrec.models.networks import network_config

_STEP = re.compile(rf"^{orbax_form.STEP_PREFIX}_(\d+)$")
RUN_SUBFOLDER = "checkpoints"


def open_checkpoint(
  path: str | os.PathLike[str], step: int | None = None
) -> Checkpoint:
  """Opens a checkpoint; nothing but names and shapes is read.

  Args:
    path: on disk: a Hugging Face folder or .safetensors file; on disk or under
      gs://: a folder `checkpoint_<step>` of T5X or ours, or a folder of such
      (a T5X MODEL_DIR, a run of `instructrec train`).
    step: which one, where `path` is a folder of checkpoints (only there);
      None for the newest.

  Returns:
    The checkpoint.

  Raises:
    FileNotFoundError: where there is none.
    CheckpointError: where there is one that is not ours to read.
    ValueError: for a `step` of what is a single checkpoint.
  """
  folder = epath.Path(path)
  if not folder.exists():
    raise FileNotFoundError(f"{path} does not exist")
  if folder.is_file() and folder.name == t5x_legacy.FILE:
    folder = folder.parent
  read = _reader(folder)
  if read is None:
    return open_checkpoint(_step_folder(folder, step))
  if step is not None:
    raise ValueError(
      f"step {step} was asked for, but {path} is a single checkpoint; name "
      "the folder that holds checkpoint_<step>, or leave the step out"
    )
  return read(folder)


def _reader(
  folder: epath.Path,
) -> Callable[[epath.Path], Checkpoint] | None:
  """What reads this folder's form; None for a folder of no known form."""
  if folder.suffix == ".safetensors" or any(
    (folder / name).exists()
    for name in (huggingface.WEIGHTS, huggingface.INDEX)
  ):
    return huggingface.read
  if (folder / t5x_legacy.FILE).exists():
    return t5x_legacy.read
  if orbax_form.is_checkpoint(folder):
    return orbax_form.read
  return None


def _step_folder(folder: epath.Path, step: int | None) -> epath.Path:
  """The folder of one step below a folder of checkpoints."""
  if folder.is_dir() and (folder / RUN_SUBFOLDER).is_dir():
    folder = folder / RUN_SUBFOLDER
  children = list(folder.iterdir()) if folder.is_dir() else []
  # A folder of a step without a checkpoint in it is no folder of steps.
  steps = {}
  if not _STEP.match(folder.name):
    steps = {int(m[1]): c for c in children if (m := _STEP.match(c.name))}
  if steps and (step is None or step in steps):
    return steps[max(steps) if step is None else step]
  if steps:
    raise FileNotFoundError(
      f"{folder} has no checkpoint_{step}; it has {sorted(steps)}"
    )
  hint = ""
  if any(child.name.startswith("pytorch_model") for child in children):
    hint = (
      ". It has PyTorch's pickles, which are not read; save it anew as "
      "safetensors"
    )
  raise FileNotFoundError(
    f"{folder} holds no checkpoint: none of {huggingface.WEIGHTS}, "
    f"{huggingface.INDEX} (Hugging Face), state/manifest.ocdbt (T5X, "
    f"InstructRec), {t5x_legacy.FILE} (T5X's old form), checkpoint_<step>{hint}"
  )


def check(
  checkpoint: Checkpoint, config: network_config.NetworkConfig | None = None
) -> network_config.NetworkConfig:
  """Makes sure that a checkpoint holds all of one network and no more.

  Args:
    checkpoint: what was opened.
    config: the network it must be, where that is known.

  Returns:
    The network's configuration: `config`, or what the form wrote down, or what
    the shapes tell.

  Raises:
    CheckpointError: naming unknown and missing parameters and wrong shapes.
  """
  shapes = {name: tensor.shape for name, tensor in checkpoint.params.items()}
  sizes_from = "the caller" if config else "config.json"
  if config:
    check_settings(checkpoint, config)
  config = config or checkpoint.config
  if config is None:
    sizes_from = "shapes"
    config = names.infer_config(shapes, found_in=checkpoint.path)
  table = names.parameters(config)
  huggingface_form = checkpoint.form == "huggingface"

  def shown(name: str) -> str:
    # A message names parameters as the file does.
    known = table.get(name)
    return known.huggingface if known and huggingface_form else name

  def laid_out(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    known = table.get(name)
    flip = huggingface_form and known is not None and known.transposed
    return shape[::-1] if flip else shape

  compare_names(
    {shown(n): laid_out(n, shape) for n, shape in shapes.items()},
    {shown(n): laid_out(n, p.shape) for n, p in table.items()},
    found_in=checkpoint.path,
    expected_by=(
      f"{names.architecture(config).describe(config)} (sizes from {sizes_from})"
    ),
  )
  return config


def check_settings(
  checkpoint: Checkpoint, config: network_config.NetworkConfig
) -> None:
  """Compares settings that shapes do not tell, where a checkpoint has them.

  Args:
    checkpoint: what was opened.
    config: the network it is for.

  Raises:
    CheckpointError: naming the settings that differ.
  """
  found = checkpoint.config
  if found is None:
    return
  if type(found) is not type(config):
    raise CheckpointError(
      f"{checkpoint.path} is of {names.architecture(found).describe(found)}, "
      f"expected {names.architecture(config).describe(config)}"
    )
  differing = [
    f"{name}: found {theirs!r}, expected {ours!r}"
    for name, (ours, theirs) in config.differences(found).items()
  ]
  if differing:
    raise CheckpointError(
      f"{checkpoint.path} was made for a network of other settings\n    "
      + "\n    ".join(differing)
    )
