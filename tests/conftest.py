"""Fixtures shared by all tests."""

import os
import pathlib

import pytest

_ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
  """The folder with the real data sets; skips where it is absent."""
  path = pathlib.Path(
    os.environ.get("INSTRUCTREC_SHARED", _ROOT.parent / "shared")
  )
  if not (path / "data").is_dir():
    pytest.skip(
      f"no real data at {path}; set INSTRUCTREC_SHARED to a folder that "
      "holds data/amazon_games and its sisters"
    )
  return path / "data"
