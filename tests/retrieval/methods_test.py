"""Methods by name, and their settings."""

import math
import pathlib
import sys

import pytest

from instructrec.retrieval import methods

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "baselines.md"


@pytest.mark.parametrize(
  ("name", "given", "message"),
  [
    ("oracle", {}, r"unknown method 'oracle'; expected one of \['als'"),
    ("bm25", {"k2": 1}, r"bm25 has no setting \['k2'\]; it has \{'k1'"),
    ("bm25", {"k1": "high"}, "setting k1 of bm25 is 'high', expected float"),
    ("sasrec", {"emb_dim": "1.5"}, "expected int such as 64"),
    ("itemknn", {"shrinkage": "nan"}, "is 'nan', expected float such as 10.0"),
    ("itemknn", {"max_history": math.inf}, "is inf, expected int such as 50"),
  ],
)
def test_wrong_settings_are_named(name, given, message):
  with pytest.raises(ValueError, match=message):
    methods.create(name, given)


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_spaces_begin_with_the_defaults(name):
  space = methods.METHODS[name].space
  defaults = methods.settings(name)
  assert {k: v[0] for k, v in space.items()} == {k: defaults[k] for k in space}


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_text_from_the_command_line_becomes_what_the_setting_is(name):
  defaults = methods.settings(name)
  given = {key: str(value) for key, value in defaults.items()}
  assert methods.create(name, given) is not None
  for key, value in defaults.items():
    found = getattr(methods.create(name, given), key)
    assert type(found) is type(value)
    assert found == value


def test_every_method_stands_in_the_documentation():
  missing = [
    name for name in methods.METHODS if f"| `{name}` |" not in PAGE.read_text()
  ]
  assert not missing, (
    f"{missing} have no row in the first table of docs/baselines.md: add "
    "`| `NAME` | what it scores an item by | settings that tuning draws |`"
  )


def written(folder, monkeypatch, text):
  """A module of a folder that imports see, as a file of the package's."""
  (folder / "own_method.py").write_text(text)
  monkeypatch.syspath_prepend(folder)
  monkeypatch.delitem(sys.modules, "own_method", raising=False)
  return "own_method"


OWN = """
import dataclasses
from instructrec.retrieval.methods import popularity
from instructrec.retrieval.retriever import Retriever

@dataclasses.dataclass(eq=False)
class Own(popularity.Popularity):
  name = "own"
"""


def test_a_file_is_a_method_by_standing_there(tmp_path, monkeypatch):
  module = written(tmp_path, monkeypatch, OWN)
  (kind,) = methods._by_name([module]).values()
  assert (kind.name, kind.__name__) == ("own", "Own")


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (("class Own", "class Odd: pass\nclass Other(Retriever): pass\nclass Own"),
     r"own_method\.py in .* holds \['Other', 'Own'\], expected one subclass"),
    ((OWN, ""), r"own_method\.py in .* holds \[\], expected one subclass"),
    (("(popularity.Popularity)", "(Retriever)"),
     "Own in own_method.py has no _fit, _load, _save, _scores, description;"),
  ],
)  # fmt: skip
def test_a_file_that_is_no_method_is_told_what_it_lacks(
  tmp_path, monkeypatch, change, message
):
  module = written(tmp_path, monkeypatch, OWN.replace(*change))
  with pytest.raises(TypeError, match=message):
    methods._by_name([module])


def test_two_methods_of_one_name_are_named(tmp_path, monkeypatch):
  text = OWN.replace('"own"', '"popularity"')
  module = written(tmp_path, monkeypatch, text)
  other = methods.popularity.__name__
  with pytest.raises(TypeError, match=f"own_method and {other} both call"):
    methods._by_name([other, module])
