"""The state that T5X's Adafactor starts with, without T5X.

T5X's fine-tuning settings restore the optimizer with the parameters. A
checkpoint that never had T5X's optimizer gets a fresh one: all zeros, in the
shapes that `t5x.adafactor.Adafactor` with its standard logical factor rules
gives them.
"""

from collections.abc import Sequence

import numpy as np

_MIN_DIM_TO_FACTOR = 128
_BATCH_AXIS, _ROW_AXIS = "layers", "embed"


def fresh_state(
  shape: Sequence[int], axes: Sequence[str]
) -> dict[str, np.ndarray]:
  """The accumulators of one parameter.

  Matrices whose axes are both large keep the row's and the column's mean
  square, others each number's; what is not kept is a single zero. Stacked
  layers are factored one by one, whatever their size.

  Args:
    shape: of the parameter.
    axes: logical names of its axes.

  Returns:
    Float32 zeros `v_row`, `v_col`, `v` and `m` (momentum, which the published
    settings do not keep).
  """
  state = {n: np.zeros(1, np.float32) for n in ("v_row", "v_col", "v", "m")}
  factored = _factored_axes(shape, axes)
  if factored is None:
    state["v"] = np.zeros(shape, np.float32)
  else:
    rows, columns = factored
    state["v_row"] = np.zeros(np.delete(shape, columns), np.float32)
    state["v_col"] = np.zeros(np.delete(shape, rows), np.float32)
  return state


def _factored_axes(
  shape: Sequence[int], axes: Sequence[str]
) -> tuple[list[int], list[int]] | None:
  """Axes that are rows and axes that are columns, or None."""
  if _BATCH_AXIS in axes:
    rows = [i for i, axis in enumerate(axes) if axis == _ROW_AXIS]
    others = (_BATCH_AXIS, _ROW_AXIS)
    columns = [i for i, axis in enumerate(axes) if axis not in others]
    return (rows, columns) if rows and columns else None
  if len(shape) < 2:
    return None
  order = [int(i) for i in np.argsort(shape)]
  if shape[order[-2]] < _MIN_DIM_TO_FACTOR:
    return None
  return [order[-2]], [order[-1]]
