"""What T5X offers to gin files: of the T5X at hand, else as it was recorded.

`t5x_record.json` holds that of the commit in requirements/t5x.txt, for machines
without T5X; `tests/contracts/record_t5x.py` writes it.
"""

import dataclasses
import functools
import importlib
import importlib.util
import inspect
import json
import pathlib
import types
from collections.abc import Callable, Mapping
from typing import Any

from gin import config as gin_state
from instructrec.training import gin_data, t5x_files

FILE = pathlib.Path(__file__).with_name("t5x_record.json")
MODULES = (
  "adafactor",
  "gin_utils",
  "metrics",
  "optimizers",
  "partitioning",
  "trainer",
  "utils",
)
SCRIPTS = ("train", "eval", "infer")
REQUIRED = "gin.REQUIRED"
"""The macro that stands for a value that is to be set."""
# Those that our files, and files beside ours, include.
_GIN_FILES = (
  "configs/runs/*.gin",
  "examples/t5/t5_1_1/*.gin",
  "examples/scalable_t5/t5_1_1/*.gin",
)


@dataclasses.dataclass(frozen=True)
class GinFile:
  """What a gin file says, itself and not what it includes.

  Attributes:
    includes: the files that it includes.
    defined: macros to which it gives a value.
    required: macros that it wants to be set.
    read: macros that its values refer to.
    bound: what it binds parameters of: "train/t5x.utils.DatasetConfig".
    references: what its values refer to, likewise.
  """

  includes: list[str]
  defined: list[str]
  required: list[str]
  read: list[str]
  bound: list[str]
  references: list[str]

  @classmethod
  def of(cls, text: str) -> "GinFile":
    """Reads the text of a file."""
    data = gin_data.GinData()
    # What it includes is left out.
    data.read(text, "a gin file", lambda file: None)
    macros: dict[str, bool] = {}
    read: set[str] = set()
    bound, references = set(), set()
    for binding in data.bindings:
      names, found = t5x_files.mentioned(binding.value)
      references |= {str(reference).strip("@()") for reference in found}
      read |= {name.name for name in names} - {REQUIRED}
      if binding.parameter:
        bound.add(str(binding).removesuffix(f".{binding.parameter}"))
      else:
        macros[binding.selector] = gin_data.Macro(REQUIRED) not in names
    return cls(
      includes=data.left_out,
      defined=sorted(name for name, has_value in macros.items() if has_value),
      required=sorted(name for name in macros if not macros[name]),
      read=sorted(read),
      bound=sorted(bound),
      references=sorted(references),
    )


def parameters(callable_: Callable[..., Any]) -> list[str]:
  """Names that gin may bind; "**" where any may."""
  kinds = inspect.signature(callable_).parameters.values()
  return [
    "**" if p.kind == p.VAR_KEYWORD else p.name
    for p in kinds
    if p.kind not in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY)
  ]


def _callables(module: types.ModuleType) -> dict[str, list[str]]:
  found = {}
  for name, value in sorted(vars(module).items()):
    if (
      name.startswith("_")
      or getattr(value, "__module__", None) != module.__name__
      or not (inspect.isclass(value) or inspect.isfunction(value))
      or (inspect.isclass(value) and issubclass(value, Exception))
    ):
      continue
    found[name] = parameters(value)
  return found


def root() -> pathlib.Path | None:
  """The package `t5x` that can be imported; None where there is none."""
  spec = importlib.util.find_spec("t5x")
  # A mere folder of that name, such as a clone, has no origin.
  if spec is None or spec.origin is None:
    return None
  return pathlib.Path(spec.origin).parent


@dataclasses.dataclass(frozen=True)
class Record:
  """What one T5X offers.

  Attributes:
    name: which one, for messages.
    callables: by module, functions and classes with their parameters.
    scripts: those of train.py, eval.py and infer.py, which gin files know as
      `__main__`, by script.
    registered: names that gin files may bind without an import.
    gin: gin files by path, such as "t5x/configs/runs/train.gin".
    root: the package that was looked at; None for the recorded one.
  """

  name: str
  callables: Mapping[str, Mapping[str, list[str]]]
  scripts: Mapping[str, Mapping[str, list[str]]]
  registered: list[str]
  gin: Mapping[str, GinFile]
  root: pathlib.Path | None = None

  def gin_file(self, name: str) -> GinFile | None:
    """A gin file by its path; None where there is none, or none recorded."""
    if self.root is not None and name not in self.gin:
      path = self.root.parent / name
      return GinFile.of(path.read_text()) if path.is_file() else None
    return self.gin.get(name)


def at_hand(folder: pathlib.Path) -> Record:
  """Looks at the T5X that can be imported, and imports it.

  Args:
    folder: `root()`.

  Returns:
    What it offers.
  """

  def callables(name: str) -> dict[str, list[str]]:
    return _callables(importlib.import_module(f"t5x.{name}"))

  files = sorted(path for form in _GIN_FILES for path in folder.glob(form))
  return Record(
    name=f"T5X in {folder.parent}",
    callables={f"t5x.{name}": callables(name) for name in MODULES},
    scripts={name: callables(name) for name in SCRIPTS},
    registered=_registered(),
    gin={
      str(path.relative_to(folder.parent)): GinFile.of(path.read_text())
      for path in files
    },
    root=folder,
  )


def _registered() -> list[str]:
  """What T5X and SeqIO decorate with `gin.configurable`."""
  # Gin offers no public view of it; what files imported has a source.
  return sorted(
    selector
    for selector, found in gin_state._REGISTRY.items()
    if selector.split(".")[0] in ("t5x", "seqio") and not found.import_source
  )


@functools.cache
def recorded() -> Record:
  """The record of the commit in requirements/t5x.txt."""
  found = json.loads(FILE.read_text())
  return Record(
    name=f"T5X at {found['commit'][:7]}",
    callables=found["callables"],
    scripts=found["scripts"],
    registered=found["registered"],
    gin={name: GinFile(**file) for name, file in found["gin"].items()},
  )
