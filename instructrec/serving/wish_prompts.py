"""The prompts of requests: with their own wish, without it, or with another."""

import array
import dataclasses
import enum
import functools
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Int

from instructrec.data import request
from instructrec.instructions import render, templates, topics
from instructrec.models import tokenizer
from instructrec.training import ragged, token_dataset

_REMEMBERED = 256
"""Wishes whose tokens are kept."""


class Requests(Protocol):
  """Requests of a data set with candidates; `pipelines.blocks.Block` is one."""

  @property
  def requests(self) -> Sequence[request.RankingRequest]:
    """With histories."""

  @property
  def tokens(self) -> token_dataset.TokenDataset:
    """Examples with candidates."""

  @property
  def examples(self) -> Int[np.ndarray, " requests"]:
    """Which of them, one a request."""

  @property
  def where(self) -> Bool[np.ndarray, "requests candidates"]:
    """Which slots hold candidates."""


class Wish(enum.StrEnum):
  """Which wish a request is ranked under."""

  OWN = "own wish"
  NONE = "no wish"
  OTHER = "somebody else's wish"
  NOTHING = "words that wish for nothing"


@dataclasses.dataclass(frozen=True, eq=False)
class WishPrompts:
  """The instructions that a run reads around a history.

  Attributes:
    tokenizer: the run's vocabulary.
    template_set: the wordings.
  """

  tokenizer: tokenizer.Tokenizer
  template_set: templates.TemplateSet

  def text(self, wish: str | None) -> str:
    """The instruction around a history, with or without a wish."""
    form = render.Form(
      self.template_set.answering(history=True, wish=wish is not None)
    )
    return form.prompt(render.Slots(vague=wish))

  def tokens(self, wish: str | None) -> Sequence[int]:
    """The instruction around a history in tokens, the end token included."""
    if wish is None:
      return self._plain
    return self._encoded(wish)

  @functools.cached_property
  def _plain(self) -> Sequence[int]:
    return self.tokenizer.encode(self.text(None))

  @functools.cached_property
  def _encoded(self) -> Callable[[str], Sequence[int]]:
    """Encodes wishes; a request asks for its own a few times."""

    @functools.lru_cache(_REMEMBERED)
    def encoded(wish: str) -> Sequence[int]:
      # As numbers they take a tenth of what a list takes.
      return array.array("i", self.tokenizer.encode(self.text(wish)))

    return encoded

  def under(
    self, wish: Wish, block: Requests
  ) -> tuple[token_dataset.TokenDataset, Int[np.ndarray, " requests"]]:
    """A block's requests as they are ranked under a wish.

    Args:
      wish: which.
      block: the requests.

    Returns:
      Examples with the prompts and wishes, and which of them, one a request.
    """
    if wish is Wish.OWN:
      return block.tokens, block.examples
    data = block.tokens.taken(block.examples)
    rows = np.arange(len(data))
    assert data.prompts is not None
    if wish is Wish.OTHER:
      other = _of_other_users([one.user_id for one in block.requests])
      prompts = data.prompts.take(other)
      texts = data.columns["wish_text"].gather(other).to_list()
    elif wish is Wish.NOTHING:
      texts = [_idle_words(int(row)) for row in block.examples]
      prompts = ragged.Ragged.of(
        [self.tokenizer.encode(self.text(text)) for text in texts]
      )
    else:
      prompts = ragged.Ragged.of([self._plain] * len(rows))
      texts = [""] * len(rows)
    return data.with_wishes(prompts, texts), rows


@functools.cache
def _ordinary_words() -> Sequence[str]:
  return sorted(topics.ordinary())


def _idle_words(number: int) -> str:
  """Ordinary words in no order, the same for the same number."""
  rng = np.random.default_rng(number)
  words = _ordinary_words()
  chosen = rng.choice(len(words), rng.integers(3, 11), replace=False)
  return " ".join(words[place] for place in chosen).capitalize() + "."


def _of_other_users(users: Sequence[str]) -> Int[np.ndarray, " requests"]:
  """A request for each: another one, and each once.

  It is another user's wherever no user has more than half of the requests: in
  the order of users, it stands as far off as the most that one of them has.

  Args:
    users: who asks.
  """
  numbers: dict[str, int] = {}
  of_user = np.array([numbers.setdefault(u, len(numbers)) for u in users])
  order = np.argsort(of_user, kind="stable")
  other = np.empty(len(users), np.int64)
  other[order] = np.roll(order, np.bincount(of_user).max())
  return other
