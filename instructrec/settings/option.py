"""What a setting means, said once for the command line and for Python.

A settings class is a frozen dataclass that a pipeline is called with. The
annotation of each field says what it means and from where it counts; commands
make options of the fields (`cli/options.py`), so that both read the same.
"""

import dataclasses
import typing
from typing import Any


@dataclasses.dataclass(frozen=True)
class Option:
  """Stands in the annotation of a field: `Annotated[int, Option("...")]`.

  Attributes:
    help: what the field means.
    least: the smallest number; None for no bound.
    name: what the option is called, where it is not called as the field: of
      fields that hold several, the option is repeated and stands for one.
  """

  help: str
  least: int | None = None
  name: str | None = None


def of(settings: type) -> dict[str, Option]:
  """The options of a settings class.

  Args:
    settings: a dataclass.

  Returns:
    By field; fields without one are left out.
  """
  hints = typing.get_type_hints(settings, include_extras=True)
  return {
    field.name: mark
    for field in dataclasses.fields(settings)
    for mark in getattr(hints[field.name], "__metadata__", ())
    if isinstance(mark, Option)
  }


def check_bounds(settings: Any) -> None:
  """Fails for numbers below what their option allows.

  Args:
    settings: of a settings class.

  Raises:
    ValueError: naming the field.
  """
  for name, found in of(type(settings)).items():
    value = getattr(settings, name)
    if found.least is not None and value is not None and value < found.least:
      raise ValueError(f"{name} is {value}, expected {found.least} or more")
