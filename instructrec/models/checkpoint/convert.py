"""Writes a checkpoint in another form, one tensor at a time, and reports it."""

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from instructrec import progress
from instructrec.models.checkpoint import (
  adafactor,
  huggingface,
  names,
  opening,
  orbax_form,
  stacking,
  t5x_legacy,
)
from instructrec.models.checkpoint.tensors import DTYPES, Checkpoint, Tensor
from instructrec.models.networks import network_config

FORMS = ("instructrec", "huggingface", "t5x", "t5x_legacy")
LAYERS = ("unstacked", "stacked")
OPTIMIZERS = ("adafactor", "none")


_NO_PLACE = (
  "{head}, for which Hugging Face has no place: what is exported ranks by "
  "likelihoods alone, and reads histories as text"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """How to write a checkpoint.

  Attributes:
    form: one of `FORMS`.
    dtype: a name of `DTYPES`; None keeps the source's.
    layers: "unstacked" as the public checkpoints, or "stacked" along axis 0
      as a network with scanned layers has them.
    step: names the checkpoint and is its step; None for the source's.
    optimizer: what to add for T5X: "adafactor" a fresh state, so that its
      fine-tuning settings restore it; "none" nothing.
    config: the network, where it is known better than from the source.
    max_shard_bytes: largest safetensors file.
  """

  form: str
  dtype: str | None = None
  layers: str = "unstacked"
  step: int | None = None
  optimizer: str = "adafactor"
  config: network_config.NetworkConfig | None = None
  max_shard_bytes: int = huggingface.MAX_SHARD_BYTES

  def __post_init__(self) -> None:
    """Checks the choices.

    Raises:
      ValueError: for a value that is none of them.
    """
    for field, choices in (
      ("form", FORMS),
      ("dtype", (None, *DTYPES)),
      ("layers", LAYERS),
      ("optimizer", OPTIMIZERS),
    ):
      if getattr(self, field) not in choices:
        raise ValueError(
          f"{field} is {getattr(self, field)!r}; expected one of "
          f"{', '.join(map(str, choices))}"
        )
    if self.step is not None and self.step < 0:
      raise ValueError(f"step is {self.step}; expected at least 0")
    if self.form == "huggingface" and self.layers == "stacked":
      raise ValueError(
        "layers is 'stacked'; Hugging Face's form has them unstacked only"
      )


@dataclasses.dataclass(frozen=True)
class Mapped:
  """Where one parameter went.

  Attributes:
    source: its name in the source.
    output: its name in the output.
    shape: its shape in the output.
    dtype: its type in the output.
  """

  source: str
  output: str
  shape: tuple[int, ...]
  dtype: str


@dataclasses.dataclass(frozen=True)
class Report:
  """What became of every name of the source.

  Attributes:
    source: its path.
    source_form: its form.
    output: the path written.
    output_form: its form.
    mapped: the parameters.
    left: names that were not taken, with the reason.
    added: how many arrays of optimizer state were made.
  """

  source: str
  source_form: str
  output: str
  output_form: str
  mapped: list[Mapped]
  left: dict[str, str]
  added: int

  def as_json(self) -> dict[str, Any]:
    """Every name, as JSON values."""
    return dataclasses.asdict(self)

  def text(self) -> str:
    """The same in a screenful: layers of a kind share a line."""
    lines = [
      f"{self.source} ({self.source_form}) -> {self.output} "
      f"({self.output_form})",
      *(
        f"  {count:4d} x {source} -> {output}  {list(shape)} {dtype}"
        for (source, output, shape, dtype), count in group(
          (m.source, m.output, m.shape, m.dtype) for m in self.mapped
        ).items()
      ),
    ]
    left = group((reason,) for reason in self.left.values())
    lines += [f"  {n:4d} left: {reason}" for (reason,), n in left.items()]
    if self.added:
      lines.append(f"  {self.added:4d} added: fresh state of Adafactor")
    return "\n".join(lines)


def group(rows: Any) -> dict[tuple[Any, ...], int]:
  """Counts rows that differ only in the number of a layer.

  Args:
    rows: tuples; strings in them have the number replaced by "*".

  Returns:
    How many each, in order of appearance.
  """
  counts: dict[tuple[Any, ...], int] = {}
  for row in rows:
    key = tuple(
      re.sub(r"(layers_|layers\.|block\.)\d+(?=[/.])|\[\d+\]$", _star, value)
      if isinstance(value, str)
      else value
      for value in row
    )
    counts[key] = counts.get(key, 0) + 1
  return counts


def _star(match: re.Match[str]) -> str:
  return f"{match[1]}*" if match[1] else "[*]"


def convert(
  source: Checkpoint, output: str | os.PathLike[str], settings: Settings
) -> Report:
  """Writes `source` in another form.

  Args:
    source: from `open_checkpoint`.
    output: the folder to make (Hugging Face), or the folder that
      `checkpoint_<step>` goes into.
    settings: form, type, layers and step.

  Returns:
    What became of every name.

  Raises:
    CheckpointError: where the source is no complete network, or not that of
      `settings.config`; where numbers are too large for the type.
    FileExistsError: where the output exists.
  """
  config = opening.check(source, settings.config)
  params, left = source.params, source.left
  if settings.form == "huggingface":
    left = left | {
      name: _NO_PLACE.format(head=name.partition("/")[0])
      for name in params
      if names.is_head(name)
    }
    params = {n: t for n, t in params.items() if not names.is_head(n)}
  if settings.dtype is not None:
    dtype = DTYPES[settings.dtype]
    params = {name: tensor.astype(dtype) for name, tensor in params.items()}
  if settings.layers == "stacked":
    params = stacking.stack(params)
  step = source.step if settings.step is None else settings.step
  with progress.Progress(len(params), "convert", unit="tensors") as line:
    counted = {n: _counted(tensor, line) for n, tensor in params.items()}
    path, extra = _write(counted, config, output, step, settings)
  table = names.parameters(config)
  return Report(
    source=source.path,
    source_form=source.form,
    output=os.fspath(path),
    output_form=settings.form,
    mapped=[
      Mapped(
        tensor.source,
        _output_name(name, table, settings.form),
        _output_shape(name, tensor, table, settings.form),
        tensor.dtype.name,
      )
      for name, tensor in params.items()
    ],
    left=left,
    added=extra,
  )


def _counted(tensor: Tensor, line: progress.Progress) -> Tensor:
  def read() -> np.ndarray:
    array = tensor.read()
    line.advance()
    return array

  return dataclasses.replace(tensor, read=read)


def _write(
  params: Mapping[str, Tensor],
  config: network_config.NetworkConfig,
  output: str | os.PathLike[str],
  step: int,
  settings: Settings,
) -> tuple[Any, int]:
  """Writes; returns the path and the number of arrays made up."""
  if settings.form == "huggingface":
    huggingface.write(
      output, params, config, max_shard_bytes=settings.max_shard_bytes
    )
    return output, 0
  tree: dict[tuple[str, ...], Tensor | np.ndarray]
  if settings.form == "instructrec":
    tree = {("params", *n.split("/")): t for n, t in params.items()}
    tree["step",] = np.asarray(step, np.int32)
    return orbax_form.write(output, step, tree), 0
  tree = {("target", *n.split("/")): t for n, t in params.items()}
  tree["state", "step"] = np.asarray(step, np.int32)
  made = len(tree)
  if settings.optimizer == "adafactor":
    tree.update(_fresh_optimizer(params, config))
  made = len(tree) - made
  if settings.form == "t5x":
    return orbax_form.write(output, step, tree), made
  folder = f"{os.fspath(output).rstrip('/')}/{orbax_form.STEP_PREFIX}_{step}"
  t5x_legacy.write(folder, tree)
  return folder, made


def _fresh_optimizer(
  params: Mapping[str, Tensor], config: network_config.NetworkConfig
) -> dict[tuple[str, ...], np.ndarray]:
  axes = {
    name: parameter.axes for name, parameter in names.parameters(config).items()
  }
  for name in list(axes):
    if found := names.split_layer(name):
      axes[f"{found[0]}/layers/{found[2]}"] = (stacking.AXIS, *axes[name])
  # What matches titles is in no layer, where alone the names of axes count.
  return {
    ("state", "param_states", *name.split("/"), leaf): zeros
    for name, tensor in params.items()
    for leaf, zeros in adafactor.fresh_state(
      tensor.shape, axes.get(name, ())
    ).items()
  }


def _output_name(
  name: str, table: Mapping[str, names.Parameter], form: str
) -> str:
  if form == "huggingface":
    return table[name].huggingface
  return f"{'params' if form == 'instructrec' else 'target'}/{name}"


def _output_shape(
  name: str, tensor: Tensor, table: Mapping[str, names.Parameter], form: str
) -> tuple[int, ...]:
  if form == "huggingface" and table[name].transposed:
    return tensor.shape[::-1]
  return tensor.shape
