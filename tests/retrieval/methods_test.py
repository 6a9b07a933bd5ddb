"""Methods by name, and their settings."""

import pytest

from instructrec.cli import retrieve
from instructrec.retrieval import methods


@pytest.mark.parametrize(
  ("name", "given", "message"),
  [
    ("oracle", {}, r"unknown method 'oracle'; expected one of \['random'"),
    ("bm25", {"k2": 1}, r"bm25 has no setting \['k2'\]; it has \{'k1'"),
    ("bm25", {"k1": "high"}, "setting k1 of bm25 is 'high', expected float"),
    ("sasrec", {"emb_dim": "1.5"}, "expected int such as 64"),
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


def test_the_help_of_the_command_names_every_method():
  (option,) = retrieve.fit.__annotations__["method"].__metadata__
  assert option.help == ", ".join(methods.METHODS) + "."
