"""Are gin files and bindings for T5X sound? Found before a run is paid for.

Gin says nothing of a macro that nothing reads, nor of a scope that nothing
enters: a run with a misspelt one trains on with the default. And what it does
refuse, it refuses on the hosts.
"""

import dataclasses
import difflib
import functools
import importlib
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from instructrec.preflight import t5x_record
from instructrec.training import gin_config, gin_data, t5x_files

# Where a run lies: known when it is started.
PLACES = frozenset(
  ("MODEL_DIR", "CHECKPOINT_PATH", "EVAL_OUTPUT_DIR", "INFER_OUTPUT_DIR")
)
_RUNS = "t5x/configs/runs/"
_DYNAMIC = "__gin__"
_OURS = ("instructrec", "t5x", "seqio", "__main__")
_T = TypeVar("_T")


class GinError(ValueError):
  """Gin files or bindings that do not say what they seem to say."""


@dataclasses.dataclass
class _Read:
  """What all files and bindings say together, later ones over earlier ones.

  Attributes:
    record: what T5X offers.
    folders: where gin files are looked up.
    data: what our files, the user's and the command line say.
    problems: what cannot be meant.
    notes: what could not be looked at.
    read: macros that values refer to.
    scopes: parts of the scopes that references enter.
    macros: macros by name, and whether they have a value.
    named: parameters of what is bound or referred to, by its name with
      module; None where they are not known.
    strict: files whose names all come from their imports.
  """

  record: t5x_record.Record
  folders: Sequence[str]
  data: gin_data.GinData = dataclasses.field(default_factory=gin_data.GinData)
  problems: list[str] = dataclasses.field(default_factory=list)
  notes: list[str] = dataclasses.field(default_factory=list)
  read: set[str] = dataclasses.field(default_factory=set)
  scopes: set[str] = dataclasses.field(default_factory=set)
  macros: dict[str, bool] = dataclasses.field(default_factory=dict)
  named: dict[str, list[str] | None] = dataclasses.field(default_factory=dict)
  strict: set[str] = dataclasses.field(default_factory=set)

  def file(self, name: str) -> None:
    """Reads a file, of T5X or ours, and what it includes."""
    text = self._text(name)
    if text is None:
      return
    try:
      self.data.read(text, name, self._text)
    except gin_data.GinDataError as error:
      self.problems.append(str(error))

  def _text(self, name: str) -> str | None:
    """The text of one of our files; T5X's are taken from the record."""
    if t5x_files.is_t5xs(name):
      self._t5x_file(name)
      return None
    text = t5x_files.find(name, self.folders).read_text()
    if _DYNAMIC in text:
      self.strict.add(name)
    return text

  def _t5x_file(self, name: str) -> None:
    found = self.record.gin_file(name)
    if found is None:
      self.problems.append(
        f"{self.record.name} has no {name}{_nearest(name, self.record.gin)}"
      )
      return
    for included in found.includes:
      self.file(included)
    self.macros |= dict.fromkeys(found.defined, True)
    self.macros |= dict.fromkeys(found.required, False)
    self.read |= set(found.read)
    for selector in (*found.bound, *found.references):
      scope, _, selector = selector.rpartition("/")
      self.scopes |= set(scope.split("/"))
      module, _, short = selector.rpartition(".")
      known = self.record.callables.get(module, {})
      self.named.setdefault(selector, known.get(short))

  def typed(self, binding: str) -> None:
    """Reads a binding of the command line, such as `TRAIN_STEPS=10`."""
    option = t5x_files.option(binding)
    try:
      self.data.read(binding, option)
    except gin_data.GinDataError:
      value = binding.partition("=")[2].strip()
      self.macros[option.removeprefix("--gin.")] = True
      self.problems.append(
        f"{option}: gin cannot read the value {value}; strings stand in quotes "
        f'that the shell leaves, as {option}=\\"{value}\\"'
      )

  def check(self, unset: Iterable[str]) -> None:
    """Holds what was given against what is read.

    Args:
      unset: macros that may be without a value.
    """
    for binding in self.data.bindings:
      macros, references = t5x_files.mentioned(binding.value)
      names = {macro.name for macro in macros}
      self.read |= names - {t5x_record.REQUIRED}
      self.scopes |= {part for found in references for part in found.scopes}
      if not binding.parameter:
        self.macros[str(binding)] = t5x_record.REQUIRED not in names
      if not _is_typed(binding):
        selectors = [found.selector for found in references]
        self._names(binding, [*selectors, binding.selector])
    for binding in self.data.bindings:
      if binding.parameter:
        self._parameter(binding)
      else:
        self._macro(binding)
    for name in sorted(self.read - set(unset)):
      if not self.macros.get(name):
        self.problems.append(
          f"{name} has no value; set --gin.{name}=..., or give a file that does"
        )

  def _names(self, binding: gin_data.Binding, selectors: Sequence[str]) -> None:
    """Looks up what a binding of a file binds and refers to."""
    file = binding.place.file
    modules = [f.module for f in self.data.imports if f.place.file == file]
    for selector in selectors if binding.parameter else selectors[:-1]:
      if file not in self.strict:
        self.named.setdefault(selector, None)
        continue
      try:
        self.named[selector] = self._known(selector, modules)
      except LookupError as error:
        self.problems.append(f"{binding.place}: {error.args[0]}")

  def _known(self, selector: str, modules: Sequence[str]) -> list[str] | None:
    """Parameters of what the imports of a file bring; None if not known.

    Raises:
      LookupError: where there is no such thing.
    """
    module, _, name = selector.rpartition(".")
    if not any(f"{module}.".startswith(f"{known}.") for known in modules):
      short = [known.rpartition(".")[2] for known in modules]
      raise LookupError(
        f"{selector}: the file imports no {module!r}{_nearest(module, short)}"
      )
    if module == "__main__":
      scripts = self.record.scripts.values()
      return _of(module, name, {n: p for s in scripts for n, p in s.items()})
    if module in self.record.callables:
      return _of(module, name, self.record.callables[module])
    if module.split(".")[0] == "t5x":
      return None
    return self._imported(module, name)

  def _imported(self, module: str, name: str) -> list[str] | None:
    try:
      values = vars(importlib.import_module(module))
    except ModuleNotFoundError as error:
      if module.split(".")[0] == "instructrec":
        raise LookupError(str(error)) from error
      note = (
        f"{module} cannot be imported here, so that its part is not checked"
      )
      if note not in self.notes:
        self.notes.append(note)
      return None
    found = {n: value for n, value in values.items() if callable(value)}
    return t5x_record.parameters(_of(module, name, found))

  def _parameter(self, binding: gin_data.Binding) -> None:
    parts = binding.scope.split("/") if binding.scope else []
    for part in parts:
      if part not in self.scopes:
        self.problems.append(
          f"{_where(binding)}: nothing enters the scope {part}"
          f"{_nearest(part, self.scopes)}"
        )
    name = binding.selector
    meant = [found for found in self.named if _ends(found, name)]
    known = [self.named[found] for found in meant]
    every = {name for names in known if names is not None for name in names}
    if None not in known and meant and not {binding.parameter, "**"} & every:
      self.problems.append(
        f"{_where(binding)}: {name.rpartition('.')[2]} has no parameter "
        f"{binding.parameter!r}{_nearest(binding.parameter, every)}"
      )
    if not meant and _is_typed(binding) and not self._may_be_registered(name):
      short = (found.rpartition(".")[2] for found in self.named)
      self.problems.append(
        f"{_where(binding)}: the gin files name no {name}"
        f"{_nearest(name.rpartition('.')[2], short)}"
      )

  def _may_be_registered(self, name: str) -> bool:
    """Whether a module has, or a user's may have, told gin of a name."""
    users = any(
      found.module.split(".")[0] not in _OURS for found in self.data.imports
    )
    return users or any(_ends(r, name) for r in self.record.registered)

  def _macro(self, binding: gin_data.Binding) -> None:
    name = str(binding)
    if name in self.read:
      return
    # A file of overrides serves several launches; who types means this one.
    if _is_typed(binding) or name not in _shipped(self.record):
      self.problems.append(
        f"{_where(binding)}: nothing reads the macro {name}"
        f"{_nearest(name, self.read)}"
      )


