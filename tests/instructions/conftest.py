"""Small prepared data and the instructions made from them."""

import dataclasses

import pytest

from instructrec.data import candidates, dataset, splits, synthetic
from instructrec.instructions import units


@pytest.fixture(scope="session")
def prepared_dir(tmp_path_factory):
  """A folder that `instructrec prepare` could have written."""
  log, items = synthetic.generate(num_users=40, num_items=60, seed=2)
  split = splits.leave_one_out(log)
  requests = candidates.sample_candidates(split.requests, items, log, seed=1)
  split = dataclasses.replace(split, requests=requests)
  folder = tmp_path_factory.mktemp("prepared") / "data"
  dataset.save(
    folder,
    log=log,
    items=items,
    split=split,
    record={"source": {"name": "synthetic", "version": "2"}},
  )
  return folder


@pytest.fixture(scope="session")
def generated(prepared_dir):
  """The generator over these data, and all of its records."""
  generator = units.Spec(prepared_dir=str(prepared_dir)).generator()
  return generator, list(generator.rows())
