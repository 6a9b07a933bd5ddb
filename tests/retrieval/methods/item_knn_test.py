"""ItemKNN against its formula over a dense matrix."""

import numpy as np
import pytest

from instructrec.retrieval.methods import item_knn


def dense(shop, *, num_neighbors, shrinkage):
  _, sequences = shop.training_log.sequences()
  touched = np.zeros((len(sequences), len(shop.items)))
  for row, sequence in zip(touched, sequences, strict=True):
    row[[shop.items.index(i) for i in sequence]] = 1
  common = touched.T @ touched
  users = np.diag(common).copy()
  similarity = common / (np.sqrt(np.outer(users, users)) + shrinkage)
  np.fill_diagonal(similarity, 0)
  if num_neighbors:
    order = np.argsort(-similarity, axis=1, kind="stable")
    np.put_along_axis(similarity, order[:, num_neighbors:], 0, 1)
  return similarity


@pytest.mark.parametrize(
  ("num_neighbors", "shrinkage"), [(0, 10.0), (5, 10.0), (1, 2.5)]
)
def test_scores_are_the_formula(shop, num_neighbors, shrinkage):
  found = item_knn.ItemKNN(
    num_neighbors=num_neighbors, shrinkage=shrinkage, max_history=4
  ).fit(shop.training_log, shop.items)
  similarity = dense(shop, num_neighbors=num_neighbors, shrinkage=shrinkage)
  expected = [
    similarity[[shop.items.index(i) for i in set(r.history[-4:])]].sum(0)
    for r in shop.test[:40]
  ]
  np.testing.assert_allclose(
    found.score_catalog(shop.test[:40]), expected, rtol=1e-12
  )
