"""Published candidate lists: a user and the items to rank, a line each.

The format is LLMRank's (Hou et al., 2024): `user_id<TAB>item ids`, the ids
separated by blanks and best first, whatever the file is called; a header
`user_id<TAB>candidate_item_ids` is no list. Its protocol: the user's
last item is the target, the history the (at most 49) items before it; the
target is put among the first 19 of the list that are not itself, so that
twenty are ranked.
"""

import os
import pathlib
from collections.abc import Iterator

import polars as pl

from instructrec.data import bad_rows, candidates, catalog, raw_file, request

MAX_HISTORY = 49
_HEADER = ["user_id", "candidate_item_ids"]


def check(path: str | os.PathLike[str]) -> None:
  """Fails where a file holds no candidate lists, by its first line.

  Args:
    path: the file; of a pipe nothing is read.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: where it is of another form.
  """
  raw_file.missing([path])
  if pathlib.Path(path).expanduser().is_file():
    next(_rows(raw_file.open_raw(path)), None)


def read(
  path: str | os.PathLike[str], items: catalog.Catalog
) -> dict[str, tuple[str, ...]]:
  """The lists of a file, by user.

  Args:
    path: text, gzipped or not, with or without a header.
    items: what the lists may hold.

  Returns:
    Item ids, best first; of an item that occurs twice, the first.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: for other forms, a user with two lists, or an unknown item.
  """
  file = raw_file.open_raw(path)
  lists: dict[str, tuple[str, ...]] = {}
  for line, user, found in _rows(file):
    unknown = [item for item in found if item not in items]
    if unknown:
      raise ValueError(
        f"{file.name}:{line}: the list of user {user!r} has the item "
        f"{unknown[0]!r}, which the catalogue of {len(items):,} items lacks; "
        "use the data that the file belongs to"
      )
    if user in lists:
      raise ValueError(f"{file.name}:{line}: user {user!r} has a list already")
    lists[user] = found
  if not lists:
    raise ValueError(f"{file.name} has no candidate lists")
  return lists


def _rows(
  file: raw_file.RawFile,
) -> Iterator[tuple[int, str, tuple[str, ...]]]:
  """Line, user and items of each list."""
  if file.head.startswith(b"PAR1"):
    raise ValueError(
      f"{file.name} is Parquet, expected a published file: text with a user, a "
      "tab and item ids a line; lists of `retrieve candidates` are for "
      "`evaluate --candidates`, under a name that ends in .parquet"
    )
  for number, line in enumerate(file.text_lines(), 1):
    text = line.rstrip("\r\n")
    if not text.strip():
      continue
    fields = text.split("\t")
    # A header of other names would pass for a list of one item.
    is_header = number == 1 and not any(c.isdigit() or c == " " for c in text)
    if len(fields) != 2 or (is_header and fields != _HEADER):
      raise ValueError(
        f"{file.name}, line {number}: found {bad_rows.shown(text)}, expected a "
        "user, a tab and item ids with blanks between them, under the header "
        "user_id<TAB>candidate_item_ids or none"
      )
    if fields != _HEADER:
      user, items = fields
      yield number, user.strip(), tuple(dict.fromkeys(items.split()))


def requests(
  lists: dict[str, tuple[str, ...]],
  split: pl.DataFrame,
  *,
  num_candidates: int = 20,
  max_history: int = MAX_HISTORY,
  seed: int = 0,
) -> list[request.RankingRequest]:
  """Requests that rank the target among the first of each list.

  Args:
    lists: from `read`.
    split: prepared requests of one split, one a user, with histories of up
      to `max_history` items.
    num_candidates: length of the lists to rank, the target included.
    max_history: newest items of a history that are kept.
    seed: of the order of candidates, which depends on nothing else but the
      request and the items.

  Returns:
    A request for each list, in the order of the file.

  Raises:
    ValueError: for a user with no request or several, or a list that is too
      short.
  """
  split = split.filter(pl.col("user_id").is_in([*lists]))
  if split["user_id"].is_duplicated().any():
    raise ValueError(
      "a user has several requests, a candidate file one list for each user; "
      "prepare the data with --split=leave_one_out"
    )
  prepared = {r.user_id: r for r in request.from_frame(split)}
  found = []
  for user, ids in lists.items():
    if user not in prepared:
      raise ValueError(
        f"user {user!r} of the candidate file has no request; prepare the "
        "data that the file belongs to, with --min_interactions=1"
      )
    r = prepared[user]
    assert r.target is not None
    others = [item for item in ids if item != r.target][: num_candidates - 1]
    if len(others) < num_candidates - 1:
      raise ValueError(
        f"the list of user {user!r} has {len(others)} items beside the "
        f"target, expected {num_candidates - 1} for lists of {num_candidates}"
      )
    found.append(
      request.RankingRequest(
        r.request_id,
        user,
        r.history[-max_history:],
        candidates.shuffle(r.request_id, [*others, r.target], seed),
        r.target,
      )
    )
  return found
