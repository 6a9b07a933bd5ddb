"""Finds the items that requests name, by title or by id."""

import dataclasses
import difflib
import functools
from collections.abc import Sequence

from instructrec.data import catalog as catalog_lib
from instructrec.settings import ranking

# Less alike than that, a title is another one and no slip.
_ALIKE = 0.6
_PREFIXES = ("id:", "title:")


@dataclasses.dataclass(frozen=True, eq=False)
class ItemLookup:
  """The items of a catalogue, by their names.

  Attributes:
    catalog: the items.
  """

  catalog: catalog_lib.Catalog

  def items(
    self,
    names: Sequence[str],
    on_unknown: ranking.OnUnknown,
    notes: list[str],
  ) -> list[str]:
    """The ids of items.

    Args:
      names: titles or ids.
      on_unknown: what to do with those that the catalogue does not have.
      notes: takes what was done about them.

    Returns:
      The ids.

    Raises:
      TypeError: for one title that stands alone.
      ValueError: see `rank`.
    """
    if isinstance(names, str):
      raise TypeError(f"found {names!r}, expected several titles or ids")
    found = []
    for name in names:
      self._check_meant(name)
      try:
        found.append(self._item(name))
      except ValueError as error:
        nearest = None
        if on_unknown == ranking.OnUnknown.nearest:
          nearest = self._nearest(name)
        if nearest is not None:
          title = self.catalog.title(nearest)
          notes.append(f"{name!r} was read as {title!r}")
          found.append(nearest)
        elif on_unknown == ranking.OnUnknown.skip:
          notes.append(f"left out: {error}")
        else:
          raise
    return found

  def _check_meant(self, name: str) -> None:
    """Fails for the id of an item that is another one's title."""
    items = self.catalog
    if name in items and self._titles.get(name, name) != name:
      raise ValueError(
        f"{name!r} is the id of {items.title(name)!r} and the title of the "
        f"item {self._titles[name]!r}; write 'id:{name}' or 'title:{name}'"
      )

  def _item(self, name: str) -> str:
    """The id of the item with a title or an id."""
    items = self.catalog
    kind, colon, rest = name.partition(":")
    marked = f"{kind}{colon}" in _PREFIXES
    if name in items:
      return name
    if marked and name not in self._titles:
      if kind == "title":
        return items.find_title(rest)
      if rest not in items:
        raise ValueError(f"no item has the id {rest!r}")
      return rest
    return items.find_title(name)

  def _nearest(self, name: str) -> str | None:
    close = difflib.get_close_matches(
      name.casefold(), self._folded, n=1, cutoff=_ALIKE
    )
    return self._folded[close[0]] if close else None

  @functools.cached_property
  def _titles(self) -> dict[str, str]:
    items = self.catalog
    return dict(zip(items.titles, items.item_ids, strict=True))

  @functools.cached_property
  def _folded(self) -> dict[str, str]:
    # Of titles that differ in case alone, the first.
    titles = reversed(self._titles.items())
    return {title.casefold(): item for title, item in titles}
