"""Which of a teacher's texts are kept, and what can be said of them by rule.

The InstructRec paper has people answer four questions on samples of the texts
(Table 3). Two of them have an honest mechanical counterpart here; whether a
text adds world knowledge, and whether it reflects the preference, is left to
people: see the audit sheet.
"""

import re
from collections.abc import Iterable

from instructrec.data import item_text
from instructrec.instructions import keyphrases

MIN_WORDS, MAX_WORDS = 3, 80
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class TextQualityError(ValueError):
  """A teacher's text cannot be used."""


def problem(
  text: str, hidden_title: str | None = None, *, is_query: bool = False
) -> str | None:
  """Why a text is not kept.

  Args:
    text: what a teacher wrote.
    hidden_title: a title that it must not say.
    is_query: whether it is a search query, which may have a single word.

  Returns:
    "empty", "control_characters", "too_short", "too_long", "link_or_markup"
    or "says_the_title"; None for a text that is kept.
  """
  if not text.strip():
    return "empty"
  if _CONTROL.search(text):
    return "control_characters"
  words = len(text.split())
  if words < MIN_WORDS and not is_query:
    return "too_short"
  if words > MAX_WORDS:
    return "too_long"
  if item_text.MARKUP.search(text):
    return "link_or_markup"
  if hidden_title is not None and says_title(text, hidden_title):
    return "says_the_title"
  return None


def says_title(text: str, title: str) -> bool:
  """Whether a text says a title of several words, ignoring case.

  A title of one word may be an ordinary word and is not looked for.

  Args:
    text: running text.
    title: the title.
  """
  return times_said(text, title) > 0


def times_said(text: str, title: str) -> int:
  """How often a text says a title; see `says_title`."""
  if len(title.split()) < 2 or title.casefold() not in text.casefold():
    return 0
  pattern = rf"(?<!\w){re.escape(title)}(?!\w)"
  return len(re.findall(pattern, text, re.IGNORECASE))


def audit(
  text: str, sources: Iterable[str], target_texts: Iterable[str]
) -> dict[str, bool]:
  """What can be told by rule of the paper's audit questions.

  Args:
    text: what a teacher wrote.
    sources: titles, categories and review that it was written from.
    target_texts: title and categories of the target.

  Returns:
    `derived`: it shares a content word with its sources. `related_to_target`:
    it shares a content word with the target.
  """
  words = set(keyphrases.content_words(text))
  source = set(keyphrases.content_words(" ".join(sources)))
  target = set(keyphrases.content_words(" ".join(target_texts)))
  return {
    "derived": bool(words & source),
    "related_to_target": bool(words & target),
  }
