"""How much is read of what others made: named limits, each one settable.

Data, checkpoints, settings and replies may come from anywhere. Each limit
leaves room for all that is known of real ones, and each is an environment
variable, `INSTRUCTREC_MAX_<name>`, for whoever needs more.
"""

import dataclasses
import os
import re

_NUMBER = re.compile("[1-9][0-9]{0,17}")
_PREFIX = "INSTRUCTREC_MAX_"


class LimitError(ValueError):
  """Something is larger than what is read of its kind."""


@dataclasses.dataclass(frozen=True)
class Limit:
  """The most of something.

  Attributes:
    name: what the environment variable ends in.
    default: the limit where the variable is not set.
    unit: what is counted, in the plural.
    of: what is limited.
  """

  name: str
  default: int
  unit: str
  of: str

  @property
  def variable(self) -> str:
    """The environment variable that sets it."""
    return _PREFIX + self.name

  @property
  def value(self) -> int:
    """The limit that holds.

    Raises:
      ValueError: where the variable is no positive whole number.
    """
    text = os.environ.get(self.variable, "").strip()
    if not text:
      return self.default
    if not _NUMBER.fullmatch(text):
      raise ValueError(
        f"the environment variable {self.variable} is {text[:40]!r}, expected "
        f"a positive whole number of {self.unit}"
      )
    return int(text)

  def check(self, found: int, what: str) -> None:
    """Refuses what is more than the limit.

    Args:
      found: how much there is; where it is still being counted, at least.
      what: names it, with its file.

    Raises:
      LimitError: where it is more.
    """
    if found > self.value:
      raise LimitError(
        f"{what}: found {_count(found)} {self.unit}, expected at most "
        f"{self.value:,}; set {self.variable} to allow more"
      )


def _count(number: int) -> str:
  return f"{number:,}" if abs(number) < 10**18 else "over 10^18"


LINE_BYTES = Limit("LINE_BYTES", 16 * 2**20, "bytes", "a line of a table")
TABLE_BYTES = Limit(
  "TABLE_BYTES", 64 * 2**30, "bytes", "a table, once it is unpacked"
)
UNPACKING = Limit(
  "UNPACKING", 200, "times its size", "what a compressed table unpacks to"
)
TABLE_ROWS = Limit("TABLE_ROWS", 10**9, "rows", "a Parquet table")
TITLE_CHARS = Limit("TITLE_CHARS", 10_000, "characters", "a title")
ID_CHARS = Limit("ID_CHARS", 2_000, "characters", "the id of a user or item")
REPLY_BYTES = Limit("REPLY_BYTES", 10 * 2**20, "bytes", "a chat server's reply")
CONFIG_BYTES = Limit("CONFIG_BYTES", 2**18, "bytes", "a run's config.gin")
INDEX_BYTES = Limit(
  "INDEX_BYTES",
  16 * 2**20,
  "bytes",
  "a checkpoint's config.json, its index and the header of a weight file",
)
TREE_BYTES = Limit(
  "TREE_BYTES", 2 * 2**30, "bytes", "the msgpack file of T5X's older form"
)
ARRAYS = Limit("ARRAYS", 100_000, "arrays", "a checkpoint")
ARRAY_BYTES = Limit(
  "ARRAY_BYTES", 64 * 2**30, "bytes", "an array of a checkpoint"
)
LAYERS = Limit("LAYERS", 512, "layers", "a stack of a network")
WIDTH = Limit("WIDTH", 2**20, "numbers", "a width or a count within a network")
VOCABULARY = Limit("VOCABULARY", 2**24, "ids", "a vocabulary")
LENGTH = Limit(
  "LENGTH", 2**20, "tokens", "an instruction, a response or a title in batches"
)
BODY_BYTES = Limit("BODY_BYTES", 8 * 2**20, "bytes", "a request's body")
DOCUMENTS = Limit("DOCUMENTS", 1_000, "documents", "a request to rerank")
DOCUMENT_CHARS = Limit(
  "DOCUMENT_CHARS", 100_000, "characters", "a document of a request"
)
WISH_CHARS = Limit(
  "WISH_CHARS", 2_000, "characters", "a wish, a query or an instruction"
)
HISTORY = Limit("HISTORY", 1_000, "items", "a request's history")
PLACES = Limit("PLACES", 1_000, "places", "an answer")

ALL = tuple(value for value in globals().values() if isinstance(value, Limit))
