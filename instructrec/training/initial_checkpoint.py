"""Parameters from a checkpoint of any form, laid out for a run.

Public checkpoints lack what `networks/title_matching` and `networks/value_head`
add. Where a run begins with one, those parameters alone are drawn; anything
else that is missing is an error, under T5X as in the embedded runner.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import traverse_util

from instructrec import checkpoint_steps
from instructrec.models.checkpoint import (
  adapted,
  names,
  opening,
  stacking,
  tensors,
)
from instructrec.models.networks import adapters

_LOG = logging.getLogger(__name__)


def load_params(
  path: str,
  abstract_params: Any,
  *,
  step: checkpoint_steps.Step = checkpoint_steps.BEST,
  draw_new: Callable[[], Any] | None = None,
  config: Any = None,
) -> Any:
  """Reads parameters, one tensor at a time, onto the devices they belong to.

  The checkpoint may be one of Hugging Face, T5X or ours, with layers stacked
  or not; the result has what the network wants.

  Args:
    path: what `opening.open_checkpoint` takes.
    abstract_params: shapes, dtypes and shardings (`ShapeDtypeStruct`s).
    step: which of a folder of checkpoints; see `opening.open_checkpoint`.
    draw_new: draws what `new_part` gives, of which the checkpoint may lack
      some; None where it must have all.
    config: of the network, held against what the checkpoint says of its own;
      None for no comparison.

  Returns:
    A tree like `abstract_params`.

  Raises:
    FileNotFoundError: where there is no checkpoint.
    CheckpointError: where names or shapes are not those of the network; all
      of them are listed.
  """
  found = opening.open_checkpoint(path, step)
  return place(found, abstract_params, draw_new=draw_new, config=config)


def place(
  found: tensors.Checkpoint,
  abstract_params: Any,
  *,
  draw_new: Callable[[], Any] | None = None,
  config: Any = None,
) -> Any:
  """Reads the parameters of a checkpoint that is open; see `load_params`."""
  adapted.check_plain(found)
  if config is not None:
    opening.check_settings(found, config)
  wanted = traverse_util.flatten_dict(abstract_params, sep="/")
  params = {
    name: tensor
    for name, tensor in found.params.items()
    # What a critic learnt is left where no critic is trained.
    if name in wanted or not names.is_head(name, (names.VALUE_HEAD,))
  }
  if stacking.is_stacked(wanted):
    params = stacking.stack(params)
  new = []
  if draw_new is not None:
    new = [n for n in wanted if n not in params and _is_new(n)]
  tensors.compare_names(
    {name: tensor.shape for name, tensor in params.items()},
    {name: leaf.shape for name, leaf in wanted.items() if name not in new},
    found_in=f"{found.path} ({found.form})",
    expected_by="this run's network (its gin file sets the sizes)",
  )
  # In the order of the file, which a stacked one needs to be read once.
  loaded = {
    name: _place(tensor, wanted[name]) for name, tensor in params.items()
  }
  if new:
    assert draw_new is not None
    drawn = traverse_util.flatten_dict(draw_new(), sep="/")
    loaded |= {name: drawn[name] for name in new}
    _say(new)
  return traverse_util.unflatten_dict(loaded, sep="/")


def new_part(params: Mapping[str, Any]) -> dict[str, Any]:
  """The part of a network's parameters that checkpoints may lack.

  Args:
    params: a tree of anything.
  """
  return {name: params[name] for name in names.HEADS if name in params}


def _place(tensor: tensors.Tensor, like: jax.ShapeDtypeStruct) -> jax.Array:
  array = tensor.read().astype(like.dtype, copy=False)
  return jax.make_array_from_callback(
    like.shape, like.sharding, lambda index: np.asarray(array[index])
  )


def checked(
  path: str | Sequence[str], model: Any, model_dir: str | None = None
) -> str | Sequence[str]:
  """The checkpoint that T5X restores, once it is known to fit the model.

  For `RestoreCheckpointConfig.path`. T5X restores arrays of whatever shape, and
  fails later and elsewhere, naming no checkpoint.

  Args:
    path: the checkpoint; T5X's other values of the setting are left to it.
    model: a `RankingModel`, or a model of T5X.
    model_dir: folder of the run, whose newest checkpoint, if it has any, is
      restored instead; None where nothing is resumed.

  Returns:
    `path`.

  Raises:
    FileNotFoundError: where there is no checkpoint.
    DamagedError: where a file of it was changed.
    CheckpointError: where it has a form that T5X does not read, or where
      parameters of the model are missing in it or have another shape; all of
      them are listed.
  """
  resumed = None if model_dir is None else _newest(model_dir)
  if resumed is not None:
    _check_fit(resumed, model, f"the run in {model_dir}")
  # T5X knows those of TensorFlow by the beginning of their files' names.
  elif isinstance(path, str) and not epath.Path(f"{path}.index").exists():
    _check_fit(_open(path), model, "this run")
  return path


def _newest(model_dir: str) -> tensors.Checkpoint | None:
  try:
    return _open(model_dir)
  except FileNotFoundError:
    return None


def _open(path: str) -> tensors.Checkpoint:
  """Each process of a pod checks a part of what T5X will restore in parts.

  T5X takes the newest of a folder, whatever is wrong with it.
  """
  share = jax.process_index(), jax.process_count()
  newest = opening.newest_step(path)
  step = checkpoint_steps.LATEST if newest is None else newest
  return opening.open_checkpoint(path, step, share=share)


def _check_fit(found: tensors.Checkpoint, model: Any, run: str) -> None:
  """Holds a checkpoint against a model; what it holds beside that is T5X's."""
  # Parameters depend on no size of a batch.
  shapes = {f"{side}_input_tokens": (1, 2) for side in ("encoder", "decoder")}
  variables = jax.eval_shape(
    lambda: model.get_initial_variables(jax.random.key(0), shapes)
  )
  wanted = traverse_util.flatten_dict(dict(variables["params"]), sep="/")
  # What may be missing is `new_parameters`' to say.
  wanted = {name: leaf for name, leaf in wanted.items() if not _is_new(name)}
  scanned = stacking.is_stacked(wanted)
  layers = _LAYERS[scanned]
  if not found.form.startswith("t5x") or scanned != found.stacked:
    raise tensors.CheckpointError(
      f"{found.path} is of the form {found.form}, its layers "
      f"{_LAYERS[found.stacked]}; T5X and the network of {run} want t5x or "
      f"t5x_legacy, {layers}: `instructrec checkpoint export --format=t5x "
      f"--layers={layers}` makes it (SCAN_LAYERS says how layers lie)"
    )
  params = stacking.stack(found.params) if scanned else found.params
  tensors.compare_names(
    {name: params[name].shape for name in wanted if name in params},
    {name: leaf.shape for name, leaf in wanted.items()},
    found_in=f"{found.path} ({found.form})",
    expected_by=f"the network of {run} (its gin files set the sizes)",
  )


