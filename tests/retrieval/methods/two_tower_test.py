"""The titles of the two-tower matcher."""

import numpy as np
import polars as pl

from instructrec.data import catalog, interaction
from instructrec.retrieval import methods


def test_items_that_nobody_touched_differ_by_their_titles(shop):
  """Without titles, cold items would keep their random ids alone."""
  settings = {
    "emb_dim": 8,
    "num_layers": 1,
    "max_length": 4,
    "max_epochs": 1,
    "vocab_size": 400,
    "max_pieces": 4,
  }
  log = interaction.InteractionLog(shop.training_log.frame.head(40))
  found = methods.create("two_tower", settings).fit(log, shop.items)
  assert found._titles.shape == (60, 4)
  frame = shop.items.frame.with_columns(
    pl.when(pl.col("item_id") == "i7")
    .then(pl.lit("another title"))
    .otherwise("title")
    .alias("title")
  )
  # The same parameters over other titles: only that item's score moves, for
  # whoever has not read it.
  r = next(r for r in shop.test if "i7" not in r.history)
  before = found.score_catalog([r])[0]
  other = catalog.Catalog(frame)
  pieces = methods.create("two_tower", settings)
  pieces._make_titles(other)
  found._piece_ids[shop.items.index("i7")] = pieces._piece_ids[
    other.index("i7")
  ]
  after = found.score_catalog([r])[0]
  assert np.flatnonzero(before != after).tolist() == [shop.items.index("i7")]
