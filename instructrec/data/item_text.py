"""What items are called, cleaned: titles, brands, categories.

Web shops leave entities, markup and links behind. `plain` keeps what is said
and is the same when it is applied again, so that a catalogue that is read from
disk is the one that was written.
"""

import html
import re
import unicodedata

MARKUP = re.compile(r"https?://|www\.|<[a-zA-Z/]|\[\[|```")
"""What no sentence has: links and markup."""
MAX_NAME_WORDS = 20
"""A brand or category of more words is a description and no name."""
_TAG = re.compile(r"</?[a-zA-Z!][^<>]*>")
_MARKS = re.compile(r"https?://|www\.|\[\[|\]\]|```")
# The one mark of shops that HTML does not know without its semicolon.
_TRADE = re.compile(r"&trade(?![a-z;])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DEEPEST = 8
"""How often an entity may be wrapped in others: "&amp;amp;lt;" is twice."""
# What SentencePiece reads as a space, and people do not see.
_UNSEEN_SPACES = dict.fromkeys((0x200B, 0x200C, 0x200E, 0x200F, 0xFEFF), " ")
_ARTICLES = (
  "The|A|An|Der|Die|Das|Ein|Eine|Le|La|Les|L'|Un|Une|Des|El|Los|Las|Una|Il|Lo|"
  "Gli|Uno|O|Os|De|Het|Den|Det|En|Et"
)
_INVERTED = re.compile(
  r"(?P<before>^|\((?:a\.?k\.?a\.? )?)"
  r"(?P<name>[^()]+(?:\([^()]*\)[^()]*)?), "
  rf"(?P<article>{_ARTICLES})(?=\s*(?:[()]|$))"
)


def plain(text: str) -> str:
  r"""One line of text: entities resolved, no control characters.

  Args:
    text: such as "Pens &amp; Ink&#8482\\n".

  Returns:
    Such as "Pens & Ink™".
  """
  text = _one_line(text)
  if "&" in text:
    for _ in range(_DEEPEST):
      # What an entity names may be removed, and then leave another one.
      found = _one_line(html.unescape(_TRADE.sub("™", text)))
      if found == text:
        break
      text = found
  return text


def _one_line(text: str) -> str:
  text = " ".join(text.split())
  if not text.isprintable():
    text = " ".join(_CONTROL.sub("", text).split())
  return text


def name(text: str) -> str | None:
  """A brand or category as it can be said in a sentence.

  Args:
    text: such as "<b>Toys</b>" or "http://www.acme.de/".

  Returns:
    Such as "Toys" or "acme.de"; None where nothing of the kind is left, or so
    many words that it is no name.
  """
  text = plain(text)
  if MARKUP.search(text) or "]]" in text:
    bare = _MARKS.sub(" ", _TAG.sub(" ", text))
    text = " ".join(bare.split()).strip("/ ")
  if not text or MARKUP.search(text) or len(text.split()) > MAX_NAME_WORDS:
    return None
  return text


def look(title: str) -> str:
  """What people and vocabularies can tell titles apart by.

  Args:
    title: a title.

  Returns:
    The title in Unicode's form NFKC, without what cannot be seen: the same for
    "Rocky II" and "Rocky Ⅱ", for composed and decomposed letters.
  """
  if title.isascii():
    return title
  text = unicodedata.normalize("NFKC", title.translate(_UNSEEN_SPACES))
  text = "".join(c for c in text if unicodedata.category(c) != "Cf")
  return " ".join(text.split())


def article_first(title: str) -> str:
  """A title with its article in front, and so each title in its brackets.

  Args:
    title: such as "Boot, Das (Boat, The) (1981)".

  Returns:
    Such as "Das Boot (The Boat) (1981)"; other titles stay.
  """

  def turned(found: re.Match[str]) -> str:
    space = "" if found["article"].endswith("'") else " "
    return f"{found['before']}{found['article']}{space}{found['name']}"

  return _INVERTED.sub(turned, title)
