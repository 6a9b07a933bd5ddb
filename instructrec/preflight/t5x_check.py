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
from typing import Any

from gin import config_parser
from instructrec.preflight import t5x_files, t5x_record
from instructrec.training import gin_config

# Where a run lies: known when it is started.
PLACES = frozenset(
  ("MODEL_DIR", "CHECKPOINT_PATH", "EVAL_OUTPUT_DIR", "INFER_OUTPUT_DIR")
)
_RUNS = "t5x/configs/runs/"


class GinError(ValueError):
  """Gin files or bindings that do not say what they seem to say."""


@dataclasses.dataclass(frozen=True)
class _Given:
  """A statement with where it stands.

  Attributes:
    where: file and line, or the option.
    scope: gin scope of a binding.
    selector: what it binds, as it is written; of a macro, its name.
    parameter: of what it binds; empty for a macro.
    typed: whether it is a binding of the command line.
  """

  where: str
  scope: str
  selector: str
  parameter: str
  typed: bool


@dataclasses.dataclass
class _Read:
  """What all files and bindings say together, later ones over earlier ones.

  Attributes:
    record: what T5X offers.
    folders: where gin files are looked up.
    problems: what cannot be meant.
    notes: what could not be looked at.
    macros: macros by name, and whether they have a value.
    read: macros that values refer to.
    references: what values refer to, with scopes.
    given: bindings and macros of our files and the user's.
    named: parameters of what files bind or refer to, by its name without
      module; None where they are not known.
  """

  record: t5x_record.Record
  folders: Sequence[str]
  problems: list[str] = dataclasses.field(default_factory=list)
  notes: list[str] = dataclasses.field(default_factory=list)
  macros: dict[str, bool] = dataclasses.field(default_factory=dict)
  read: set[str] = dataclasses.field(default_factory=set)
  references: set[str] = dataclasses.field(default_factory=set)
  given: list[_Given] = dataclasses.field(default_factory=list)
  named: dict[str, list[str] | None] = dataclasses.field(default_factory=dict)

  def file(self, name: str, where: str) -> None:
    """Reads a file, of T5X or ours, and what it includes."""
    if name.startswith("t5x/"):
      self._t5x_file(name, where)
      return
    text = t5x_files.find(name, self.folders).read_text()
    modules = _Modules(self.record, self.notes)
    try:
      for statement in t5x_files.statements(text):
        where = f"{name}:{statement.location.line_num}"
        if isinstance(statement, config_parser.IncludeStatement):
          self.file(statement.filename, where)
        elif isinstance(statement, config_parser.ImportStatement):
          modules.add(statement)
        elif isinstance(statement, config_parser.BindingStatement):
          self._binding(statement, where, modules)
    except SyntaxError as error:
      self.problems.append(f"{name}: {' '.join(str(error).split())}")

  def _t5x_file(self, name: str, where: str) -> None:
    found = self.record.gin.get(name)
    if found is None:
      self.problems.append(
        f"{where}: {self.record.name} has no {name}"
        f"{_nearest(name, self.record.gin)}"
      )
      return
    for included in found.includes:
      self.file(included, name)
    self.macros |= dict.fromkeys(found.defined, True)
    self.macros |= dict.fromkeys(found.required, False)
    self.read |= set(found.read)
    self.references |= set(found.references)
    for bound in (*found.bound, *found.references):
      module, _, short = bound.rpartition("/")[2].rpartition(".")
      known = self.record.callables.get(f"t5x.{module}", {})
      self.named.setdefault(short, known.get(short))

  def typed(self, binding: str) -> None:
    """Reads a binding of the command line, such as `TRAIN_STEPS=10`."""
    try:
      (statement,) = t5x_files.statements(binding)
    except SyntaxError:
      name, _, value = binding.partition("=")
      self.macros[name.strip()] = True
      self.problems.append(
        f"--gin.{binding}: gin cannot read the value; strings stand in quotes "
        f"that the shell leaves, as --gin.{name.strip()}="
        f'\\"{value.strip()}\\"'
      )
      return
    self._binding(statement, f"--gin.{binding.partition('=')[0].strip()}", None)

  def _binding(
    self,
    statement: config_parser.BindingStatement,
    where: str,
    modules: "_Modules | None",
  ) -> None:
    selectors = []
    has_value = True
    for found in t5x_files.mentioned(statement.value):
      if isinstance(found, t5x_files.Reference):
        selectors.append(found.selector)
        self.references.add(found.name)
      elif found.name == "gin.REQUIRED":
        has_value = False
      else:
        self.read.add(found.name)
    parameter = statement.arg_name or ""
    if parameter:
      selectors.append(statement.selector)
    else:
      self.macros[statement.selector] = has_value
    self.given.append(
      _Given(
        where, statement.scope, statement.selector, parameter, modules is None
      )
    )
    for selector in selectors if modules else ():
      try:
        known = modules.parameters(selector)
      except LookupError as error:
        self.problems.append(f"{where}: {error.args[0]}")
        continue
      self.named[_short(selector)] = known
      if selector == statement.selector:
        self._parameter(where, selector, parameter, known)

  def _parameter(
    self, where: str, selector: str, name: str, known: list[str] | None
  ) -> None:
    if known is not None and not {name, "**"} & set(known):
      self.problems.append(
        f"{where}: {selector} has no parameter {name!r}{_nearest(name, known)}"
      )

  def check(self, unset: Iterable[str]) -> None:
    """Holds what was given against what is read.

    Args:
      unset: macros that may be without a value.
    """
    scopes = {
      part
      for name in self.references
      for part in name.rpartition("/")[0].split("/")
    }
    registered = {_short(name) for name in self.record.registered}
    for given in self.given:
      if not given.parameter:
        self._macro(given)
        continue
      if lost := [p for p in given.scope.split("/") if p not in {"", *scopes}]:
        self.problems.append(
          f"{given.where}: nothing enters the scope {lost[0]}"
          f"{_nearest(lost[0], scopes)}"
        )
      if given.typed:
        name = _short(given.selector)
        if name not in self.named and name not in registered:
          self.problems.append(
            f"{given.where}: the gin files name no {given.selector}"
            f"{_nearest(name, self.named)}"
          )
        else:
          self._parameter(
            given.where, name, given.parameter, self.named.get(name)
          )
    for name in sorted(self.read - set(unset)):
      if not self.macros.get(name):
        self.problems.append(
          f"{name} has no value; set --gin.{name}=..., or give a file that does"
        )

  def _macro(self, given: _Given) -> None:
    if given.selector in self.read:
      return
    # A file of overrides serves several launches; who types means this one.
    if given.typed or given.selector not in _shipped(self.record):
      self.problems.append(
        f"{given.where}: nothing reads the macro {given.selector}"
        f"{_nearest(given.selector, self.read)}"
      )


