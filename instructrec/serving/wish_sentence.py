"""A wish as the sentences of training end."""

_ENDS = (".", "!", "?", "…", "。", "！", "？", "।", "؟", "۔")  # noqa: RUF001
_CLOSING = "\"'”’»)]）」』"  # noqa: RUF001


def sentence(wish: str | None) -> str | None:
  """A wish in one line, with a full stop where it ends in nothing.

  Args:
    wish: what was said; may be empty.

  Returns:
    The sentence; None where nothing was said.
  """
  text = " ".join((wish or "").split())
  if not text:
    return None
  ended = text.rstrip(_CLOSING).endswith(_ENDS)
  return text if ended else f"{text.rstrip(',;:')}."
