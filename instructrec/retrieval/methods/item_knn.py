"""ItemKNN: items bought by the same users (Deshpande and Karypis, 2004)."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
import scipy.sparse
from jaxtyping import Float

from instructrec.data import catalog, interaction, request
from instructrec.retrieval import interaction_matrix, retriever

_NEIGHBOURS = "neighbours.npz"


@dataclasses.dataclass(eq=False, kw_only=True)
class ItemKNN(retriever.Retriever):
  """Scores an item by its similarity to the items of the history.

  The similarity of two items is `n_ij / (sqrt(n_i n_j) + shrinkage)`, with
  n_ij users who touched both; the cosine, less where few users say so. An
  item's score is the sum over the history.

  Attributes:
    num_neighbors: most similar items that are kept for each item; 0 for all.
    shrinkage: in users.
    max_history: newest items that are read.
  """

  name = "itemknn"
  description = "cosine of the users in common with the items of the history"
  space = {  # noqa: RUF012
    "num_neighbors": (200, 20, 50, 1000),
    "shrinkage": (10.0, 0.0, 3.0, 30.0, 100.0),
    "max_history": (50, 3, 10),
  }

  num_neighbors: int = 200
  shrinkage: float = 10.0
  max_history: int = 50

  def _fit(
    self,
    training_log: interaction.InteractionLog,
    items: catalog.Catalog,
    validation: Sequence[request.RankingRequest],
  ) -> None:
    del items, validation
    matrix = interaction_matrix.binary(
      self.sequences(training_log), len(self.item_ids)
    ).astype(np.float64)
    common = (matrix.T @ matrix).tocsr()
    users = common.diagonal()
    common.setdiag(0)
    common.eliminate_zeros()
    rows = np.repeat(np.arange(len(users)), np.diff(common.indptr))
    common.data /= np.sqrt(users[rows] * users[common.indices]) + self.shrinkage
    if self.num_neighbors:
      common = _keep_largest(common, self.num_neighbors)
    self._similarity = common

  def _scores(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests items"]:
    histories = [h[-self.max_history :] for h in self.histories(requests)]
    matrix = interaction_matrix.binary(histories, len(self.item_ids))
    return (matrix.astype(np.float64) @ self._similarity).toarray()

  def _save(self, folder: pathlib.Path) -> None:
    scipy.sparse.save_npz(folder / _NEIGHBOURS, self._similarity)

  def _load(self, folder: pathlib.Path) -> None:
    self._similarity = scipy.sparse.load_npz(folder / _NEIGHBOURS)


def _keep_largest(
  matrix: scipy.sparse.csr_array, count: int
) -> scipy.sparse.csr_array:
  """The `count` largest values of each row; of equal ones, the first."""
  rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
  order = np.lexsort((matrix.indices, -matrix.data, rows))
  # Sorting by row first leaves each row's entries where they were.
  place = np.arange(len(order)) - matrix.indptr[rows]
  kept = order[place < count]
  return scipy.sparse.coo_array(
    (matrix.data[kept], (rows[kept], matrix.indices[kept])), shape=matrix.shape
  ).tocsr()
