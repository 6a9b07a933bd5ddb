"""Parameters from a checkpoint of any form, laid out for a run."""

from typing import Any

import jax
import numpy as np
from flax import traverse_util

from instructrec.models.checkpoint import opening, stacking, tensors


def load_params(
  path: str, abstract_params: Any, *, step: int | None = None
) -> Any:
  """Reads parameters, one tensor at a time, onto the devices they belong to.

  The checkpoint may be one of Hugging Face, T5X or ours, with layers stacked
  or not; the result has what the network wants.

  Args:
    path: what `opening.open_checkpoint` takes.
    abstract_params: shapes, dtypes and shardings (`ShapeDtypeStruct`s).
    step: which of a folder of checkpoints; None for the newest.

  Returns:
    A tree like `abstract_params`.

  Raises:
    FileNotFoundError: where there is no checkpoint.
    CheckpointError: where names or shapes are not those of the network; all
      of them are listed.
  """
  found = opening.open_checkpoint(path, step)
  wanted = traverse_util.flatten_dict(abstract_params, sep="/")
  params = found.params
  if stacking.is_stacked(wanted):
    params = stacking.stack(params)
  tensors.compare_names(
    {name: tensor.shape for name, tensor in params.items()},
    {name: leaf.shape for name, leaf in wanted.items()},
    found_in=f"{found.path} ({found.form})",
    expected_by="this run's network (its gin file sets the sizes)",
  )
  # In the order of the file, which a stacked one needs to be read once.
  loaded = {
    name: _place(tensor, wanted[name]) for name, tensor in params.items()
  }
  return traverse_util.unflatten_dict(loaded, sep="/")


def _place(tensor: tensors.Tensor, like: jax.ShapeDtypeStruct) -> jax.Array:
  array = tensor.read().astype(like.dtype, copy=False)
  return jax.make_array_from_callback(
    like.shape, like.sharding, lambda index: np.asarray(array[index])
  )
