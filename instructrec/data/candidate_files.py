"""Published candidate lists: a user and the items to rank, a line each.

The format is LLMRank's (Hou et al., 2024): `user_id<TAB>item ids`, the ids
separated by blanks and best first, under a header. Its protocol: the user's
last item is the target, the history the (at most 49) items before it; the
target is put among the first 19 of the list that are not itself, so that
twenty are ranked.
"""

import os
import pathlib

import polars as pl

from instructrec.data import candidates, catalog, request, table

MAX_HISTORY = 49


def read(
  path: str | os.PathLike[str], items: catalog.Catalog
) -> dict[str, tuple[str, ...]]:
  """The lists of a file, by user.

  Args:
    path: a .tsv file, gzipped or not, with the columns `user_id` and
      `candidate_item_ids`.
    items: what the lists may hold.

  Returns:
    Item ids, best first; of an item that occurs twice, the first.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: for other columns, a user with two lists, or an unknown item.
  """
  path = pathlib.Path(path)
  frame = table.read_text(path)
  expected = ["user_id", "candidate_item_ids"]
  if frame.columns[1:] != expected:
    raise ValueError(
      f"{path} has the columns {frame.columns[1:]}, expected {expected}"
    )
  lists: dict[str, tuple[str, ...]] = {}
  for line, user, text in frame.iter_rows():
    found = tuple(dict.fromkeys((text or "").split()))
    unknown = [item for item in found if item not in items]
    if unknown:
      raise ValueError(
        f"{path}:{line}: the list of user {user!r} has the item "
        f"{unknown[0]!r}, which the catalogue of {len(items):,} items lacks; "
        "use the data that the file belongs to"
      )
    if user in lists:
      raise ValueError(f"{path}:{line}: user {user!r} has a list already")
    lists[user] = found
  return lists


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