def _ends(selector: str, name: str) -> bool:
  """Whether a name is the end of a selector, by whole parts."""
  return f".{selector}".endswith(f".{name}")


def _where(binding: gin_data.Binding) -> str:
  return binding.place.file if _is_typed(binding) else str(binding.place)


def _is_typed(binding: gin_data.Binding) -> bool:
  """Whether a binding is of the command line, and not of a file."""
  return binding.place.file.startswith("--gin.")


def _of(module: str, name: str, known: Mapping[str, _T]) -> _T:
  if name not in known:
    raise LookupError(f"{module} has no {name!r}{_nearest(name, known)}")
  return known[name]


def _nearest(name: str, known: Iterable[str]) -> str:
  close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
  return f"; did you mean {close[0]}?" if close else ""


@functools.cache
def _shipped_files() -> tuple[pathlib.Path, ...]:
  root = next(
    path / "gin"
    for path in map(pathlib.Path, gin_config.search_paths()[1:])
    if (path / "gin").is_dir()
  )
  return tuple(sorted(root.rglob("*.gin")))


def _shipped(record: t5x_record.Record) -> set[str]:
  """Macros that any of our files, or T5X's files of runs, reads."""
  ours = [t5x_record.GinFile.of(p.read_text()) for p in _shipped_files()]
  runs = [file for name, file in record.gin.items() if name.startswith(_RUNS)]
  return {name for file in (*ours, *runs) for name in file.read}


def problems(
  files: Sequence[str],
  bindings: Sequence[str] = (),
  *,
  folders: Sequence[str] | None = None,
  record: t5x_record.Record | None = None,
  unset: Iterable[str] = PLACES,
) -> tuple[list[str], list[str]]:
  """Reads gin files as T5X would, and running nothing.

  Args:
    files: as T5X gets them with --gin_file, in order.
    bindings: as with --gin., such as `TRAIN_STEPS=10`.
    folders: where files are looked up; None for `gin_config.search_paths()`.
    record: what T5X offers; None for the T5X at hand, or the recorded one.
    unset: macros that may be without a value.

  Returns:
    What cannot be meant: macros that nothing reads or that have no value,
    scopes that nothing enters, names and parameters that do not exist; and
    what could not be looked at.

  Raises:
    FileNotFoundError: where a gin file is missing.
  """
  if record is None:
    root = t5x_record.root()
    record = t5x_record.at_hand(root) if root else t5x_record.recorded()
  found = _Read(record, folders or gin_config.search_paths())
  for file in files:
    found.file(file)
  for binding in bindings:
    found.typed(binding)
  found.check(unset)
  return found.problems, found.notes


def check(
  files: Sequence[str], bindings: Sequence[str] = (), **settings: Any
) -> list[str]:
  """Fails where gin files and bindings cannot be meant as they are.

  Args:
    files: as in `problems`.
    bindings: as in `problems`.
    **settings: the other arguments of `problems`.

  Returns:
    What could not be looked at.

  Raises:
    GinError: listing all problems.
    FileNotFoundError: where a gin file is missing.
  """
  found, notes = problems(files, bindings, **settings)
  if found:
    listed = "".join(f"\n  {problem}" for problem in found)
    raise GinError(f"these gin files and bindings are not sound:{listed}")
  return notes
