"""Messages of a conversation, as chat clients send them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from instructrec import limits

_ROLES = ("user", "assistant", "system", "developer", "tool")


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
  """One message.

  Attributes:
    role: "user" for what is read, "assistant" for answers; what others say is
      not about items.
    text: what was said.
    items: titles or ids of an answer's items, the best first; where there are
      none, the first title of each number of a list in its text counts.
  """

  role: str
  text: str
  items: tuple[str, ...] = ()

  @classmethod
  def from_json(cls, found: Any) -> "Message":
    """A message as chat clients send it.

    Args:
      found: with `role` and `content`, which is text or a list of parts with
        `text`; and `items`, a list of titles, ids or objects with `id`.

    Returns:
      The message.

    Raises:
      ValueError: saying what was found, and what was expected.
    """
    if not isinstance(found, Mapping) or found.get("role") not in _ROLES:
      raise ValueError(
        f"found the message {str(found)[:80]!r}, expected an object whose role "
        f"is one of {', '.join(_ROLES)}"
      )
    content = found.get("content")
    if isinstance(content, list):
      content = "\n".join(map(_part, content))
    if not isinstance(content, str | None):
      raise ValueError(
        f"the content of a message is {str(content)[:80]!r}, expected text or "
        "a list of parts with text"
      )
    items = found.get("items") or ()
    if not isinstance(items, list | tuple):
      raise ValueError(f"items is {str(items)[:80]!r}, expected a list")
    if len(items) > limits.PLACES.value:
      raise ValueError(
        f"a message has {len(items):,} items, expected at most "
        f"{limits.PLACES.value:,}"
      )
    _check_letters(content or "")
    return cls(found["role"], content or "", tuple(map(_item, items)))


def _check_letters(text: str) -> None:
  """Fails for half a character, which JSON can hold and no text does."""
  try:
    text.encode()
  except UnicodeEncodeError as error:
    raise ValueError(
      f"the content of a message has {text[error.start]!r}, which is half a "
      "character; expected whole ones"
    ) from error


def _part(found: Any) -> str:
  text = found.get("text") if isinstance(found, Mapping) else None
  if not isinstance(text, str):
    raise ValueError(
      f"found the part {str(found)[:80]!r} of a message, expected text alone"
    )
  return text


def _item(found: Any) -> str:
  name = found.get("id") if isinstance(found, Mapping) else found
  if not isinstance(name, str | int) or isinstance(name, bool):
    raise ValueError(
      f"found the item {str(found)[:80]!r}, expected a title, an id or an "
      "object with an id"
    )
  return str(name)
