"""ALS: the user's factors solve the weighted least squares."""

import dataclasses

import numpy as np
import pytest

from instructrec.retrieval.methods import als


def test_a_user_is_the_solution_of_the_normal_equations(shop, fitted):
  """(Y'Y + alpha Y_u'Y_u + lambda I) x = (1 + alpha) Y_u' 1; score is Y x."""
  pytest.importorskip("implicit", reason="the extra [baselines]")
  settings = dataclasses.asdict(fitted("als"))
  found = als.ALS(**{**settings, "alpha": 3.0, "regularization": 0.5})
  found.fit(shop.training_log, shop.items)
  items = found._model.item_factors.astype(np.float64)
  for r, scores in zip(
    shop.test[:5], found.score_catalog(shop.test[:5]), strict=True
  ):
    touched = items[[shop.items.index(i) for i in set(r.history)]]
    # implicit weighs what was touched by alpha, the rest by one.
    left = items.T @ items + 2.0 * touched.T @ touched + 0.5 * np.eye(8)
    user = np.linalg.solve(left, 3.0 * touched.sum(0))
    np.testing.assert_allclose(scores, items @ user, rtol=1e-3, atol=1e-4)


def test_the_extra_is_named_where_it_is_missing(shop, monkeypatch):
  def missing(name):
    raise ImportError(name)

  monkeypatch.setattr(als.importlib, "import_module", missing)
  with pytest.raises(ValueError, match=r"pip install 'instructrec\[baselines"):
    als.ALS().fit(shop.training_log, shop.items)
