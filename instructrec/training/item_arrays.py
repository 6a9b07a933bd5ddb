"""What batches say of items: titles of histories, targets and drawn items.

Items are drawn beside the target of each row as negatives: half of them from
the whole table alike, half by popularity. A draw is a pure function of (seed,
step, row of the global batch, slot): hashed and not generated in turn, so that
any process can make any rows.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float, Int

from instructrec.models import tokenizer
from instructrec.models.scoring import features
from instructrec.training import data_config, item_table, token_dataset

Batch = dict[str, np.ndarray]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
  """64 random bits from 64 bits (the finaliser of splitmix64)."""
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))


def _bits(
  seed: int,
  step: int,
  rows: Int[np.ndarray, " rows"],
  slots: Int[np.ndarray, " slots"],
) -> Int[np.ndarray, "rows slots"]:
  """64 random bits for each slot of some rows of a step."""
  with np.errstate(over="ignore"):
    key = _mix(np.array([seed % 2**64], np.uint64) + _GOLDEN)
    key = _mix(key + np.uint64(step) + _GOLDEN)
    place = np.asarray(rows, np.uint64)[:, None] << np.uint64(32)
    place = place | slots.astype(np.uint64)
    return _mix(_mix(key + _GOLDEN * (place + np.uint64(1))))


def _uniform(bits: Int[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
  """From 0 up to 1, of the highest 53 bits."""
  return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


@dataclasses.dataclass(frozen=True, eq=False)
class ItemArrays:
  """Items by number, as batches show them.

  Attributes:
    title_tokens: titles without EOS, row 0 zeros.
    logs: see `item_table.ItemTable.logs`.
    shares: each item's share of all interactions, by number less one.
    history_length: titles read item by item; 0 leaves them in the text.
    num_drawn: items drawn for each row; 0 gives none, and no target.
    fingerprint: of the table.
    num_cut: titles that are longer than the width of `title_tokens`.
    num_alike: titles that another one has the same tokens as: what a
      vocabulary does not know, or what is cut, told them apart.
  """

  title_tokens: Int[np.ndarray, "items_plus_1 length"]
  logs: Float[np.ndarray, "items_plus_1 logs"]
  shares: Float[np.ndarray, " items"]
  history_length: int
  num_drawn: int
  fingerprint: str
  num_cut: int = 0
  num_alike: int = 0

  @classmethod
  def create(
    cls,
    table: item_table.ItemTable,
    vocabulary: tokenizer.Tokenizer,
    config: data_config.DataConfig,
  ) -> "ItemArrays":
    """The arrays of a run.

    Args:
      table: the items.
      vocabulary: the run's.
      config: how many titles, of which width, and how many drawn items.

    Returns:
      The arrays.
    """
    tokens, num_cut = table.title_tokens(vocabulary, config.title_length)
    rate = table.targets_per_row(config.history_length)
    _, counts = np.unique(tokens[1:], axis=0, return_counts=True)
    return cls(
      title_tokens=tokens,
      logs=table.logs(rate, config.num_drawn),
      shares=table.shares,
      history_length=config.history_length,
      num_drawn=config.num_drawn,
      fingerprint=table.fingerprint,
      num_cut=num_cut,
      num_alike=int(counts[counts > 1].sum()),
    )

  @functools.cached_property
  def _cumulative(self) -> Float[np.ndarray, " items"]:
    return np.cumsum(self.shares)

  def draw(
    self, seed: int, step: int, rows: Int[np.ndarray, " rows"]
  ) -> Int[np.ndarray, "rows drawn"]:
    """The items drawn for some rows of a step.

    Args:
      seed: of the run.
      step: the training step.
      rows: numbers of the rows in the global batch.

    Returns:
      Item numbers, int32; the target and the history may be among them.
    """
    bits = _bits(seed, step, rows, np.arange(self.num_drawn))
    # The lowest bit says how an item is drawn, the highest 53 which.
    where = (bits & np.uint64(1)).astype(bool)
    draws = _uniform(bits)
    count = len(self.shares)
    total = self._cumulative[-1]
    found = np.array(draws * count, np.int32)
    found[where] = np.searchsorted(
      self._cumulative, draws[where] * total, side="right"
    )
    return np.minimum(found, count - 1) + 1

  def targets(
    self,
    dataset: token_dataset.TokenDataset,
    examples: Int[np.ndarray, " batch"],
    seed: int,
    step: int,
    rows: Int[np.ndarray, " batch"],
  ) -> tuple[Int[np.ndarray, " batch"], Bool[np.ndarray, " batch"]]:
    """What the state after the whole request is to match.

    Of a response that is a list, any of its items: which one is drawn anew
    each step, so that the state learns the list and what was asked of it.

    Args:
      dataset: the examples.
      examples: which of them.
      seed: of the run.
      step: the training step.
      rows: their numbers in the global batch.

    Returns:
      Item numbers, int32, 0 for none; and whether they are of lists, which say
      what the request asks for and not what came next.
    """
    assert dataset.target_items is not None
    found = dataset.target_items[examples]
    if dataset.answers is None:
      return found, np.zeros(len(found), bool)
    counts = dataset.answers.lengths[examples]
    # The slot behind those of `draw`.
    slot = np.array([self.num_drawn])
    draws = _uniform(_bits(seed, step, rows, slot))[:, 0]
    listed = counts > 0
    place = dataset.answers.offsets[examples] + (draws * counts).astype(int)
    of_lists = dataset.answers.tokens[np.where(listed, place, 0)]
    return np.where(listed, of_lists, found), listed

  def history(
    self,
    dataset: token_dataset.TokenDataset,
    examples: Int[np.ndarray, " batch"],
    length: int | None = None,
  ) -> Int[np.ndarray, "batch history"]:
    """Numbers of the newest items of histories, padded in front.

    Args:
      dataset: the examples.
      examples: which of them.
      length: items of each; None for `history_length`.

    Returns:
      int32.
    """
    assert dataset.history is not None
    length = self.history_length if length is None else length
    return dataset.history.newest(examples, length)

  def history_arrays(
    self, items: Int[np.ndarray, "batch history"], rate: float | None = None
  ) -> Batch:
    """`history_*` of a batch; nothing where titles stay in the text.

    Args:
      items: their numbers.
      rate: items that a row of this batch offers to the others; None for the
        mean of all rows.

    Returns:
      As `features.item_arrays`.
    """
    return self._arrays("history", items, rate) if self.history_length else {}

  def choice_arrays(
    self, items: Int[np.ndarray, "batch choices"], rate: float | None = None
  ) -> Batch:
    """`choice_*` of a batch; `rate` as of `history_arrays`."""
    return self._arrays("choice", items, rate)

  def _arrays(
    self, name: str, items: Int[np.ndarray, "batch items"], rate: float | None
  ) -> Batch:
    found = features.item_arrays(name, items, self.title_tokens, self.logs)
    if rate is not None:
      known = items > 0
      shares = self.shares[items[known] - 1]
      found[f"{name}_logs"][known, 1] = item_table.log_rates(
        shares, rate, self.num_drawn, len(self.shares)
      )
    return found
