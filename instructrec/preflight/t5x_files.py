"""Gin files for T5X as text: what they say and refer to, nothing imported."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gin import config_parser
from instructrec.training import gin_config


@dataclasses.dataclass(frozen=True)
class Macro:
  """`%NAME` in a value."""

  name: str


@dataclasses.dataclass(frozen=True)
class Reference:
  """`@scope/module.Name`, or `@scope/module.Name()`, in a value.

  Attributes:
    name: with its scope.
    evaluate: whether it is called.
  """

  name: str
  evaluate: bool = False

  @property
  def scope(self) -> str:
    """What stands before the last slash."""
    return self.name.rpartition("/")[0]

  @property
  def selector(self) -> str:
    """What stands behind it."""
    return self.name.rpartition("/")[2]


class _Delegate(config_parser.ParserDelegate):
  """Keeps references in values, instead of resolving them."""

  def configurable_reference(
    self, scoped_configurable_name: str, evaluate: bool
  ) -> Reference:
    return Reference(scoped_configurable_name, evaluate)

  def macro(self, macro_name: str) -> Macro:
    return Macro(macro_name)


def statements(text: str) -> Iterator[Any]:
  """The statements of a gin file, of `gin.config_parser`'s kinds.

  Args:
    text: the content of a file, or a binding.

  Yields:
    Statements in order; values hold `Macro`s and `Reference`s.

  Raises:
    SyntaxError: where gin cannot parse it.
  """
  yield from config_parser.ConfigParser(text, _Delegate())


def mentioned(value: Any) -> Iterator[Macro | Reference]:
  """The macros and references in a value, however deep."""
  if isinstance(value, Macro | Reference):
    yield value
  elif isinstance(value, Mapping):
    for key, inner in value.items():
      yield from mentioned(key)
      yield from mentioned(inner)
  elif isinstance(value, list | tuple):
    for inner in value:
      yield from mentioned(inner)


def find(file: str, folders: Sequence[str] | None = None) -> pathlib.Path:
  """Where a gin file lies.

  Args:
    file: a path, absolute or below one of the folders.
    folders: first to last; None for `gin_config.search_paths()`.

  Raises:
    FileNotFoundError: where it is in none of them.
  """
  folders = folders or gin_config.search_paths()
  for folder in folders:
    path = pathlib.Path(folder) / file
    if path.is_file():
      return path
  raise FileNotFoundError(
    f"no gin file {file!r}; looked in {', '.join(folders)}"
  )


def flattened(file: str, folders: Sequence[str] | None = None) -> Iterator[Any]:
  """Statements of a file and of ours that it includes, in order.

  T5X's own files stand as the statements that include them.

  Args:
    file: as in `find`.
    folders: as in `find`.

  Yields:
    Statements.

  Raises:
    FileNotFoundError: where a file is missing.
  """
  for statement in statements(find(file, folders).read_text()):
    if isinstance(
      statement, config_parser.IncludeStatement
    ) and not statement.filename.startswith("t5x/"):
      yield from flattened(statement.filename, folders)
    else:
      yield statement


def need_t5x(
  files: Sequence[str], folders: Sequence[str] | None = None
) -> bool:
  """Whether gin files include files of T5X, and so can be run by T5X alone.

  Args:
    files: as in `find`.
    folders: as in `find`.

  Raises:
    FileNotFoundError: where there is no such file.
  """
  return any(
    isinstance(statement, config_parser.IncludeStatement)
    for file in files
    for statement in flattened(file, folders)
  )
