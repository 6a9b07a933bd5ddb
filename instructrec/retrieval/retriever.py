"""The one interface of the matching module: fit, score, retrieve, save, load.

A retriever scores the whole catalogue for a request; the scores of a candidate
list and the retrieved items are read off these, so that the two never differ.
A saved retriever is a folder: `manifest.json` with method and settings,
`items.json` with the catalogue's ids, arrays in NumPy's format, and the
`SHA256SUMS` of all of them.
"""

import abc
import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Float, Int

from instructrec import checksums, output_folder, records
from instructrec.data import catalog, interaction, request
from instructrec.retrieval import ranker

FORMAT_VERSION = 1
MANIFEST, _ITEMS = "manifest.json", "items.json"
MARKER = _ITEMS
"""A file that no other kind of output has; see `output_folder.check`."""
# Requests whose catalogue scores are held at a time.
CHUNK = 256


@dataclasses.dataclass(frozen=True)
class Retrieved:
  """The best items of each request.

  Attributes:
    item_ids: best first.
    scores: of these items, float64.
  """

  item_ids: list[tuple[str, ...]]
  scores: Float[np.ndarray, "requests k"]


class Retriever(abc.ABC):
  """A method that scores the catalogue; subclasses are dataclasses.

  The fields of the dataclass are the method's settings: numbers, and nothing
  that was learnt.

  Attributes:
    name: of the method in commands and reports.
    description: a sentence on what the scores are.
    space: settings that tuning chooses from.
    item_ids: the catalogue it was fit on.
  """

  name: ClassVar[str]
  description: ClassVar[str]
  space: ClassVar[Mapping[str, Sequence[Any]]] = {}
  item_ids: list[str]

  def fit(
    self,
    training_log: interaction.InteractionLog,
    items: catalog.Catalog,
    *,
    validation: Sequence[request.RankingRequest] = (),
  ) -> Self:
    """Learns from what training may see; forgets what it learnt before.

    Args:
      training_log: interactions of the training split alone.
      items: the catalogue.
      validation: requests with targets that tell a method that trains in
        epochs when to stop; the others do not read them.

    Returns:
      Itself.

    Raises:
      ValueError: where the log names items that the catalogue lacks.
    """
    self._set_items(items.item_ids)
    self._fit(training_log, items, validation)
    return self

  @abc.abstractmethod
  def _fit(
    self,
    training_log: interaction.InteractionLog,
    items: catalog.Catalog,
    validation: Sequence[request.RankingRequest],
  ) -> None:
    """What the method learns."""

  @abc.abstractmethod
  def _scores(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests items"]:
    """Scores of all items, in the order of the catalogue."""

  @abc.abstractmethod
  def _save(self, folder: pathlib.Path) -> None:
    """Writes what was learnt."""

  @abc.abstractmethod
  def _load(self, folder: pathlib.Path) -> None:
    """Reads what `_save` wrote."""

  def _set_items(self, item_ids: Sequence[str]) -> None:
    self.item_ids = list(item_ids)
    self._index = {item_id: i for i, item_id in enumerate(self.item_ids)}

  def indices(
    self, item_ids: Sequence[str], source: str
  ) -> Int[np.ndarray, " items"]:
    """Places of items in the catalogue.

    Args:
      item_ids: the items.
      source: where they come from, for messages.

    Returns:
      int64 places.

    Raises:
      ValueError: for an item that the catalogue lacks.
    """
    try:
      return np.array([self._index[i] for i in item_ids], np.int64)
    except KeyError as error:
      raise ValueError(
        f"{source} has the item {error.args[0]!r}, which is not among the "
        f"{len(self.item_ids):,} items that {self.name} was fit on; fit it on "
        "the catalogue of these data"
      ) from None

  def sequences(
    self, training_log: interaction.InteractionLog
  ) -> list[Int[np.ndarray, " length"]]:
    """Each user's items as places in the catalogue, oldest first."""
    users, sequences = training_log.sequences()
    return [
      self.indices(sequence, f"the training log of user {user!r}")
      for user, sequence in zip(users, sequences, strict=True)
    ]

  def histories(
    self, requests: Sequence[request.RankingRequest]
  ) -> list[Int[np.ndarray, " length"]]:
    """Each request's history as places in the catalogue, oldest first."""
    return [
      self.indices(r.history, f"the history of request {r.request_id!r}")
      for r in requests
    ]

  def score_catalog(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests items"]:
    """Scores of the whole catalogue, for as many requests as memory holds.

    Args:
      requests: what to score; candidates are not read.

    Returns:
      float64, items in the order of the catalogue; higher is better.

    Raises:
      RuntimeError: where it was not fitted.
      ValueError: where a history has an item that the catalogue lacks.
    """
    if not hasattr(self, "item_ids"):
      raise RuntimeError(
        f"{self.name} was not fitted; call fit with the training log, or load "
        "a saved one"
      )
    return np.asarray(self._scores(requests), np.float64)

  def catalog_chunks(
    self, requests: Sequence[request.RankingRequest]
  ) -> Iterator[
    tuple[Sequence[request.RankingRequest], Float[np.ndarray, "requests items"]]
  ]:
    """Requests with their catalogue scores, a few hundred at a time."""
    for start in range(0, len(requests), CHUNK):
      part = requests[start : start + CHUNK]
      yield part, self.score_catalog(part)

  def score(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests candidates"]:
    """Scores of the candidates; see `ranker.Ranker.score`."""
    return ranker.pad(
      [
        row[self.indices(r.candidates, f"request {r.request_id!r}")]
        for part, scores in self.catalog_chunks(requests)
        for r, row in zip(part, scores, strict=True)
      ]
    )

  def retrieve(
    self,
    requests: Sequence[request.RankingRequest],
    k: int,
    *,
    remove_seen: bool = True,
  ) -> Retrieved:
    """The best items of the whole catalogue.

    Args:
      requests: whose items; candidates are not read.
      k: how many a request.
      remove_seen: whether the items of a request's history are left out.

    Returns:
      The items; of equal scores, the catalogue's first.

    Raises:
      ValueError: where fewer than `k` items are left.
    """
    item_ids: list[tuple[str, ...]] = []
    found = [np.zeros((0, k))]
    for part, scores in self.catalog_chunks(requests):
      seen = self.seen(part) if remove_seen else np.zeros(scores.shape, bool)
      left = int((~seen).sum(1).min())
      if not 1 <= k <= left:
        raise ValueError(
          f"k is {k}, expected 1 to {left}: the catalogue has "
          f"{len(self.item_ids)} items, and seen ones are "
          f"{'left out' if remove_seen else 'kept'}"
        )
      best = np.stack(
        [
          best_places(row, ~skip, k)
          for row, skip in zip(scores, seen, strict=True)
        ]
      )
      found.append(np.take_along_axis(scores, best, 1))
      item_ids += [tuple(self.item_ids[i] for i in row) for row in best]
    return Retrieved(item_ids, np.concatenate(found))

  def seen(self, requests: Sequence[request.RankingRequest]) -> np.ndarray:
    """Which items are in each request's history, `[requests, items]` bool."""
    seen = np.zeros((len(requests), len(self.item_ids)), bool)
    for row, history in zip(seen, self.histories(requests), strict=True):
      row[history] = True
    return seen

  def save(
    self,
    directory: str | os.PathLike[str],
    *,
    record: Mapping[str, Any] | None = None,
    overwrite: bool = False,
  ) -> None:
    """Writes the retriever, complete or not at all; no pickle.

    Args:
      directory: the folder to make.
      record: how it came about, JSON values; see `read_manifest`.
      overwrite: whether an existing folder is replaced.

    Raises:
      FileExistsError: where the folder exists and is not to be replaced, or
        holds something else.
    """
    manifest = {
      "format_version": FORMAT_VERSION,
      "method": self.name,
      "settings": dataclasses.asdict(self),  # type: ignore[call-overload]
      "record": dict(record or {}),
    }
    with output_folder.making(
      directory, overwrite=overwrite, marker=MARKER
    ) as folder:
      self._save(folder)
      (folder / _ITEMS).write_text(json.dumps(self.item_ids))
      (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")

  @classmethod
  def load(cls, directory: str | os.PathLike[str]) -> Self:
    """Opens what `save` wrote.

    Args:
      directory: the folder.

    Returns:
      The fitted retriever.

    Raises:
      FileNotFoundError: where the folder holds no retriever.
      DamagedError: where a file in it was changed.
      ValueError: where it holds another method or format.
    """
    manifest = read_manifest(directory)
    if manifest["method"] != cls.name:
      raise ValueError(
        f"{directory} holds {manifest['method']!r}, expected {cls.name!r}"
      )
    folder = pathlib.Path(directory)
    checksums.verify(folder, _remedy(folder))
    items = records.read_any(folder / _ITEMS, remedy=_remedy(folder))
    # What hashes do not tell: a folder that another version or somebody made.
    with records.reading(folder, _remedy(folder)):
      found = cls(**manifest["settings"])
      found._set_items(items)
      found._load(folder)
    return found


def best_places(
  scores: Float[np.ndarray, " items"], allowed: np.ndarray, k: int
) -> Int[np.ndarray, " k"]:
  """The best items of those allowed, without sorting all.

  Args:
    scores: of all items.
    allowed: which of them count.
    k: how many, no more than count.

  Returns:
    Places, best first; of equal scores, the catalogue's first; NaN last.
  """
  places = np.flatnonzero(allowed)
  keys = -scores[places]
  # Only what is as good as the k-th is sorted.
  limit = np.partition(keys, k - 1)[k - 1]
  if not np.isnan(limit):
    places = places[keys <= limit]
  return places[np.argsort(-scores[places], kind="stable")[:k]]


def read_manifest(directory: str | os.PathLike[str]) -> dict[str, Any]:
  """What a saved retriever is and how it came about.

  Args:
    directory: the folder that `Retriever.save` wrote.

  Returns:
    `method`, `settings` and `record`.

  Raises:
    FileNotFoundError: where the folder holds no retriever.
    DamagedError: where the manifest was changed.
    ValueError: where its format is another one.
  """
  folder = pathlib.Path(directory)
  remedy = _remedy(folder)
  if not checksums.is_known(folder, MARKER, remedy):
    raise FileNotFoundError(
      f"{directory} holds no retriever ({MARKER} is missing); "
      f"`instructrec retrieve fit --output={directory}` makes one"
    )
  checksums.verify(folder, remedy, [MANIFEST])
  return records.read(
    folder / MANIFEST,
    keys=("method", "settings", "record"),
    expected={"format_version": FORMAT_VERSION},
    remedy=remedy,
  )


def fingerprint(directory: str | os.PathLike[str]) -> str:
  """A hash of all that a saved retriever is: of the hashes of its files.

  Args:
    directory: the folder that `Retriever.save` wrote.

  Returns:
    `sha256:` and the hash.

  Raises:
    FileNotFoundError: see `read_manifest`.
    DamagedError: likewise.
    ValueError: likewise.
  """
  read_manifest(directory)
  sums = (pathlib.Path(directory) / checksums.FILE).read_bytes()
  return f"sha256:{hashlib.sha256(sums).hexdigest()}"


def _remedy(folder: pathlib.Path) -> str:
  return (
    f"fit it again with `instructrec retrieve fit ... --output={folder} "
    "--overwrite`, or copy the folder again"
  )
