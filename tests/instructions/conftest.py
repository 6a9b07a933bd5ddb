"""Instructions from small data."""

import importlib.util
import pathlib

import pytest

from instructrec.instructions import units


@pytest.fixture(scope="session")
def generated(prepared_dir):
  """The generator over these data, and all of its records."""
  generator = units.Spec(prepared_dir=str(prepared_dir)).generator()
  return generator, list(generator.rows())


@pytest.fixture(scope="session")
def made_up():
  """The module of made-up catalogues that lies beside this file."""
  path = pathlib.Path(__file__).with_name("made_up.py")
  spec = importlib.util.spec_from_file_location("made_up", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module
