"""A small shop with planted structure, split and fit once for all tests."""

import dataclasses
import types

import pytest

from instructrec.data import candidates, request, splits, synthetic
from instructrec.retrieval import methods

# Small enough to be trained in seconds; what is not named has its defaults.
SETTINGS = {
  "random": {"seed": 5},
  "itemknn": {"num_neighbors": 20},
  "als": {"factors": 8, "max_epochs": 5},
  **{
    name: {
      "emb_dim": 16,
      "num_layers": 1,
      "max_length": 8,
      "max_epochs": 10,
      "batch_slots": 256,
      "learning_rate": 0.01,
      "dropout_rate": 0.1,
      **extra,
    }
    for name, extra in (
      ("sasrec", {}),
      ("bert4rec", {"max_epochs": 10, "patience": 10}),
      ("two_tower", {"vocab_size": 500, "max_pieces": 12}),
    )
  },
}


@pytest.fixture(scope="session")
def shop():
  log, items = synthetic.generate(num_users=500, num_items=60, seed=3)
  split = splits.leave_one_out(log)
  table = candidates.sample_candidates(split.requests, items, log)
  requests = {
    name: request.from_frame(table.filter(split=name))
    for name in ("validation", "test")
  }
  return types.SimpleNamespace(
    log=log, items=items, training_log=split.training_log, **requests
  )


@pytest.fixture(scope="session")
def fitted(shop):
  """A function from a method's name to it, fit once."""
  found = {}

  def fit(name):
    if name == "als":
      pytest.importorskip("implicit", reason="the extra [baselines]")
    if name not in found:
      found[name] = methods.create(name, SETTINGS.get(name, {})).fit(
        shop.training_log, shop.items, validation=shop.validation[:200]
      )
    return found[name]

  return fit


@pytest.fixture(scope="session")
def fresh():
  """A function from a fitted retriever to one that is not, set alike."""
  return lambda found: type(found)(**dataclasses.asdict(found))
