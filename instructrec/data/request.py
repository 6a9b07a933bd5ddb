"""A ranking request: what is known of a user, and what to put in order."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class RankingRequest:
  """One list of candidates to rank for one user.

  Attributes:
    request_id: unique id.
    user_id: who asks.
    history: item ids, oldest first.
    candidates: item ids to rank.
    target: the item id that was chosen, where it is known.
    preference: explicit statement of taste, or None.
    intention: what the user wants now, or None.
  """

  request_id: str
  user_id: str
  history: tuple[str, ...]
  candidates: tuple[str, ...]
  target: str | None = None
  preference: str | None = None
  intention: str | None = None
