"""The retrievers by name, and a saved one whatever it is.

Each file in this folder is a method: it holds one class that satisfies
`retriever.Retriever`, and is found by standing here.
"""

import dataclasses
import importlib
import inspect
import math
import os
import pathlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

from instructrec.retrieval import retriever


def _class(module: str) -> type[retriever.Retriever]:
  """The retriever that a file of this folder holds."""
  found = [
    kind
    for kind in vars(importlib.import_module(module)).values()
    if isinstance(kind, type)
    and issubclass(kind, retriever.Retriever)
    and kind.__module__ == module
  ]
  file = module.rpartition(".")[2] + ".py"
  if len(found) != 1:
    raise TypeError(
      f"{file} in {pathlib.Path(__file__).parent} holds "
      f"{[kind.__name__ for kind in found]}, expected one subclass of "
      "retriever.Retriever; what several methods share belongs in "
      "instructrec/retrieval"
    )
  (kind,) = found
  missing = sorted(getattr(kind, "__abstractmethods__", ()))
  missing += [
    name for name in ("name", "description") if not hasattr(kind, name)
  ]
  if not dataclasses.is_dataclass(kind):
    missing.append("@dataclasses.dataclass(eq=False)")
  if missing:
    raise TypeError(
      f"{kind.__name__} in {file} has no {', '.join(missing)}; see "
      f"{inspect.getfile(retriever)} for what a method needs"
    )
  return kind


def _by_name(modules: Sequence[str]) -> dict[str, type[retriever.Retriever]]:
  """The methods of files, by the names that they have in commands."""
  methods: dict[str, type[retriever.Retriever]] = {}
  for kind in map(_class, modules):
    if kind.name in methods:
      raise TypeError(
        f"{kind.__module__} and {methods[kind.name].__module__} both call "
        f"their method {kind.name!r}; rename one"
      )
    methods[kind.name] = kind
  return methods


METHODS = _by_name(
  [f"{__name__}.{found.name}" for found in pkgutil.iter_modules(__path__)]
)


def settings(name: str) -> dict[str, Any]:
  """The settings of a method with their defaults.

  Args:
    name: a key of `METHODS`.

  Returns:
    Defaults by name.

  Raises:
    ValueError: for an unknown method.
  """
  if name not in METHODS:
    raise ValueError(f"unknown method {name!r}; expected one of {[*METHODS]}")
  return dataclasses.asdict(METHODS[name]())  # type: ignore[call-overload]


def create(name: str, given: Mapping[str, Any]) -> retriever.Retriever:
  """A retriever that is not fitted yet.

  Args:
    name: a key of `METHODS`.
    given: settings that differ from the defaults; text is converted.

  Returns:
    The retriever.

  Raises:
    ValueError: for an unknown method or setting, or a value that does not
      convert or is not finite.
  """
  defaults = settings(name)
  if unknown := set(given) - set(defaults):
    raise ValueError(
      f"{name} has no setting {sorted(unknown)}; it has {defaults}"
    )
  converted = {}
  for key, value in given.items():
    kind = type(defaults[key])
    try:
      converted[key] = kind(value)
      # Else nan and inf are settings, by which all scores are none.
      if kind is float and not math.isfinite(converted[key]):
        raise ValueError("not finite")
    except (ValueError, OverflowError) as error:
      raise ValueError(
        f"setting {key} of {name} is {value!r}, expected {kind.__name__} such "
        f"as {defaults[key]!r}"
      ) from error
  return METHODS[name](**converted)


def load(directory: str | os.PathLike[str]) -> retriever.Retriever:
  """Opens a saved retriever of any method.

  Args:
    directory: the folder that `Retriever.save` wrote.

  Returns:
    The fitted retriever.

  Raises:
    FileNotFoundError: where the folder holds no retriever.
    ValueError: where its method or format is unknown.
  """
  name = retriever.read_manifest(directory)["method"]
  if name not in METHODS:
    raise ValueError(
      f"{directory} holds a retriever of the unknown method {name!r}; "
      f"expected one of {[*METHODS]}"
    )
  return METHODS[name].load(directory)


def load_all(
  folders: Sequence[pathlib.Path], prepared_fingerprint: str
) -> dict[str, retriever.Retriever]:
  """Opens saved retrievers that were fit on the same data.

  Args:
    folders: what `instructrec retrieve fit` wrote.
    prepared_fingerprint: of the prepared data.

  Returns:
    The retrievers by the names of their folders.

  Raises:
    FileNotFoundError: where a folder holds no retriever.
    ValueError: where two folders have the same name, or a retriever was fit
      on other data.
  """
  found: dict[str, retriever.Retriever] = {}
  for folder in folders:
    name = folder.resolve().name
    if name in found:
      raise ValueError(
        f"two retrievers are in folders called {name!r}; rename one, the "
        "report names methods after their folders"
      )
    record = retriever.read_manifest(folder)["record"]
    if record.get("prepared_fingerprint") != prepared_fingerprint:
      raise ValueError(
        f"{folder} was fit on the data {record.get('prepared_dir')} "
        f"({record.get('prepared_fingerprint')}), these are "
        f"{prepared_fingerprint}; what it saw may hold their test targets"
      )
    found[name] = load(folder)
  return found
