"""Opens a checkpoint of any form, by what lies in its folder; checked first."""

import dataclasses
import logging
import os
import re
from collections.abc import Callable

from etils import epath

from instructrec import checkpoint_steps, checksums
from instructrec.models.checkpoint import (
  adapted,
  evaluations,
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
_REMEDY = "copy the checkpoint again with all its files, or name another one"
_MARKERS = (
  huggingface.WEIGHTS,
  huggingface.INDEX,
  t5x_legacy.FILE,
  f"{orbax_form.ITEM}/{orbax_form.MANIFEST}",
)
"""Files by which a checkpoint of each form is known."""
_LOG = logging.getLogger(__name__)


def open_checkpoint(
  path: str | os.PathLike[str],
  step: checkpoint_steps.Step = checkpoint_steps.BEST,
  *,
  share: tuple[int, int] = (0, 1),
) -> Checkpoint:
  """Opens a checkpoint; of a whole one, nothing but names and shapes is kept.

  Files are checked against the `SHA256SUMS` beside them. Ours always have one;
  for those of others, a warning says that they cannot be checked.

  Args:
    path: on disk: a Hugging Face folder or .safetensors file; on disk or under
      gs://: a folder `checkpoint_<step>` of T5X or ours, or a folder of such
      (a T5X MODEL_DIR, a run of `instructrec train`).
    step: which one, where `path` is a folder of checkpoints (only there);
      "best" for that of the run's validation, where it knows one, and else
      "latest", the newest; whole ones alone.
    share: of several processes that open the same, which this one is and how
      many there are: each checks some of the files. All must end where one
      fails, so that a folder of checkpoints needs a `step`: each would pass
      over others.

  Returns:
    The checkpoint.

  Raises:
    FileNotFoundError: where there is none.
    DamagedError: where a file of it was changed; of the newest one in a folder
      only where no other is whole.
    CheckpointError: where there is one that is not ours to read.
    ValueError: for a `step` of what is a single checkpoint, or none of several
      for several processes.
  """
  folder = epath.Path(path)
  if not folder.exists():
    raise FileNotFoundError(f"{path} does not exist")
  if folder.is_file() and folder.name == t5x_legacy.FILE:
    folder = folder.parent
  read = _reader(folder)
  if read is None:
    for name in _MARKERS:
      if checksums.listed(folder, name, _REMEDY) is not None:
        checksums.verify(folder, _REMEDY, [name])  # It is gone.
    return _open_step(folder, step, share)
  if isinstance(step, int):
    raise ValueError(
      f"step {step} was asked for, but {path} is a single checkpoint; name "
      "the folder that holds checkpoint_<step>, or leave the step out"
    )
  return _checked(read, folder, share)


def newest_step(path: str | os.PathLike[str]) -> int | None:
  """The newest checkpoint in a folder of such, undamaged or not.

  Args:
    path: as in `open_checkpoint`.

  Returns:
    Its step; None for what is a single checkpoint.

  Raises:
    FileNotFoundError: where there is none.
  """
  folder = epath.Path(path)
  if not folder.exists():
    raise FileNotFoundError(f"{path} does not exist")
  if folder.is_file() or _reader(folder) is not None:
    return None
  steps = _steps(folder)
  # What a killed save left is none.
  return max([step for step in steps if _reader(steps[step])] or steps)


def step_of(path: str | os.PathLike[str]) -> int | None:
  """The step that the name of a checkpoint says; None where it says none."""
  match = _STEP.match(epath.Path(path).name)
  return int(match[1]) if match else None


def _checked(
  read: Callable[[epath.Path], Checkpoint],
  folder: epath.Path,
  share: tuple[int, int],
) -> Checkpoint:
  """Reads a single checkpoint that is as it was written."""
  root, names, remedy = folder, None, _REMEDY
  if read is huggingface.read:
    # People put the files of a tokenizer beside these.
    root = folder.parent if folder.is_file() else folder
    names = [
      child.name
      for child in root.iterdir()
      if child.name == huggingface.CONFIG or ".safetensors" in child.name
    ]
    remedy += f"; where the change is meant, delete {checksums.FILE}"
  elif not (folder / checksums.FILE).exists() and folder.name == (
    orbax_form.ITEM
  ):
    root = folder.parent
  if (root / checksums.FILE).exists():
    checksums.verify(root, remedy, names, share=share)
    return read(folder)
  found = read(folder)
  if found.form == "instructrec":
    raise checksums.DamagedError(
      f"{root / checksums.FILE} is missing, by which the files of the "
      f"checkpoint are checked; {_REMEDY}"
    )
  _LOG.warning(
    "%s has no %s: whether it is as it was written cannot be checked",
    root,
    checksums.FILE,
  )
  return found


def _open_step(
  folder: epath.Path, step: checkpoint_steps.Step, share: tuple[int, int]
) -> Checkpoint:
  """The checkpoint of one step, or the first in order that is whole."""
  steps = _steps(folder)
  if isinstance(step, int):
    if step not in steps:
      raise FileNotFoundError(
        f"{folder} has no checkpoint_{step}; it has {sorted(steps)}"
      )
    found = open_checkpoint(steps[step], share=share)
    return dataclasses.replace(found, reason=checkpoint_steps.ASKED_FOR)
  if share[1] > 1:
    raise ValueError(
      f"{folder} holds the checkpoints {sorted(steps)}; expected a step, where "
      "several processes open it"
    )
  order = evaluations.Order.of(steps, step)
  wrong: list[Exception] = []
  for candidate in order.steps:
    try:
      found = open_checkpoint(steps[candidate])
    except (
      checksums.DamagedError,
      CheckpointError,
      FileNotFoundError,
    ) as error:
      wrong.append(error)
      continue
    for passed_over in wrong:
      _LOG.warning("%s. Opens checkpoint_%d instead", passed_over, candidate)
    return dataclasses.replace(found, reason=order.chosen(candidate).reason)
  raise wrong[0]


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


def _steps(folder: epath.Path) -> dict[int, epath.Path]:
  """The folders of steps in a folder of checkpoints; there is one at least."""
  if folder.is_dir() and (folder / RUN_SUBFOLDER).is_dir():
    folder = folder / RUN_SUBFOLDER
  children = list(folder.iterdir()) if folder.is_dir() else []
  # A folder of a step without a checkpoint in it is no folder of steps.
  if not _STEP.match(folder.name):
    steps = {int(m[1]): c for c in children if (m := _STEP.match(c.name))}
    if steps:
      return steps
  hint = ""
  if any(child.name.startswith("pytorch_model") for child in children):
    hint = (
      ". It has PyTorch's pickles, which are not read; save it anew as "
      "safetensors"
    )
  if any(child.name.startswith("adapter_model") for child in children):
    hint = (
      ". It has adapters of PEFT, which `instructrec checkpoint merge` puts "
      "into their network"
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

  What matches titles (`names.TITLE_MATCHING`) may be there or not, unless
  `config` is that of a network without it; a value head always.

  Args:
    checkpoint: what was opened.
    config: the network it must be, where that is known.

  Returns:
    The network's configuration: `config`, or what the form wrote down, or what
    the shapes tell.

  Raises:
    CheckpointError: naming unknown and missing parameters and wrong shapes.
  """
  adapted.check_plain(checkpoint)
  shapes = {name: tensor.shape for name, tensor in checkpoint.params.items()}
  both = config is None or config.title_matching
  heads = names.HEADS if both else (names.VALUE_HEAD,)
  shapes = {n: x for n, x in shapes.items() if not names.is_head(n, heads)}
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
