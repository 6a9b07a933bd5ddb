"""Fixtures shared by all tests."""

import dataclasses
import os
import pathlib

import pytest

from instructrec.data import candidates, dataset, splits, synthetic

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


@pytest.fixture(scope="session")
def prepared_dir(tmp_path_factory) -> pathlib.Path:
  """A small folder such as `instructrec prepare` writes."""
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
