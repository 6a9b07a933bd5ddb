"""Builds what a gin file says out of an allow-list: opening is not executing.

A gin file that somebody gives to a command may import and call anything, as a
program may. One that lies in a folder that is opened is data: it may name what
a run is made of, classes and functions of the modules below, and what lies in
modules that the caller trusts by name. Nothing else is imported or called.
"""

import functools
import importlib
import inspect
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from instructrec import limits
from instructrec.training import gin_config, gin_data

_T = TypeVar("_T")
# Making an object of their classes, or calling their functions, touches no file
# and no server.
_CLASSES = (
  "instructrec.alignment.list_objective",
  "instructrec.models.generation",
  "instructrec.models.networks",
  "instructrec.models.objectives",
  "instructrec.models.ranking_model",
  "instructrec.training.data_config",
  "instructrec.training.mesh",
  "instructrec.training.runner",
)
_FUNCTIONS = (
  "instructrec.training.data_config",
  "instructrec.training.optimizer",
  "instructrec.training.schedules",
)
_MODELS = "instructrec.models."
_MOST_VALUES = 10_000
"""References and macros that are followed: few lines can mean very many."""
TASK_MODULES = ("tasks.instructrec", "instructrec.pipelines.tasks_v1")
"""Modules that register SeqIO tasks, and that any run may name."""


class NotAllowedError(ValueError):
  """A folder's gin file names what only its user may name."""


def _is_in(module: str, packages: Iterable[str]) -> bool:
  return any(module == p or module.startswith(f"{p}.") for p in packages)


