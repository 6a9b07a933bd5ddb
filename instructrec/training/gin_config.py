"""Gin, behind one module: finding files, strictness, the config on record.

Gin itself stays silent about a misspelt macro definition and about a binding
that nothing used. Here both are errors that name the nearest thing that
exists.
"""

import difflib
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import gin

# Gin offers no public view of what was configured and what was used.
from gin import config as gin_state

_T = TypeVar("_T")
_MACRO = "gin.macro"
# Modules that were moved, below `instructrec.models`: run folders written
# before name the old ones.
_MOVED = {
  "config": "networks.t5_config",
  "t5": "networks.t5",
  "losses": "objectives.token_loss",
  "training_metrics": "objectives.training_metrics",
  "decoding": "generation.search",
}


class UnusedBindingError(ValueError):
  """A binding or macro that no part of the run reads."""


def search_paths() -> list[str]:
  """Folders where `gin/...` paths are looked up, first to last.

  The current folder; the checkout that holds the package; the installed
  package, whose `gin/` is that of the checkout it was built from.
  """
  package = pathlib.Path(__file__).resolve().parent.parent
  paths = [pathlib.Path.cwd(), package.parent, package]
  # Beside an installed package, `gin` is gin-config.
  if (package.parent / "gin" / "__init__.py").exists():
    paths.remove(package.parent)
  return [str(path) for path in paths]


def parse(files: Sequence[str], bindings: Sequence[str] = ()) -> None:
  """Reads gin files, then bindings over them; replaces what was read before.

  Args:
    files: paths, absolute or below one of `search_paths()`.
    bindings: such as `TRAIN_STEPS = 10` or `runner.TrainConfig.seed = 1`.

  Raises:
    FileNotFoundError: where a file is in none of the folders.
    ValueError: from gin, for what it cannot parse or resolve; for files that
      only T5X can run; and for modules that were moved.
  """
  gin.clear_config()
  gin_state._FILE_READERS[1:] = []  # Paths added by an earlier call.
  gin_state._LOCATION_PREFIXES[:] = [""]
  for path in search_paths():
    gin.add_config_file_search_path(path)
  for file in files:
    if not any((pathlib.Path(p) / file).is_file() for p in search_paths()):
      raise FileNotFoundError(
        f"no gin file {file!r}; looked in {', '.join(search_paths())}"
      )
    try:
      gin.parse_config_file(file)
    except (ModuleNotFoundError, OSError) as error:
      missing = re.match(
        r"No module named 'instructrec\.models\.(\w+)'", str(error)
      )
      if missing:
        check_moved(missing[1], file)
      if "t5x" not in str(error):
        raise
      raise ValueError(
        f"{file} is for T5X: start it with t5x/train.py (docs/t5x.md), or give "
        "files that include gin/runs/train.gin"
      ) from error
  macros = {scope for scope, name in gin_state._CONFIG if name == _MACRO}
  for binding in bindings:
    name = binding.split("=", 1)[0].strip()
    if name.isidentifier() and name not in macros:
      raise unknown_macro(name, macros)
    try:
      gin.parse_config(binding)
    except ValueError as error:
      if "No configurable matching" in str(error):
        check_moved(name.split(".")[0], f"--gin.{name}")
      raise


def check_moved(name: str, where: str) -> None:
  """Says where a module is now.

  Args:
    name: of the module below `instructrec.models`.
    where: what names it, for the message.

  Raises:
    ValueError: where it was moved.
  """
  if name in _MOVED:
    room, _, module = _MOVED[name].rpartition(".")
    raise ValueError(
      f"{where}: instructrec.models.{name} is now instructrec.models."
      f"{_MOVED[name]}; write `from instructrec.models.{room} import {module}` "
      f"and {module}. where {name}. stands"
    )


