"""Records what of T5X our gin files and model rely on, as a JSON file.

Run it where google-research/t5x is importable, after changing the commit in
requirements/t5x.txt:

  PYTHONPATH=${T5X_DIR} python tests/contracts/record_t5x.py

It writes instructrec/preflight/t5x_record.json: what `t5x_record.Record` holds,
and `model`, the attributes that T5X touches on a model, with the parameters
that it passes to those which are methods.
"""

import ast
import dataclasses
import importlib
import inspect
import json
import pathlib
import re
import sys

from instructrec.preflight import t5x_record

_ROOT = pathlib.Path(__file__).resolve().parents[2]
# Where T5X touches a model, under one of these names.
_MODEL_USERS = ("train", "trainer", "eval", "infer", "utils")
_MODEL_NAMES = {"model", "_model"}


def commit() -> str:
  """The commit of T5X that we stand for."""
  text = (_ROOT / "requirements" / "t5x.txt").read_text()
  return re.search(r"google-research/t5x@([0-9a-f]{40})", text).group(1)


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
  root = t5x_record.root()
  found = dataclasses.asdict(t5x_record.at_hand(root))
  del found["name"], found["root"]
  return {"commit": commit(), **found, "model": _model(root)}


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
  t5x_record.FILE.write_text(_lines(record()) + "\n")
  sys.stdout.write(f"written to {t5x_record.FILE}\n")
