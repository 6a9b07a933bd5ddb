"""One run as it is served: its names, its filters, and what answers.

A reload makes another one; what was asked of the old one is answered by it.
"""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import polars as pl
from jaxtyping import Bool

from instructrec.data import catalog as catalog_lib
from instructrec.serving import (
  likely_answers,
  matched_answers,
  messages,
  opened_run,
  questions,
  run_ranker,
)
from instructrec.serving.server import errors
from instructrec.settings import ranking, serving


@dataclasses.dataclass(frozen=True, eq=False)
class Served:
  """A run with what requests need of it; all programs are compiled.

  Attributes:
    name: what clients call it.
    ranker: the run; reads the names of items, and finds reasons.
    answers: answers questions.
    stock: ids of the items in stock; None where nobody says.
    generation: counts those of this process from 1.
    compiled: programs that were made ready.
    seconds: that opening took.
    beside: other runs that are served; requests choose by name.
  """

  name: str
  ranker: run_ranker.Ranker
  answers: questions.Answers
  stock: frozenset[str] | None = None
  generation: int = 1
  compiled: int = 0
  seconds: float = 0.0
  beside: tuple["Served", ...] = ()

  @classmethod
  def open(cls, settings: serving.ServingSettings, generation: int = 1) -> Self:
    """Opens a run, and those beside it, and compiles what they need.

    Args:
      settings: which run.
      generation: how often this was done.

    Returns:
      The run.

    Raises:
      FileNotFoundError: see `OpenedRun.open`; where the stock is gone.
      ValueError: likewise; where no item of the stock is known, or two runs
        have one name.
    """
    names = [one.name for one in (settings, *settings.others())]
    if len(set(names)) < len(names):
      raise ValueError(
        f"the runs are called {', '.join(names)}; give each a name of its own, "
        "with --model_name and --beside=NAME=FOLDER"
      )
    began = time.perf_counter()
    opened = opened_run.OpenedRun.open(settings)
    stock = None
    if settings.stock is not None:
      stock = _read_stock(settings.stock, opened.catalog)
    found = cls.over(opened, settings, stock, generation)
    compiled = found.answers.warm()
    found.make_tables()
    beside = tuple(cls.open(one, generation) for one in settings.others())
    return dataclasses.replace(
      found,
      compiled=compiled + sum(one.compiled for one in beside),
      seconds=time.perf_counter() - began,
      beside=beside,
    )

  @classmethod
  def over(
    cls,
    opened: opened_run.OpenedRun,
    settings: serving.ServingSettings,
    stock: frozenset[str] | None = None,
    generation: int = 1,
  ) -> Self:
    """A run that is open, before anything is compiled.

    Args:
      opened: the run.
      settings: what it is called, and how many questions a step takes.
      stock: see the class.
      generation: see the class.

    Returns:
      It.
    """
    ranker = run_ranker.Ranker(opened)
    answers: questions.Answers
    if opened.ranks_catalogs:
      answers = matched_answers.MatchedAnswers(
        opened.catalog_ranker, settings.most_at_once
      )
    else:
      answers = likely_answers.LikelyAnswers(ranker.instructions)
    return cls(settings.name, ranker, answers, stock, generation)

  def make_tables(self) -> None:
    """Makes what the first of all requests would wait for."""
    self.allowed(self.categories[:1])
    self.search("a")
    self.document("a")
    # Which item that is, its title may say.
    said = [messages.Message("user", "More like the first.")]
    self.ranker.conversations.read(said)
    _ = self.fingerprint

  def notes(self, asked: questions.Question) -> list[str]:
    """What of a question is not read, and what is odd about the run."""
    found = self.ranker.unread(asked.history, asked.wish)
    if warning := self.opened.weights_warning:
      found.append(warning)
    return found

  @property
  def opened(self) -> opened_run.OpenedRun:
    """The run with its items."""
    return self.ranker.opened

  @property
  def catalog(self) -> catalog_lib.Catalog:
    """What is ranked."""
    return self.opened.catalog

  def named(self, name: str | None) -> "Served":
    """The run that a request names.

    Args:
      name: of this one, or of one beside it; None or "" for this one.

    Returns:
      The run.

    Raises:
      ApiError: 404 where there is none.
    """
    every = {one.name: one for one in (self, *self.beside)}
    found = every.get(name or self.name)
    if found is None:
      raise errors.ApiError(
        404,
        f"there is no model {(name or '')[:80]!r}; this server has "
        f"{', '.join(map(repr, every))}",
        "model",
        "model_not_found",
      )
    return found

  def items(self, names: Sequence[str], param: str) -> tuple[str, ...]:
    """The ids of items.

    Args:
      names: titles or ids.
      param: the field that has them.

    Returns:
      The ids.

    Raises:
      ApiError: 422 where one is not known.
    """
    try:
      return tuple(self.ranker.items(names, ranking.OnUnknown.error, []))
    except ValueError as error:
      raise errors.ApiError(
        422, f"{param}: {error}", param, "unknown_item"
      ) from error

  def document(self, text: str) -> questions.Document:
    """What a text is: an item where it is the title of one.

    Args:
      text: a document of a request.

    Returns:
      The document.
    """
    item = self.catalog.named(text)
    return questions.Document(
      text, None if item is None else self.catalog.index(item)
    )

  def attributes(self, place: int) -> dict[str, Any]:
    """What the catalogue knows of an item, by its position."""
    row = self.catalog.frame.row(place, named=True)
    return {
      "categories": list(row["categories"]),
      "brand": row["brand"],
      "price": row["price"],
      "year": row.get("year"),
    }

  @functools.cached_property
  def _by_category(self) -> Mapping[str, Bool[np.ndarray, " items"]]:
    """Which items have a category, by its name in small letters."""
    found: dict[str, Bool[np.ndarray, " items"]] = {}
    for place, names in enumerate(self.catalog.frame["categories"]):
      for name in names:
        key = name.casefold()
        found.setdefault(key, np.zeros(len(self.catalog), bool))[place] = True
    return found

  @functools.cached_property
  def categories(self) -> tuple[str, ...]:
    """The names of categories, the commonest first."""
    counts = self.catalog.frame["categories"].explode().drop_nulls()
    table = counts.value_counts(sort=True)
    return tuple(
      table.sort(["count", "categories"], descending=[True, False])[
        "categories"
      ]
    )

  @functools.cached_property
  def fingerprint(self) -> str:
    """Of the catalogue."""
    return self.catalog.fingerprint()

  @functools.cached_property
  def _in_stock(self) -> Bool[np.ndarray, " items"] | None:
    if self.stock is None:
      return None
    return np.array([item in self.stock for item in self.catalog.item_ids])

  def allowed(
    self,
    categories: Sequence[str] = (),
    price_max: float | None = None,
    in_stock: bool = False,
    exclude: Sequence[str] = (),
  ) -> Bool[np.ndarray, " items"]:
    """The items that filters let through.

    Args:
      categories: an item must have one of them; none for any.
      price_max: the highest price; items without one are then left out.
      in_stock: whether only what is in stock.
      exclude: titles or ids that are left out.

    Returns:
      A truth value for each item.

    Raises:
      ApiError: 422 for an unknown category or item, and where there are no
        prices or nobody says what is in stock.
    """
    kept = np.ones(len(self.catalog), bool)
    if categories:
      kept[:] = False
      for name in categories:
        having = self._by_category.get(name.casefold())
        if having is None:
          raise errors.ApiError(
            422,
            f"no item has the category {name[:80]!r}; /info lists them",
            "filters.category",
            "unknown_category",
          )
        kept |= having
    if price_max is not None:
      if not self.ranker.shelf.has_prices:
        raise errors.ApiError(
          422, "this catalogue has no prices", "filters.price_max", "no_prices"
        )
      kept &= self.ranker.shelf.prices <= price_max
    if in_stock:
      if self._in_stock is None:
        raise errors.ApiError(
          422,
          "nobody says what is in stock: the server has no --stock",
          "filters.in_stock",
        )
      kept &= self._in_stock
    for item in self.items(exclude, "filters.exclude"):
      kept[self.catalog.index(item)] = False
    return kept

  @functools.cached_property
  def _folded(self) -> pl.Series:
    return pl.Series([title.casefold() for title in self.catalog.titles])

  def search(self, query: str) -> list[int]:
    """The items whose titles have all words of a query.

    Args:
      query: words, in any letter case; none for all items.

    Returns:
      Their positions; titles that begin with the query come first.
    """
    words = query.casefold().split()
    found = pl.Series([True]).new_from_index(0, len(self.catalog))
    for word in words:
      found &= self._folded.str.contains(word, literal=True)
    places = found.arg_true()
    first = self._folded.str.starts_with(" ".join(words)).gather(places)
    return [
      *places.filter(first).to_list(),
      *places.filter(~first).to_list(),
    ]


def _read_stock(
  path: pathlib.Path, items: catalog_lib.Catalog
) -> frozenset[str]:
  """The ids of the items in stock."""
  lines = path.read_text(encoding="utf-8").splitlines()
  found = frozenset(line.strip() for line in lines if line.strip())
  if found and not any(item in items for item in found):
    raise ValueError(
      f"{path} has {len(found)} ids, and the catalogue none of them; expected "
      "the id of an item on each line"
    )
  return found
