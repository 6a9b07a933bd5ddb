import numpy as np

from instructrec.data import interaction
from instructrec.retrieval import methods
from instructrec.retrieval.methods import sasrec


def test_each_item_is_predicted_from_those_before_it():
  tokens = np.array([[3, 1, 5, 2], [4, 2, 0, 0]])
  inputs, slots, targets = sasrec.SASRec()._example(tokens, None)
  np.testing.assert_array_equal(inputs, tokens[:, :-1])
  np.testing.assert_array_equal(slots, [[0, 1, 2]] * 2)
  np.testing.assert_array_equal(targets, [[1, 5, 2], [2, 0, 0]])


def test_the_last_position_of_a_full_history_is_trained(shop):
  """A history of `max_length` items and the item that follows it."""
  found = methods.create("sasrec", {"max_length": 3, "max_epochs": 1})
  longest = {len(s) for s in shop.training_log.sequences()[1]}
  assert max(longest) > 4
  log = interaction.InteractionLog(shop.training_log.frame.head(60))
  seen = []
  found._example = lambda tokens, rng: (
    seen.append(tokens.shape[1]) or sasrec.SASRec._example(found, tokens, rng)
  )
  found.fit(log, shop.items)
  assert max(seen) == 4
  np.testing.assert_array_equal(
    found.score_catalog(shop.test[:1]).shape, [1, 60]
  )
