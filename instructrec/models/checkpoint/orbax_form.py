"""Orbax's form (OCDBT): T5X's present one and ours.

A folder `checkpoint_<step>` with an item `state`. T5X's tree is
`target/...`, `state/step`, `state/param_states/...`; ours is `params/...`,
`step`, `opt_state/...`.
"""

import asyncio
import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from etils import epath
from orbax.checkpoint.path import atomicity

from instructrec import checksums, limits
from instructrec.models.checkpoint import stacking, storage
from instructrec.models.checkpoint.tensors import (
  Checkpoint,
  CheckpointError,
  Tensor,
  from_array,
)

ITEM = "state"
STEP_PREFIX = "checkpoint"
_STEP = re.compile(rf"{STEP_PREFIX}_\d+")
# Where each form has the parameters and the step.
_TREES = {
  "t5x": ("target", "state/step"),
  "instructrec": ("params", "step"),
}
MANIFEST = "manifest.ocdbt"
_DRIVERS = {"/.zarray": "zarr", "/zarr.json": "zarr3"}
# Chunks of a size that a host of a pod can fetch its part of.
_CHUNK_BYTES = 64 * 2**20
# How much is read before it is written.
_BATCH_BYTES = 64 * 2**20
Path = tuple[str, ...]


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
  """Whether a folder holds a checkpoint of this form, or is its item."""
  return _item_folder(epath.Path(path)) is not None


def _item_folder(folder: epath.Path) -> epath.Path | None:
  for candidate in (folder / ITEM, folder):
    if (candidate / MANIFEST).exists():
      return candidate
  return None


def read(path: str | os.PathLike[str]) -> Checkpoint:
  """Opens a checkpoint folder, on disk or under gs://.

  Args:
    path: the folder `checkpoint_<step>`, or the item in it.

  Returns:
    The checkpoint; the optimizer's state counts as left.

  Raises:
    CheckpointError: where the tree is neither T5X's nor ours.
    LimitError: where a size is beyond what is read.
  """
  folder = _item_folder(epath.Path(path))
  if folder is None:
    raise CheckpointError(f"{path} holds no {MANIFEST}, expected Orbax's form")
  found = _arrays(folder)
  top = {name.split("/")[0] for name in found}
  form = next((f for f, (root, _) in _TREES.items() if root in top), None)
  if form is None:
    raise CheckpointError(
      f"{folder} holds {', '.join(sorted(top)) or 'nothing'}; expected "
      "`target` (T5X) or `params` (InstructRec)"
    )
  root, step_name = _TREES[form]
  prefix = f"{root}/"
  params = {
    name.removeprefix(prefix): tensor
    for name, tensor in found.items()
    if name.startswith(prefix)
  }
  stacked = stacking.is_stacked(params)
  return Checkpoint(
    path=os.fspath(path),
    form=form,
    step=found[step_name].number() if step_name in found else 0,
    params=stacking.unstack(params) if stacked else params,
    left={
      name: "state of the optimizer"
      for name in found
      if not name.startswith(prefix) and name != step_name
    },
    stacked=stacked,
  )


def _arrays(folder: epath.Path) -> dict[str, Tensor]:
  base = {"driver": "ocdbt", "base": storage.kvstore(folder)}
  try:
    keys = [k.decode() for k in ts.KvStore.open(base).result().list().result()]
  except ValueError as error:
    raise CheckpointError(f"{folder} cannot be read: {error}") from error
  names = [key for key in keys if key.endswith(tuple(_DRIVERS))]
  limits.ARRAYS.check(len(names), str(folder))
  opening = {}
  for key in sorted(names):
    for suffix, driver in _DRIVERS.items():
      if key.endswith(suffix):
        name = key.removesuffix(suffix)
        opening[name.replace(".", "/")] = ts.open(
          {"driver": driver, "kvstore": {**base, "path": f"{name}/"}},
          open=True,
        )
  arrays = {}
  for name, future in opening.items():
    array = _result(future, folder, name)
    storage.check_chunks(array, f"{folder}: {name}")
    arrays[name] = Tensor(
      tuple(array.shape),
      array.dtype.numpy_dtype,
      functools.partial(_read, array, folder, name),
      name,
    )
  return arrays


def _read(array: ts.TensorStore, folder: epath.Path, name: str) -> np.ndarray:
  return _result(array.read(), folder, name)


def _result(future: ts.Future, folder: epath.Path, name: str) -> Any:
  try:
    return future.result()
  except ValueError as error:
    raise CheckpointError(
      f"{folder}: {name} cannot be read: {error}"
    ) from error


class _Hashed(atomicity.AtomicRenameTemporaryPath):
  """A checkpoint gets its `SHA256SUMS` before it gets its name."""

  async def finalize(self) -> None:
    final = self.get_final()
    if not _STEP.fullmatch(final.name):  # An item of a checkpoint.
      await super().finalize()
      return
    complete = final.with_name(f"{final.name}{atomicity.TMP_DIR_SUFFIX}-hashed")
    if complete.exists():
      complete.rmtree()  # Of a save that was killed.
    self._final_path = complete
    await super().finalize()
    await asyncio.to_thread(checksums.write, complete)
    complete.rename(final)
    self._final_path = final


