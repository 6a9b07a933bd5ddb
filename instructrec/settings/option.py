"""What a setting means, said once for the command line and for Python.

A settings class is a frozen dataclass that a pipeline is called with. The
annotation of each field says what it means and from where it counts; commands
make options of the fields (`cli/options.py`), so that both read the same.
"""

import dataclasses
import difflib
import enum
import os
import pathlib
import types
import typing
from collections.abc import Iterator
from typing import Any, TypeVar

_T = TypeVar("_T")
_TOO_LARGE = 2**63


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


def make(settings: type[_T], **values: Any) -> _T:
  """Settings of plain values, as people write them in Python.

  Args:
    settings: a dataclass.
    **values: by field; those of a dataclass in it by their options, or it as a
      whole. Members of an enumeration may be given by their values, paths as
      text, several of something as any sequence, or one alone.

  Returns:
    The settings.

  Raises:
    TypeError: for a name that is none, with the nearest, or where a value is
      missing.
    ValueError: where a value is none of an enumeration, or does not fit.
  """
  known = list(_names(settings))
  for name in values:
    if name not in known:
      (close,) = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
      raise TypeError(
        f"there is no setting {name!r}; the nearest is {close!r}, all are "
        + ", ".join(known)
      )
  return _made(settings, values)


def _names(settings: Any, *, inner: bool = False) -> Iterator[str]:
  """What the values of all fields are called, those of inner classes too."""
  for name, kind in typing.get_type_hints(settings).items():
    yield _name(settings, name, inner)
    if dataclasses.is_dataclass(kind):
      yield from _names(kind, inner=True)


def _name(settings: Any, field: str, inner: bool) -> str:
  """Fields of an inner class, such as `model`, say little without it."""
  found = of(settings).get(field)
  return (inner and found is not None and found.name) or field


def _made(settings: Any, values: dict[str, Any], *, inner: bool = False) -> Any:
  """The settings by the values that are theirs."""
  given = {}
  for field, kind in typing.get_type_hints(settings).items():
    name = _name(settings, field, inner)
    if name in values:
      given[field] = _converted(name, kind, values[name])
    elif dataclasses.is_dataclass(kind):
      given[field] = _made(kind, values, inner=True)
  return settings(**given)


def _converted(name: str, kind: Any, value: Any) -> Any:
  """A plain value as the type of its field."""
  if typing.get_origin(kind) in (types.UnionType, typing.Union):
    if value is None:
      return None
    (kind,) = (k for k in typing.get_args(kind) if k is not types.NoneType)
  if typing.get_origin(kind) is tuple:
    each = typing.get_args(kind)[0]
    alone = isinstance(value, str | os.PathLike)
    return tuple(
      _converted(name, each, one) for one in ((value,) if alone else value)
    )
  if isinstance(kind, type) and issubclass(kind, enum.Enum):
    try:
      return kind(value)
    except ValueError:
      known = ", ".join(str(member.value) for member in kind)
      raise ValueError(
        f"{name} is {value!r}, expected one of {known}"
      ) from None
  if kind is pathlib.Path:
    return pathlib.Path(value).expanduser()
  return value


def check_bounds(settings: Any) -> None:
  """Fails for numbers below what their option allows, and of over 64 bits.

  Args:
    settings: of a settings class.

  Raises:
    ValueError: naming the field.
  """
  for name, found in of(type(settings)).items():
    value = getattr(settings, name)
    if found.least is not None and value is not None and value < found.least:
      raise ValueError(f"{name} is {value}, expected {found.least} or more")
    if isinstance(value, int) and value >= _TOO_LARGE:
      raise ValueError(f"{name} is {value}, expected less than 2^63")