class StrictGin:
  """A gin file that may build no more than what is allowed.

  Args:
    data: what the file says.
    modules: Python modules, or packages with all in them, that it may name
      beside ours.

  Raises:
    NotAllowedError: where it names something else, used or not.
  """

  def __init__(
    self, data: gin_data.GinData, modules: Sequence[str] = ()
  ) -> None:
    self._data = data
    self._modules = tuple(modules)
    self._macros = data.macros
    self._followed = 0
    for found in data.imports:
      self._check_module(found.module, found.place)
    for binding in data.bindings:
      if binding.parameter:
        self._check_module(_module(binding.selector), binding.place)
      _ = gin_data.resolve(
        binding.value,
        lambda macro: macro.name,
        functools.partial(self._check_reference, binding.place),
      )

  @classmethod
  def open(
    cls, path: str | os.PathLike[str], modules: Sequence[str] = ()
  ) -> "StrictGin":
    """Reads a file, which includes no other.

    Args:
      path: the file.
      modules: see the class.

    Returns:
      The file.

    Raises:
      FileNotFoundError: where it is missing.
      LimitError: where it is too large for settings.
      GinDataError: where it does not parse.
      NotAllowedError: where it names what is not allowed.
    """
    return cls(read(path), modules)

  def _check_reference(
    self, place: gin_data.Place, reference: gin_data.Reference
  ) -> str:
    self._check_module(_module(reference.selector), place)
    return str(reference)

  def _check_module(self, module: str, place: gin_data.Place) -> None:
    if not _is_in(module, (*_CLASSES, *_FUNCTIONS, *self._modules)):
      if module.startswith(_MODELS):
        gin_config.check_moved(module.removeprefix(_MODELS), str(place))
      raise NotAllowedError(
        f"{place}: names {module or 'something of no module'!r}, which "
        "is none of the modules that a run may be made of; nothing was "
        "imported or called. If you know it and trust this folder, pass "
        f"--module={module.split('.')[0] or 'NAME'}"
      )

  def check_task_modules(self, modules: Sequence[str]) -> None:
    """Refuses modules that would be imported for their tasks.

    Args:
      modules: `DataConfig.modules` of the file.

    Raises:
      GinDataError: where they are no tuple or list.
      NotAllowedError: where one is neither ours nor trusted.
    """
    if not isinstance(modules, list | tuple):
      raise gin_data.GinDataError(
        f"DataConfig.modules is {modules!r}, expected names of modules, such "
        "as ('my_tasks',)"
      )
    for module in map(str, modules):
      if module not in TASK_MODULES and not _is_in(module, self._modules):
        raise NotAllowedError(
          f"the run registers its tasks by the module {module!r}, which was "
          "not imported. If you know it and trust this folder, pass "
          f"--module={module}"
        )

  def build(self, cls: type[_T]) -> _T:
    """Makes an object from its bindings, as gin would.

    Args:
      cls: a dataclass of ours.

    Returns:
      The object, with every macro and reference in its fields resolved.

    Raises:
      NotAllowedError: where the file refers to something that is not allowed.
      GinDataError: where a macro is missing, or a parameter does not exist.
      ValueError: where a required field is bound nowhere, or a value is wrong.
    """
    self._followed = 0
    try:
      return self._call(f"{cls.__module__}.{cls.__qualname__}", (), None)()
    except RecursionError as error:
      raise gin_data.GinDataError(
        f"{cls.__name__} refers to itself, by way of its bindings"
      ) from error

  def macro(self, name: str) -> Any:
    """The value of a macro, as gin would make it.

    Args:
      name: of the macro.

    Returns:
      The value; None where there is no such macro.

    Raises:
      NotAllowedError: where it refers to something that is not allowed.
      GinDataError: where a macro in it is missing, or a parameter unknown.
    """
    self._followed = 0
    binding = self._macros.get(name)
    if binding is None:
      return None
    return self._resolve(gin_data.Macro(name), (), binding.place, within=())

  def _follow(self, place: gin_data.Place) -> None:
    self._followed += 1
    if self._followed > _MOST_VALUES:
      raise gin_data.GinDataError(
        f"{place}: more than {_MOST_VALUES:,} references and macros are to be "
        "followed"
      )

  def _call(
    self,
    selector: str,
    scopes: tuple[str, ...],
    place: gin_data.Place | None,
  ) -> Callable[[], Any]:
    """A class or function with what is bound for it under some scopes."""
    target = self._target(selector, place)
    bound: dict[str, gin_data.Binding] = {}
    for depth in range(len(scopes) + 1):
      bound |= self._data.of(selector, "/".join(scopes[:depth]))
    known = inspect.signature(target).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
    for name, binding in bound.items():
      if name not in known and not takes_any:
        raise gin_data.GinDataError(
          f"{binding.place}: {selector} has no parameter {name!r}; it has "
          f"{', '.join(known)}"
        )
    values = {
      name: self._resolve(binding.value, scopes, binding.place, ())
      for name, binding in bound.items()
    }
    files = (binding.place.file for binding in self._data.bindings)
    where = place or next(files, "an empty file")

    def call(*args: Any, **kwargs: Any) -> Any:
      try:
        return target(*args, **{**values, **kwargs})
      except (TypeError, ValueError) as error:
        raise gin_data.GinDataError(
          f"{where}: {selector} cannot be made of what is bound for it: {error}"
        ) from error

    return call

  def _resolve(
    self,
    value: Any,
    scopes: tuple[str, ...],
    place: gin_data.Place,
    within: tuple[str, ...],
  ) -> Any:
    """A value as it is under some scopes; `within` are the macros around."""

    def macro(found: gin_data.Macro) -> Any:
      self._follow(place)
      if found.name not in self._macros:
        raise gin_data.GinDataError(
          f"{place}: the macro %{found.name} has no value"
        )
      if found.name in within:
        raise gin_data.GinDataError(
          f"{place}: the macro %{found.name} is made of itself"
        )
      binding = self._macros[found.name]
      inner = tuple(found.name.split("/"))
      return self._resolve(
        binding.value, inner, binding.place, (*within, found.name)
      )

    def reference(found: gin_data.Reference) -> Any:
      self._follow(place)
      call = self._call(found.selector, found.scopes or scopes, place)
      return call() if found.is_called else call

    return gin_data.resolve(value, macro, reference)

  def _target(self, selector: str, place: gin_data.Place | None) -> Any:
    """What a selector names, once it is known to be allowed."""
    module, name = _module(selector), selector.rpartition(".")[2]
    try:
      target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
      raise gin_data.GinDataError(f"{place}: {error}") from error
    # What a module imports is not its own.
    home = str(getattr(target, "__module__", None))
    trusted = callable(target) and _is_in(home, self._modules)
    is_class = inspect.isclass(target) and _is_in(home, _CLASSES)
    is_function = inspect.isfunction(target) and _is_in(home, _FUNCTIONS)
    if name.startswith("_") or not (trusted or is_class or is_function):
      raise NotAllowedError(
        f"{place}: refers to {selector}, which is nothing that a run is made "
        "of; it was not called. A run is made of settings, networks, "
        "objectives, optimizers and schedules of ours, and of what lies in a "
        "module that is passed as --module"
      )
    return target


def read(path: str | os.PathLike[str]) -> gin_data.GinData:
  """Reads a gin file that includes no other.

  Args:
    path: the file.

  Returns:
    What it says.

  Raises:
    FileNotFoundError: where it is missing.
    LimitError: where it is too large for settings.
    GinDataError: where it does not parse.
  """
  file = pathlib.Path(path)
  limits.CONFIG_BYTES.check(file.stat().st_size, str(file))
  data = gin_data.GinData()
  try:
    text = file.read_text(encoding="utf-8")
  except UnicodeDecodeError as error:
    raise gin_data.GinDataError(f"{file} is no UTF-8: {error}") from error
  data.read(text, str(file))
  return data


def _module(selector: str) -> str:
  return selector.rpartition(".")[0]
