"""Which room of models/ may import which: DESIGN.md, "Layers"."""

import ast
import pathlib

import pytest

from instructrec import models

_MODELS = pathlib.Path(models.__file__).parent
# Each may import those after it; a module beside the rooms counts as one.
_ROOMS = (
  "ranking_model",
  "generation",
  "scoring",
  "objectives",
  "networks",
  "kernels",
)
_SHARED = {"protocol", "prefix_tree", "tokenizer", "llama_tokenizer"}
_MAY_IMPORT = {
  **{room: {*_ROOMS[i + 1 :], *_SHARED} for i, room in enumerate(_ROOMS)},
  **dict.fromkeys(_SHARED, _SHARED),
  "checkpoint": {"networks", *_SHARED},
}


def _room(path):
  first = path.relative_to(_MODELS).parts[0]
  return first.removesuffix(".py")


def _imports(path):
  """Rooms that a module imports from."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, f"{path} has a relative import"
      names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
      continue
    for name in names:
      parts = name.split(".")
      if parts[:2] == ["instructrec", "models"] and len(parts) > 2:
        yield parts[2]


def _modules():
  return sorted(
    path
    for path in _MODELS.rglob("*.py")
    if path.parent != _MODELS or path.name != "__init__.py"
  )


@pytest.mark.parametrize(
  "path", _modules(), ids=lambda path: str(path.relative_to(_MODELS))
)
def test_nothing_points_back(path):
  room = _room(path)
  assert room in _MAY_IMPORT, f"{room} has no place in DESIGN.md's order"
  assert set(_imports(path)) <= _MAY_IMPORT[room] | {room}


def test_every_room_is_there():
  assert {_room(path) for path in _modules()} == set(_MAY_IMPORT)
