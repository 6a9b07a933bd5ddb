"""The retrievers by name, and a saved one whatever it is."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from instructrec.retrieval import (
  als,
  bert4rec,
  bm25,
  item_knn,
  popularity,
  random_ranker,
  retriever,
  sasrec,
  two_tower,
)

METHODS: dict[str, type[retriever.Retriever]] = {
  method.name: method
  for method in (
    random_ranker.Random,
    popularity.Popularity,
    bm25.BM25,
    item_knn.ItemKNN,
    als.ALS,
    sasrec.SASRec,
    bert4rec.BERT4Rec,
    two_tower.TwoTower,
  )
}


def settings(name: str) -> dict[str, Any]:
  """The settings of a method with their defaults.

  Args:
    name: a key of `METHODS`.

  Returns:
    Defaults by name.

  Raises:
    ValueError: for an unknown method.
  """
  if name not in METHODS:
    raise ValueError(f"unknown method {name!r}; expected one of {[*METHODS]}")
  return dataclasses.asdict(METHODS[name]())  # type: ignore[call-overload]


def create(name: str, given: Mapping[str, Any]) -> retriever.Retriever:
  """A retriever that is not fitted yet.

  Args:
    name: a key of `METHODS`.
    given: settings that differ from the defaults; text is converted.

  Returns:
    The retriever.

  Raises:
    ValueError: for an unknown method or setting, or a value that does not
      convert.
  """
  defaults = settings(name)
  if unknown := set(given) - set(defaults):
    raise ValueError(
      f"{name} has no setting {sorted(unknown)}; it has {defaults}"
    )
  converted = {}
  for key, value in given.items():
    kind = type(defaults[key])
    try:
      converted[key] = kind(value)
    except ValueError as error:
      raise ValueError(
        f"setting {key} of {name} is {value!r}, expected {kind.__name__} such "
        f"as {defaults[key]!r}"
      ) from error
  return METHODS[name](**converted)


def load(directory: str | os.PathLike[str]) -> retriever.Retriever:
  """Opens a saved retriever of any method.

  Args:
    directory: the folder that `Retriever.save` wrote.

  Returns:
    The fitted retriever.

  Raises:
    FileNotFoundError: where the folder holds no retriever.
    ValueError: where its method or format is unknown.
  """
  name = retriever.read_manifest(directory)["method"]
  if name not in METHODS:
    raise ValueError(
      f"{directory} holds a retriever of the unknown method {name!r}; "
      f"expected one of {[*METHODS]}"
    )
  return METHODS[name].load(directory)


def load_all(
  folders: Sequence[pathlib.Path], prepared_fingerprint: str
) -> dict[str, retriever.Retriever]:
  """Opens saved retrievers that were fit on the same data.

  Args:
    folders: what `instructrec retrieve fit` wrote.
    prepared_fingerprint: of the prepared data.

  Returns:
    The retrievers by the names of their folders.

  Raises:
    FileNotFoundError: where a folder holds no retriever.
    ValueError: where two folders have the same name, or a retriever was fit
      on other data.
  """
  found: dict[str, retriever.Retriever] = {}
  for folder in folders:
    name = folder.resolve().name
    if name in found:
      raise ValueError(
        f"two retrievers are in folders called {name!r}; rename one, the "
        "report names methods after their folders"
      )
    record = retriever.read_manifest(folder)["record"]
    if record.get("prepared_fingerprint") != prepared_fingerprint:
      raise ValueError(
        f"{folder} was fit on the data {record.get('prepared_dir')} "
        f"({record.get('prepared_fingerprint')}), these are "
        f"{prepared_fingerprint}; what it saw may hold their test targets"
      )
    found[name] = load(folder)
  return found
