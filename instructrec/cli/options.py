"""Options of commands, made of the fields of settings classes."""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from instructrec.settings import option


def from_settings(command: Callable[..., None]) -> Callable[..., None]:
  """Gives a command an option for each field of its settings.

  Args:
    command: a function; of a parameter whose type is a dataclass, each field
      with an `Option` becomes one, and so do those of dataclasses in it. Other
      parameters stay.

  Returns:
    The function that Typer calls.
  """
  hints = typing.get_type_hints(command)
  settings: dict[str, Any] = {}
  parameters: list[inspect.Parameter] = []
  for parameter in inspect.signature(command).parameters.values():
    kind = hints[parameter.name]
    if dataclasses.is_dataclass(kind):
      settings[parameter.name] = kind
      parameters += _parameters(kind)
    else:
      parameters.append(parameter)

  @functools.wraps(command)
  def called(**given: Any) -> None:
    made = {name: _make(kind, given) for name, kind in settings.items()}
    command(**made, **given)

  # Required ones may follow others: all are given by name.
  parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in parameters]
  called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
  called.__annotations__ = {p.name: p.annotation for p in parameters}
  return called


def _fields(settings: Any) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
  """The fields of a dataclass with their types."""
  hints = typing.get_type_hints(settings)
  for field in dataclasses.fields(settings):
    yield field, hints[field.name]


def _parameters(settings: Any) -> Iterator[inspect.Parameter]:
  options = option.of(settings)
  for field, kind in _fields(settings):
    if dataclasses.is_dataclass(kind):
      yield from _parameters(kind)
    elif field.name in options:
      yield _parameter(field, kind, options[field.name])


def _parameter(
  field: dataclasses.Field[Any], kind: Any, found: option.Option
) -> inspect.Parameter:
  name, default = found.name or field.name, field.default
  if default is dataclasses.MISSING:
    default = inspect.Parameter.empty
  if typing.get_origin(kind) is tuple:
    kind = list[typing.get_args(kind)[0]]  # type: ignore[misc]
    if default is not inspect.Parameter.empty:
      kind, default = kind | None, None
  # Typer gives a switch that is not named a twin that turns it off.
  flags = [f"--{name}"] if kind is bool else []
  typed = typer.Option(*flags, help=found.help, min=found.least)
  return inspect.Parameter(
    name,
    inspect.Parameter.KEYWORD_ONLY,
    default=default,
    annotation=Annotated[kind, typed],
  )


def _make(settings: Any, given: dict[str, Any]) -> Any:
  """The settings by what was given, which is taken out."""
  options, values = option.of(settings), {}
  for field, kind in _fields(settings):
    if dataclasses.is_dataclass(kind):
      values[field.name] = _make(kind, given)
    elif field.name in options:
      value = given.pop(options[field.name].name or field.name)
      if typing.get_origin(kind) is tuple:
        # None stands for the default, whatever that is.
        value = field.default if value is None else tuple(value)
      values[field.name] = value
  return settings(**values)
