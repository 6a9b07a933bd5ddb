"""Records what of T5X our gin files and model rely on, as a JSON file.

Run it where google-research/t5x is importable, after changing the commit in
requirements/t5x.txt:

  PYTHONPATH=${T5X_DIR} python tests/contracts/record_t5x.py

It writes tests/contracts/t5x_<commit>.json:

- `callables`: functions and classes of the modules that run gin files bind,
  with the names of their parameters ("**" where any name is taken);
- `scripts`: the same for train.py, eval.py and infer.py, which gin files know
  as `__main__`;
- `gin`: the macros that T5X's run gin files define, require and read;
- `model`: the attributes that T5X touches on a model, with the parameters that
  it passes to those which are methods.
"""

import ast
import importlib
import inspect
import json
import pathlib
import re
import sys

from gin import config_parser

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_MODULES = (
  "adafactor",
  "gin_utils",
  "metrics",
  "partitioning",
  "trainer",
  "utils",
)
SCRIPTS = ("train", "eval", "infer")
_RUNS = ("finetune", "pretrain", "eval", "infer")
# Where T5X touches a model, under one of these names.
_MODEL_USERS = ("train", "trainer", "eval", "infer", "utils")
_MODEL_NAMES = {"model", "_model"}


def commit() -> str:
  """The commit of T5X that we stand for."""
  text = (_ROOT / "requirements" / "t5x.txt").read_text()
  return re.search(r"google-research/t5x@([0-9a-f]{40})", text).group(1)


def path() -> pathlib.Path:
  """The record of that commit."""
  return pathlib.Path(__file__).with_name(f"t5x_{commit()[:7]}.json")


def parameters(callable_) -> list[str]:
  """Names that gin may bind."""
  kinds = inspect.signature(callable_).parameters.values()
  return [
    "**" if p.kind == p.VAR_KEYWORD else p.name
    for p in kinds
    if p.kind not in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY)
  ]


def _callables(module) -> dict[str, list[str]]:
  found = {}
  for name, value in sorted(vars(module).items()):
    if (
      name.startswith("_")
      or getattr(value, "__module__", None) != module.__name__
      or not (inspect.isclass(value) or inspect.isfunction(value))
      or (inspect.isclass(value) and issubclass(value, Exception))
    ):
      continue
    found[f"{module.__name__}.{name}"] = parameters(value)
  return found


class References(config_parser.ParserDelegate):
  """Notes the macros and configurables that the values of a file refer to."""

  def __init__(self):
    self.macros = []
    self.configurables = []

  def configurable_reference(self, scoped_configurable_name, evaluate):
    self.configurables.append(scoped_configurable_name)
    return f"@{scoped_configurable_name}"

  def macro(self, macro_name):
    self.macros.append(macro_name)
    return f"%{macro_name}"


def statements(text: str):
  """The statements of a gin file, each with the references in it."""
  references = References()
  parser = config_parser.ConfigParser(text, references)
  for statement in parser:
    yield statement, references.macros, references.configurables
    references.macros, references.configurables = [], []


def macros(text: str) -> dict[str, list[str]]:
  """Macros that a gin file defines, requires to be set, and reads."""
  defined, required, read = set(), set(), set()
  for statement, names, _ in statements(text):
    read |= {name for name in names if name != "gin.REQUIRED"}
    if isinstance(statement, config_parser.BindingStatement) and (
      not statement.arg_name
    ):
      defined.add(statement.selector)
      if "gin.REQUIRED" in names:
        required.add(statement.selector)
      else:
        required.discard(statement.selector)
  return {
    "defined": sorted(defined - required),
    "required": sorted(required),
    "read": sorted(read),
  }


def _model(root: pathlib.Path) -> dict[str, dict[str, list[str]]]:
  """Attributes of models in T5X's sources, and how T5X's own methods begin."""
  base = importlib.import_module("t5x.models").EncoderDecoderModel
  users: dict[str, set[str]] = {}
  for name in _MODEL_USERS:
    for node in ast.walk(ast.parse((root / f"{name}.py").read_text())):
      if not isinstance(node, ast.Attribute):
        continue
      owner = getattr(node.value, "id", getattr(node.value, "attr", None))
      if owner in _MODEL_NAMES:
        users.setdefault(node.attr, set()).add(f"{name}.py")
  found = {}
  for attribute, files in sorted(users.items()):
    value = getattr(base, attribute, None)
    required = []
    if inspect.isfunction(value):
      required = [
        p.name
        for p in list(inspect.signature(value).parameters.values())[1:]
        if p.default is p.empty and p.kind == p.POSITIONAL_OR_KEYWORD
      ]
    found[attribute] = {"users": sorted(files), "parameters": required}
  return found


def record() -> dict:
  """Everything, from the T5X that is importable."""
  import t5x

  root = pathlib.Path(next(iter(t5x.__path__)))
  callables = {}
  for name in _MODULES:
    callables |= _callables(importlib.import_module(f"t5x.{name}"))
  scripts = {}
  for name in SCRIPTS:
    module = importlib.import_module(f"t5x.{name}")
    scripts[name] = {
      full.rpartition(".")[2]: names
      for full, names in _callables(module).items()
    }
  runs = {
    f"t5x/configs/runs/{name}.gin": macros(
      (root / "configs" / "runs" / f"{name}.gin").read_text()
    )
    for name in _RUNS
  }
  return {
    "commit": commit(),
    "callables": callables,
    "scripts": scripts,
    "gin": runs,
    "model": _model(root),
  }


def _lines(value, indent: int = 0) -> str:
  """JSON with one line for each list, so that a change reads well."""
  if not isinstance(value, dict):
    return json.dumps(value)
  pad = " " * (indent + 1)
  items = [
    f"{pad}{json.dumps(k)}: {_lines(v, indent + 1)}" for k, v in value.items()
  ]
  return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"


if __name__ == "__main__":
  path().write_text(_lines(record()) + "\n")
  sys.stdout.write(f"written to {path()}\n")
