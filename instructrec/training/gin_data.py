"""Gin files as data: what they say, with nothing imported and nothing called.

`gin` itself imports what a file names while it reads it. Here a file becomes a
list of bindings, whose references and macros are values like others; names are
those of the modules that the file's imports stand for.
"""

import dataclasses
import tokenize
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gin import config_parser

_DIRECTIVE = "__gin__.dynamic_registration"


class GinDataError(ValueError):
  """A gin file does not parse, or says what is not to be said there."""


@dataclasses.dataclass(frozen=True)
class Place:
  """Where something stands.

  Attributes:
    file: the file, or what stands for one.
    line: from 1.
  """

  file: str
  line: int

  def __str__(self) -> str:
    return f"{self.file}, line {self.line}"


@dataclasses.dataclass(frozen=True)
class Macro:
  """`%name`."""

  name: str


@dataclasses.dataclass(frozen=True)
class Reference:
  """`@scope/module.Name`, or `@scope/module.Name()`.

  Attributes:
    selector: the name with its module, as far as an import tells it.
    scopes: those before it.
    is_called: whether its result is meant.
  """

  selector: str
  scopes: tuple[str, ...]
  is_called: bool

  def __str__(self) -> str:
    path = "/".join([*self.scopes, self.selector])
    return f"@{path}{'()' if self.is_called else ''}"


@dataclasses.dataclass(frozen=True)
class Import:
  """A module that a file imports, which was not done here."""

  module: str
  place: Place


@dataclasses.dataclass(frozen=True)
class Binding:
  """A value for a parameter of a class or function, or for a macro.

  Attributes:
    scope: gin scopes, joined by "/".
    selector: as `Reference.selector`; of a macro, its name.
    parameter: its name; empty for a macro.
    value: a literal that may hold `Macro`s and `Reference`s.
    place: where it stands.
  """

  scope: str
  selector: str
  parameter: str
  value: Any
  place: Place

  def __str__(self) -> str:
    path = f"{self.scope}/{self.selector}" if self.scope else self.selector
    return f"{path}.{self.parameter}" if self.parameter else path


class _Delegate(config_parser.ParserDelegate):
  """Keeps references and macros as values.

  Args:
    modules: what the names of a file's imports stand for, so far.
  """

  def __init__(self, modules: Mapping[str, str]) -> None:
    self._modules = modules

  def resolve(self, selector: str) -> str:
    """A selector with its module's full name, where an import gives one."""
    first, dot, rest = selector.partition(".")
    return f"{self._modules.get(first, first)}{dot}{rest}"

  def configurable_reference(
    self, scoped_configurable_name: str, evaluate: bool
  ) -> Reference:
    *scopes, selector = scoped_configurable_name.split("/")
    return Reference(self.resolve(selector), tuple(scopes), evaluate)

  def macro(self, macro_name: str) -> Macro:
    return Macro(macro_name)


Include = Callable[[str], str | None]
"""The text of an included file; None where it is to be left out."""


def _no_include(file: str) -> str | None:
  raise GinDataError(f"include {file!r}: this file is to stand alone")


class GinData:
  """The bindings of gin files, later ones over earlier ones.

  Attributes:
    bindings: in the order they were read.
    imports: likewise.
    left_out: files that are included, and were not read.
  """

  def __init__(self) -> None:
    self.bindings: list[Binding] = []
    self.imports: list[Import] = []
    self.left_out: list[str] = []

  def read(self, text: str, file: str, include: Include = _no_include) -> None:
    """Reads the text of a file after those before.

    Args:
      text: gin.
      file: its name, for messages.
      include: gives the text of files that it includes.

    Raises:
      GinDataError: naming file and line, where it does not parse, or includes
        what it must not.
    """
    modules: dict[str, str] = {}
    delegate = _Delegate(modules)
    for statement in _statements(text, file, delegate):
      place = Place(file, statement.location.line_num)
      if isinstance(statement, config_parser.ImportStatement):
        if statement.is_from and statement.module == _DIRECTIVE:
          continue
        whole = statement.is_from or statement.alias
        first = statement.module.split(".")[0]
        modules[statement.bound_name()] = statement.module if whole else first
        self.imports.append(Import(statement.module, place))
      elif isinstance(statement, config_parser.IncludeStatement):
        try:
          included = include(statement.filename)
        except GinDataError as error:
          raise GinDataError(f"{place}: {error}") from error
        if included is None:
          self.left_out.append(statement.filename)
        else:
          self.read(included, statement.filename, include)
      elif isinstance(statement, config_parser.BindingStatement):
        is_macro = not statement.arg_name
        self.bindings.append(
          Binding(
            statement.scope,
            statement.selector
            if is_macro
            else delegate.resolve(statement.selector),
            statement.arg_name,
            statement.value,
            place,
          )
        )

  @property
  def macros(self) -> dict[str, Binding]:
    """The macros by name."""
    return {str(b): b for b in self.bindings if not b.parameter}

  def of(self, name: str, scope: str = "") -> dict[str, Binding]:
    """What is bound for a class or function under exactly one scope.

    Args:
      name: with as much of its module as tells it from others.
      scope: gin scopes, joined by "/".

    Returns:
      Bindings by parameter.
    """
    return {
      b.parameter: b
      for b in self.bindings
      if b.parameter
      and b.scope == scope
      and (b.selector == name or b.selector.endswith(f".{name}"))
    }


def _statements(text: str, file: str, delegate: _Delegate) -> Iterator[Any]:
  """Statements of one file; gin's parser has many ways to fail."""
  line = 1
  try:
    parser = config_parser.ConfigParser(text, delegate)
    # Not `for`, which would take a token that is missing for the end.
    while (statement := parser.parse_statement()) is not None:
      line = statement.location.line_num
      yield statement
  except SyntaxError as error:
    place = Place(file, error.lineno or line)
    raise GinDataError(f"{place}: {error.msg}") from error
  except tokenize.TokenError as error:
    reason, (line, _) = error.args
    raise GinDataError(f"{Place(file, line)}: {reason}") from error
  except (TypeError, StopIteration, RecursionError) as error:
    raise GinDataError(
      f"{Place(file, line)}, or after it: {error or 'the file ends early'}"
    ) from error


def resolve(
  value: Any,
  macro: Callable[[Macro], Any],
  reference: Callable[[Reference], Any],
) -> Any:
  """A value with what its macros and references stand for.

  Args:
    value: of a `Binding`.
    macro: gives the value of a macro.
    reference: gives that of a reference.

  Returns:
    The value; its containers are new.
  """
  if isinstance(value, Macro):
    return macro(value)
  if isinstance(value, Reference):
    return reference(value)
  if isinstance(value, Mapping):
    return {
      resolve(key, macro, reference): resolve(item, macro, reference)
      for key, item in value.items()
    }
  if isinstance(value, list | tuple):
    return type(value)(resolve(item, macro, reference) for item in value)
  return value
