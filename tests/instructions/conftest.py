"""Instructions from small data."""

import pytest

from instructrec.instructions import units


@pytest.fixture(scope="session")
def generated(prepared_dir):
  """The generator over these data, and all of its records."""
  generator = units.Spec(prepared_dir=str(prepared_dir)).generator()
  return generator, list(generator.rows())