def unknown_macro(name: str, macros: Iterable[str]) -> UnusedBindingError:
  """The error for a macro that is set, but that no gin file defines."""
  return UnusedBindingError(
    f"--gin.{name}: the gin files define no macro {name!r}"
    + _nearest(name, macros)
  )


def build(cls: type[_T]) -> _T:
  """Makes a config object from its bindings.

  Args:
    cls: a config class, bound by full path in the gin files.

  Returns:
    The object, with every reference in its fields resolved.

  Raises:
    ValueError: where a required field is bound nowhere.
  """
  selector = f"{cls.__module__}.{cls.__qualname__}"
  try:
    configurable = gin.get_configurable(selector)
  except (KeyError, ValueError):
    configurable = gin_state.external_configurable(
      cls, name=cls.__qualname__, module=cls.__module__
    )
  try:
    return configurable()
  except TypeError as error:
    raise ValueError(
      f"{cls.__name__} is not fully configured: {error}. Bind the fields in "
      f"a gin file, or with --gin.{cls.__name__}.<field>=<value>"
    ) from error


def option(cls: type, field: str) -> str:
  """What sets a field of a config class: a macro, or the field itself.

  Args:
    cls: the class.
    field: of it.

  Returns:
    A name for `--gin.NAME=value`.
  """
  selector = f"{cls.__module__}.{cls.__qualname__}"
  bound = gin_state._CONFIG.get(("", selector), {}).get(field)
  if isinstance(bound, gin_state.ConfigurableReference):
    reference = str(bound)
    if reference.startswith("%"):
      return reference[1:]
  return f"{cls.__module__.rpartition('.')[2]}.{cls.__qualname__}.{field}"


def record(cls: type, fields: Mapping[str, Any]) -> None:
  """Binds fields whose values were found after parsing.

  `config_text` and `bindings` then have them as if gin had said them.

  Args:
    cls: the config class.
    fields: their values.
  """
  with gin.unlock_config():
    for field, value in fields.items():
      gin.parse_config(f"{option(cls, field)} = {value!r}")


def check_all_used() -> None:
  """Fails for bindings and macros that no `build` has read.

  Raises:
    UnusedBindingError: naming each, and the nearest one that was read.
  """
  configured = {
    (scope, selector, parameter)
    for (scope, selector), parameters in gin_state._CONFIG.items()
    for parameter in parameters
  }
  operative = {
    (scope, selector, parameter)
    for (scope, selector), parameters in gin_state._OPERATIVE_CONFIG.items()
    for parameter in parameters
  }
  unused = [key for key in configured if not _used(key, operative)]
  if not unused:
    return
  used_names = {_display(key) for key in operative}
  lines = [
    f"  {name}{_nearest(name, used_names)}"
    for name in sorted(map(_display, unused))
  ]
  raise UnusedBindingError(
    "nothing in this run reads these gin bindings:\n"
    + "\n".join(lines)
    + "\ncorrect or remove them"
  )


def _used(key: tuple[str, str, str], operative: set) -> bool:
  # A binding made under one scope is read under that scope or a deeper one.
  return any(
    selector == key[1]
    and parameter == key[2]
    and (scope == key[0] or scope.endswith(key[0]) or not key[0])
    for scope, selector, parameter in operative
  )


def _display(key: tuple[str, str, str]) -> str:
  scope, selector, parameter = key
  if selector == _MACRO:
    return scope
  short = ".".join(selector.split(".")[-2:])
  return f"{scope}/{short}.{parameter}" if scope else f"{short}.{parameter}"


def _nearest(name: str, known: Any) -> str:
  close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
  return f" (did you mean {close[0]}?)" if close else ""


def bindings() -> dict[str, str]:
  """The value of each binding and macro by its name, as gin writes both."""
  return {
    _display((scope, selector, parameter)): repr(value)
    for (scope, selector), parameters in gin_state._CONFIG.items()
    for parameter, value in parameters.items()
  }


def config_text() -> str:
  """All bindings, as a gin file that restores them."""
  return gin_state.config_str()
