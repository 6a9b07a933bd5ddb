"""Tables that are in memory, whatever library holds them."""

from collections.abc import Mapping
from typing import Any

import polars as pl


def of(frame: Any, name: str) -> pl.DataFrame:
  """A table as polars has it.

  Args:
    frame: of polars, lazy or not, pandas or pyarrow, or columns by name. The
      index of pandas is no column; `reset_index()` makes one of it.
    name: what messages call it.

  Returns:
    The table; what pandas calls NaN is null.

  Raises:
    TypeError: where it is no table, or a column holds values of several types.
  """
  if isinstance(frame, pl.LazyFrame):
    return frame.collect()
  if isinstance(frame, pl.DataFrame):
    return frame
  try:
    if not isinstance(frame, Mapping) and not hasattr(frame, "columns"):
      raise TypeError("it has no columns")
    found = pl.DataFrame(frame)
  except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
    raise TypeError(
      f"the table of {name} is a {type(frame).__name__} that cannot be read "
      f"({error}); expected a frame of polars, pandas or pyarrow, columns by "
      "name, or the path of a file"
    ) from error
  # pandas marks what is missing in numbers by NaN.
  return found.fill_nan(None)


def of_schema(
  frame: pl.DataFrame, schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
  """The columns of a schema alone, in its order and of its types.

  Args:
    frame: a table.
    schema: the types by name.

  Returns:
    The table; columns that it lacked are null.

  Raises:
    polars.exceptions.InvalidOperationError: where a value does not fit.
  """
  return frame.select(
    (
      pl.col(name).cast(dtype)
      if name in frame.columns
      else pl.lit(None, dtype).alias(name)
    )
    for name, dtype in schema.items()
  )