_LAYERS = {True: "stacked", False: "unstacked"}


def new_parameters(
  found: Mapping[str, Any],
  expected: Mapping[str, Any],
  *,
  is_resuming: bool = False,
) -> Mapping[str, Any]:
  """Lets heads and adapters be missing in T5X's initial checkpoint, no more.

  For `RestoreCheckpointConfig.state_transformation_fns`, beside
  `fallback_to_scratch`, which would draw whatever is missing.

  Args:
    found: the checkpoint's state, a tree.
    expected: the state of the run.
    is_resuming: whether the checkpoint is the run's own.

  Returns:
    `found`.

  Raises:
    CheckpointError: where something else is missing.
  """
  if is_resuming:
    return found
  wanted = traverse_util.flatten_dict(dict(expected), sep="/")
  missing = [name for name in wanted if not _has(found, name)]
  if others := [name for name in missing if not _is_new(name)]:
    listed = ", ".join(others[:8]) + (" ..." if others[8:] else "")
    raise tensors.CheckpointError(
      f"the initial checkpoint lacks {len(others)} arrays of this run other "
      f"than {', '.join(names.HEADS)} and adapters: {listed}"
    )
  _say(
    name
    for name in missing
    if name.startswith("target/") and not adapters.is_adapter(name)
  )
  return found


def _has(tree: Any, name: str) -> bool:
  """Whether a tree has a node; leaves of the older form are mappings too."""
  for part in name.split("/"):
    if not isinstance(tree, Mapping) or part not in tree:
      return False
    tree = tree[part]
  return True


def _is_new(name: str) -> bool:
  return not {*names.HEADS, adapters.A, adapters.B}.isdisjoint(name.split("/"))


def _say(names: Iterable[str]) -> None:
  if listed := sorted(names):
    _LOG.warning(
      "the initial checkpoint lacks %s, drawn anew: %s",
      "a parameter" if len(listed) == 1 else f"{len(listed)} parameters",
      ", ".join(listed),
    )