class _Modules:
  """What the imports of one gin file bring."""

  def __init__(self, record: t5x_record.Record, notes: list[str]) -> None:
    self._record = record
    self._notes = notes
    self._imports: dict[str, config_parser.ImportStatement] = {}
    self._dynamic = False

  def add(self, statement: config_parser.ImportStatement) -> None:
    if statement.module == "__gin__.dynamic_registration":
      self._dynamic = True
    else:
      self._imports[statement.bound_name()] = statement

  def parameters(self, selector: str) -> list[str] | None:
    """Parameters of what the file calls `selector`; None if not known.

    Raises:
      LookupError: where there is no such thing.
    """
    if not self._dynamic:
      return None
    alias, _, rest = selector.partition(".")
    if alias not in self._imports:
      raise LookupError(
        f"{selector}: the file imports no {alias!r}"
        f"{_nearest(alias, self._imports)}"
      )
    statement = self._imports[alias]
    whole = statement.is_from or statement.alias
    module, _, name = (
      f"{statement.module if whole else alias}.{rest}".rpartition(".")
    )
    if module == "__main__":
      scripts = self._record.scripts.values()
      return _known(module, name, {n: p for s in scripts for n, p in s.items()})
    if module in self._record.callables:
      return _known(module, name, self._record.callables[module])
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
      if note not in self._notes:
        self._notes.append(note)
      return None
    if not callable(values.get(name)):
      raise LookupError(f"{module} has no {name!r}{_nearest(name, values)}")
    return t5x_record.parameters(values[name])


def _known(module: str, name: str, known: Mapping[str, list[str]]) -> list[str]:
  if name not in known:
    raise LookupError(f"{module} has no {name!r}{_nearest(name, known)}")
  return known[name]


def _short(name: str) -> str:
  """A selector without scope and module."""
  return name.rpartition("/")[2].rpartition(".")[2]


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
    found.file(file, "--gin_file")
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