class _HashedInBucket(atomicity.CommitFileTemporaryPath):
  """Nothing is renamed in a bucket: `SHA256SUMS` is the last file."""

  async def finalize(self) -> None:
    await super().finalize()
    if _STEP.fullmatch(self.get_final().name):
      await asyncio.to_thread(checksums.write, self.get_final())


def temporary_path_class(folder: str | os.PathLike[str]) -> Any:
  """What Orbax writes a checkpoint into, for `CheckpointManagerOptions`.

  Args:
    folder: of the checkpoints, on disk or under gs://.

  Returns:
    A class; checkpoints that are complete have a `SHA256SUMS`.
  """
  in_bucket = os.fspath(folder).startswith("gs://")
  return _HashedInBucket if in_bucket else _Hashed


class _Lazy:
  """A tensor in a tree that Orbax saves, with its place in the order."""

  def __init__(self, tensor: Tensor, order: int) -> None:
    self.shape, self.dtype = tensor.shape, tensor.dtype
    self.tensor, self.order = tensor, order


class _LazyHandler(ocp.type_handlers.NumpyHandler):
  """Saves tensors as arrays, reading and writing a few at a time."""

  async def serialize(
    self,
    values: Iterable[_Lazy],
    infos: Iterable[Any],
    args: Iterable[Any] | None = None,
  ) -> list[Any]:
    """Writes at once; nothing is left to do in the background."""
    assert args is not None
    leaves = sorted(
      zip(values, infos, args, strict=True), key=lambda leaf: leaf[0].order
    )
    for batch in _batches(leaves):
      arrays = [value.tensor.read() for value, _, _ in batch]
      for written in await super().serialize(
        arrays, [info for _, info, _ in batch], [arg for _, _, arg in batch]
      ):
        written.result()
    return []


def _batches(leaves: list[Any]) -> Iterator[list[Any]]:
  """Leaves in order: small ones together, which is faster, large ones alone."""
  batch: list[Any] = []
  size = 0
  for leaf in leaves:
    nbytes = leaf[0].tensor.nbytes
    if batch and size + nbytes > _BATCH_BYTES:
      yield batch
      batch, size = [], 0
    batch.append(leaf)
    size += nbytes
  if batch:
    yield batch


def write(
  folder: str | os.PathLike[str],
  step: int,
  tree: Mapping[Path, Tensor | np.ndarray],
) -> epath.Path:
  """Writes `folder/checkpoint_<step>`, with its `SHA256SUMS`.

  Args:
    folder: on disk or under gs://; other steps in it stay.
    step: names the checkpoint.
    tree: leaves by path. Tensors are read in this order.

  Returns:
    The checkpoint's folder.

  Raises:
    FileExistsError: where the checkpoint exists.
    ValueError: where Orbax would take the folder's name for a pattern.
  """
  storage.check_name(folder)
  path = epath.Path(folder)
  if not os.fspath(path).startswith("gs://"):
    path = path.resolve()
  final = path / f"{STEP_PREFIX}_{step}"
  if final.exists():
    raise FileExistsError(
      f"{final} exists already; remove it or choose another step or output"
    )
  lazy = {
    key: _Lazy(
      leaf if isinstance(leaf, Tensor) else from_array(leaf, "/".join(key)),
      order,
    )
    for order, (key, leaf) in enumerate(tree.items())
  }
  handlers = ocp.type_handlers
  registry = handlers.create_type_handler_registry(
    (_Lazy, _LazyHandler(deepcopy_host_arrays=False)),
    # Never used, but Orbax warns where it is missing.
    (jax.Array, handlers.ArrayHandler()),
  )
  options = ocp.CheckpointManagerOptions(
    step_prefix=STEP_PREFIX,
    create=True,
    enable_async_checkpointing=False,
    temporary_path_class=temporary_path_class(path),
  )
  item = flax.traverse_util.unflatten_dict(lazy)
  save_args = flax.traverse_util.unflatten_dict(
    dict.fromkeys(lazy, ocp.SaveArgs(chunk_byte_size=_CHUNK_BYTES))
  )
  try:
    with ocp.CheckpointManager(
      path,
      options=options,
      item_handlers={
        ITEM: ocp.PyTreeCheckpointHandler(type_handler_registry=registry)
      },
    ) as manager:
      # Older steps than the newest are refused otherwise.
      manager.save(
        step,
        args=ocp.args.Composite(
          **{ITEM: ocp.args.PyTreeSave(item, save_args=save_args)}
        ),
        force=True,
      )
  except BaseException:
    for unfinished in path.glob(f"{final.name}.orbax-checkpoint-tmp*"):
      unfinished.rmtree()
    raise
  return final
