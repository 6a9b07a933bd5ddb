"""Text that others wrote, made fit to be shown.

Titles, names of files, values of settings and what servers say may hold what a
terminal obeys, what turns the order of a line around, or markup.
"""

import re

# All control characters but the tab and the end of a line; what ends a line
# elsewhere; embeddings, overrides and isolates of the writing direction (marks,
# which belong to Arabic and Hebrew titles, stay); halves of characters, as
# names of files hold them, which nothing can write.
_UNFIT = re.compile(
  "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
  "\ud800-\udfff]"
)
# Of servers up to the last @: in passwords, nobody may have escaped / and @.
_USER = re.compile(
  r"\b(https?://)[^\s'\"<>]*@|\b([a-z][a-z0-9+.-]*://)[^\s'\"<>/]*@",
  re.IGNORECASE,
)
# Code, emphasis, HTML, entities, the middle of a link; what begins a block.
_MARKUP = re.compile(
  r"([\\`*<]|(?<![^\W_])_|_(?![^\W_])|&(?=[#\w])|\](?=[(\[:])|^[#>=~]|"
  r"^[-+](?=\s|-*$))"
)


def printable(text: str) -> str:
  r"""What a terminal or a page can be given.

  Args:
    text: any text, of several lines too.

  Returns:
    The text, each character that is not to be obeyed as its escape, such as
    `\x1b`; nothing else is changed.
  """
  return _UNFIT.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
  number = ord(found[0])
  return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def in_markdown(text: str) -> str:
  """Text on one line of Markdown that means nothing but itself.

  Args:
    text: any text.

  Returns:
    The text, with no markup, link, picture, HTML or end of line.
  """
  return _MARKUP.sub(r"\\\1", " ".join(printable(text).split()))


def without_user(text: str) -> str:
  """Text whose web addresses name no user and no password.

  Args:
    text: an address, or a text with some.

  Returns:
    The text, the user and password before the host left out.
  """
  return _USER.sub(r"\1\2", text)
