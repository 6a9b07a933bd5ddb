"""Training of the retrievers that read sequences."""

import numpy as np
import polars as pl
import pytest

from instructrec.data import catalog, interaction, request
from instructrec.retrieval import evaluate, methods


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "two_tower"])
def test_training_lowers_the_loss_and_keeps_the_best_epoch(shop, fitted, name):
  found = fitted(name)
  losses, scores = zip(*found.epochs, strict=True)
  assert losses[-1] < losses[0]
  assert losses[0] == pytest.approx(np.log(len(shop.items)), abs=0.4)
  assert evaluate.ndcg_at_10(found, shop.validation[:200]) == max(scores)


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "two_tower"])
def test_what_follows_what_is_learnt(name):
  """A ring of 20 items, each followed by the next one; all as popular."""
  walks = [[(start + i) % 20 for i in range(6)] for start in range(20)] * 10
  frame = pl.DataFrame(
    [
      {"user_id": f"u{user}", "item_id": f"i{item}", "order": place}
      for user, walk in enumerate(walks)
      for place, item in enumerate(walk)
    ]
  )
  items = catalog.Catalog(
    pl.DataFrame(
      {
        "item_id": [f"i{item}" for item in range(20)],
        "title": [f"Item {item}" for item in range(20)],
      }
    )
  )
  asked = [
    request.RankingRequest(
      f"r{start}",
      "newcomer",
      tuple(f"i{(start + i) % 20}" for i in range(4)),
      (),
      f"i{(start + 4) % 20}",
    )
    for start in range(20)
  ]
  found = methods.create(
    name,
    {
      "emb_dim": 16,
      "num_layers": 1,
      "max_length": 6,
      "max_epochs": 60,
      "learning_rate": 0.01,
      "dropout_rate": 0.0,
      **({"vocab_size": 400, "max_pieces": 6} if name == "two_tower" else {}),
    },
  ).fit(interaction.InteractionLog(frame), items)
  best = found.retrieve(asked, 1).item_ids
  hits = [ids == (r.target,) for r, ids in zip(asked, best, strict=True)]
  assert sum(hits) >= 18


def test_training_stops_when_validation_does(shop):
  # A learning rate of zero never gets better after the first epoch.
  found = methods.create(
    "sasrec",
    {"emb_dim": 8, "max_length": 4, "learning_rate": 1e-12, "patience": 2},
  )
  found.fit(shop.training_log, shop.items, validation=shop.validation[:20])
  assert len(found.epochs) == 3


def test_a_log_without_a_second_interaction_is_refused(shop):
  log = interaction.InteractionLog(
    pl.DataFrame({"user_id": ["u"], "item_id": ["i0"], "order": [0]})
  )
  with pytest.raises(ValueError, match="no user of the training log has two"):
    methods.create("sasrec", {}).fit(log, shop.items)


def test_a_loss_that_is_no_number_stops_training(shop):
  found = methods.create(
    "sasrec", {"emb_dim": 8, "max_length": 4, "learning_rate": 1e30}
  )
  with pytest.raises(ValueError, match="lower learning_rate"):
    found.fit(shop.training_log, shop.items)
