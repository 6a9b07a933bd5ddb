"""Matrix factorisation by alternating least squares (Hu et al., 2008).

From the library `implicit`, which the extra `baselines` brings. A request's
user factors are computed from its history: users are not looked up, so those
who were not there in training are served, too.
"""

import dataclasses
import importlib
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int

from instructrec.data import catalog, interaction, request
from instructrec.retrieval import interaction_matrix, retriever

_FACTORS = "item_factors.npy"


def _library(name: str) -> Any:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ValueError(
      f"the method als needs {name}, which is not installed: "
      "pip install 'instructrec[baselines]'"
    ) from error


@dataclasses.dataclass(eq=False, kw_only=True)
class ALS(retriever.Retriever):
  """Weighted least squares on who touched what.

  Attributes:
    factors: width of users and items.
    regularization: of the factors.
    alpha: weight of what was touched against what was not.
    max_epochs: alternations of users and items.
    seed: of the initial factors.
  """

  name = "als"
  description = "matrix factorisation by alternating least squares (implicit)"
  space = {  # noqa: RUF012
    "factors": (64, 32, 128),
    "regularization": (0.01, 0.1, 1.0),
    "alpha": (1.0, 5.0, 20.0),
  }

  factors: int = 64
  regularization: float = 0.01
  alpha: float = 1.0
  max_epochs: int = 15
  seed: int = 0

  def _make(self) -> Any:
    als = _library("implicit.cpu.als")
    with self._one_thread():
      return als.AlternatingLeastSquares(
        factors=self.factors,
        regularization=self.regularization,
        alpha=self.alpha,
        iterations=self.max_epochs,
        random_state=self.seed,
      )

  def _one_thread(self) -> Any:
    """BLAS in one thread: implicit runs many calls of it side by side."""
    return _library("threadpoolctl").threadpool_limits(1, "blas")

  def _matrix(
    self, sequences: Sequence[Int[np.ndarray, " length"]]
  ) -> scipy.sparse.csr_matrix:
    # implicit takes the older of SciPy's two kinds alone.
    return scipy.sparse.csr_matrix(
      interaction_matrix.binary(sequences, len(self.item_ids))
    )

  def _fit(
    self,
    training_log: interaction.InteractionLog,
    items: catalog.Catalog,
    validation: Sequence[request.RankingRequest],
  ) -> None:
    del items, validation
    self._model = self._make()
    matrix = self._matrix(self.sequences(training_log))
    with self._one_thread():
      self._model.fit(matrix, show_progress=False)

  def _scores(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests items"]:
    if not requests:
      return np.zeros((0, len(self.item_ids)))
    matrix = self._matrix(self.histories(requests))
    users = self._model.recalculate_user(np.arange(len(requests)), matrix)
    # In float32, a product's last bits depend on how many rows it has.
    return users.astype(np.float64) @ self._model.item_factors.T.astype(
      np.float64
    )

  def _save(self, folder: pathlib.Path) -> None:
    np.save(folder / _FACTORS, self._model.item_factors)

  def _load(self, folder: pathlib.Path) -> None:
    self._model = self._make()
    self._model.item_factors = np.load(folder / _FACTORS)
