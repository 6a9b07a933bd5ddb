"""What a model says of candidates, part by part, and under other wishes.

What ranks is a weighted sum of parts (`retrieval/score_weights.py`):

- likelihood: of the title given the instruction, as the decoder gives it;
- prior: the same without an instruction, which titles owe to themselves;
- match: state of the request times vector of the title;
- popularity: log of how often the item was taken;
- wanted, unwanted: what of the wish, read by rule, the item has: the first in
  nats, more where less of the catalogue fits, the second as a share;
- plain: the match without the wish, for requests that have one. What a network
  makes of a wish it makes of anybody's; beside this part, the weights say how
  much of it is believed.
- unread: where nothing was read of a wish, the match without it less the match
  with it. At the weight of the match, such a wish is no wish.

The encoder runs once a request, and once more without the wish where there is
one; vectors and priors belong to the catalogue and are made once.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from instructrec.data import catalog as catalog_lib
from instructrec.data import dataset
from instructrec.instructions import attributes as attributes_lib
from instructrec.instructions import templates, wish_reader
from instructrec.models import tokenizer
from instructrec.models.objectives import objective
from instructrec.serving.wish_parts import WishParts
from instructrec.serving.wish_prompts import Requests, Wish, WishPrompts
from instructrec.training import (
  batches,
  item_arrays,
  matching,
  ragged,
  scoring,
  token_dataset,
  trained_run,
)

LIKELIHOOD, PRIOR, MATCH, POPULARITY, WANTED, UNWANTED, PLAIN, UNREAD = (
  "likelihood",
  "prior",
  "match",
  "popularity",
  "wanted",
  "unwanted",
  "plain",
  "unread",
)
Scores = Float[np.ndarray, "requests candidates"]


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
  """A text that is no item, read as a title.

  Attributes:
    tokens: as many as are read of a title, without an end token.
    length: how many there are.
    named: numbers of the attributes that it names.
  """

  tokens: Sequence[int]
  length: int
  named: frozenset[int]


@dataclasses.dataclass(frozen=True, eq=False)
class ModelParts:
  """The parts of one set of parameters.

  Attributes:
    run: the run, for its model, vocabulary and lengths.
    params: the parameters.
    prepared: the items, and how often they were taken in training.
    template_set: the wordings of instructions.
    item_folder: where the table of the items is that are ranked; None for the
      run's own copy.
    batch_size: requests scored at once, where the decoder scores.
  """

  run: trained_run.Run
  params: Any
  prepared: dataset.PreparedData
  template_set: templates.TemplateSet
  item_folder: pathlib.Path | None = None
  batch_size: int = 32

  @property
  def catalog(self) -> catalog_lib.Catalog:
    """What is ranked."""
    return self.prepared.catalog

  @functools.cached_property
  def _tokenizer(self) -> tokenizer.Tokenizer:
    return self.run.tokenizer

  @functools.cached_property
  def trained(self) -> frozenset[str]:
    """Which scores the run's objective has made fit to rank by."""
    return self.run.model.score_parts

  @functools.cached_property
  def items(self) -> item_arrays.ItemArrays | None:
    """The items as batches show them; None for a run of text alone."""
    return self.run.item_arrays(self.item_folder)

  @functools.cached_property
  def matcher(self) -> matching.Matcher | None:
    """Matches of titles; None where the run has not trained them."""
    if objective.MATCH not in self.trained or self.items is None:
      return None
    model: Any = self.run.model
    return matching.Matcher(model, self.params, self.items)

  @functools.cached_property
  def attributes(self) -> attributes_lib.Attributes:
    """What items have, and wishes name."""
    return attributes_lib.Attributes.of(self.catalog)

  @functools.cached_property
  def reader(self) -> wish_reader.WishReader:
    """Reads wishes into attributes of the catalogue."""
    return wish_reader.WishReader(self.attributes)

  @functools.cached_property
  def prompts(self) -> WishPrompts:
    """The instructions around histories."""
    return WishPrompts(self._tokenizer, self.template_set)

  @functools.cached_property
  def log_popularity(self) -> Float[np.ndarray, "items_plus_1"]:
    """By number, smoothed by one; row 0 is minus infinity."""
    taken = self._taken
    return np.concatenate([[-np.inf], np.log(taken / taken.sum())])

  @functools.cached_property
  def _taken(self) -> Int[np.ndarray, " items"]:
    counts = self.prepared.split.training_log.item_counts
    return np.array([counts.get(i, 0) for i in self.catalog.item_ids]) + 1

  @property
  def _untaken(self) -> float:
    """The log popularity of what nobody took."""
    return -float(np.log(self._taken.sum()))

  @functools.cached_property
  def priors(self) -> Float[np.ndarray, "items_plus_1"]:
    """Likelihood of each title after an empty instruction, by number."""
    titles = ragged.Ragged.of(self._tokenizer.encode_all(self.catalog.titles))
    nothing = ragged.Ragged.of([[tokenizer.EOS_ID]])
    data = token_dataset.TokenDataset(
      name="priors",
      inputs=nothing,
      targets=titles,
      lists=np.array([0, len(titles)]),
      columns=pl.DataFrame({"request_id": [""]}),
      meta={},
      prompts=nothing,
      history=ragged.Ragged.of([[]]),
      target_items=np.zeros(1, np.int32),
      candidate_items=np.arange(1, len(titles) + 1, dtype=np.int32),
    )
    scores = self._likelihoods(data, np.zeros(1, np.int64), "titles alone")
    return np.concatenate([[-np.inf], scores[0]])

  def _likelihoods(
    self,
    data: token_dataset.TokenDataset,
    examples: Int[np.ndarray, " requests"],
    label: str,
  ) -> Scores:
    (found,) = scoring.score_lists(
      self.run.model,
      self.params,
      data,
      examples,
      inputs_length=self.run.data.inputs_length,
      targets_length=self.run.data.targets_length,
      batch_size=self.batch_size,
      mesh_config=self.run.mesh,
      items=self.items,
      label=label,
    ).values()
    return found

  @property
  def untuned(self) -> dict[str, float]:
    """What the trained parts count where no weights were fitted."""
    if self.matcher is not None:
      return {MATCH: 1.0, POPULARITY: self.matcher.popularity_weight}
    return {LIKELIHOOD: 1.0}

  def trained_part(self, block: Requests) -> Scores:
    """The part that the objective trains first, alone."""
    found = self.of_block(block, Wish.OWN)
    return found[MATCH if MATCH in found else LIKELIHOOD]

  def has_wishes(self, block: Requests) -> bool:
    """Whether the requests of a block come with wishes."""
    texts = block.tokens.columns["wish_text"].gather(block.examples)
    return bool((texts != "").any())

  def has_histories(self, block: Requests) -> bool:
    """Whether the requests of a block show what was taken before."""
    history = block.tokens.history
    return history is None or bool(history.lengths[block.examples].any())

  @property
  def swaps_wishes(self) -> bool:
    """Whether a request can be ranked under another wish.

    It can where the history is read apart: what is left is the prompt, and
    prompts can be exchanged.
    """
    return self.items is not None and self.items.history_length > 0

  @property
  def wish_parts(self) -> tuple[str, ...]:
    """The parts that requests with a wish have beside the others."""
    if self.matcher is None or not self.swaps_wishes:
      return WANTED, UNWANTED
    return WANTED, UNWANTED, PLAIN, UNREAD

  def of_block(self, block: Requests, wish: Wish) -> dict[str, Scores]:
    """The parts of a block's candidates.

    Args:
      block: requests with candidates.
      wish: under which they are ranked.

    Returns:
      Scores by part; minus infinity past the end of a list.
    """
    data, examples = self.prompts.under(wish, block)
    found: dict[str, Scores] = {}
    numbers = data.pad_candidate_items(examples, block.where.shape[1])
    if objective.LIKELIHOOD in self.trained:
      found[LIKELIHOOD] = self._likelihoods(
        data, examples, f"likelihood, {wish}"
      )
      found[PRIOR] = self.priors[numbers]
    if self.matcher is not None:
      found[MATCH] = self._matches(data, examples, numbers, f"match, {wish}")
    found[POPULARITY] = self.log_popularity[numbers]
    texts = data.columns["wish_text"].gather(examples).to_list()
    if wish is not Wish.NONE and self.has_wishes(block):
      titles = [
        [self.catalog.title(item) for item in r.history] for r in block.requests
      ]
      read = WishParts.read(self.reader, texts, titles, numbers)
      found |= {WANTED: read.wanted, UNWANTED: read.unwanted}
      if PLAIN in self.wish_parts:
        found[PLAIN] = self._matches(
          *self.prompts.under(Wish.NONE, block),
          numbers,
          "match, without the wish",
        )
        found[UNREAD] = read.without_unread(found[MATCH], found[PLAIN])
    return found

  def _matches(
    self,
    data: token_dataset.TokenDataset,
    examples: Int[np.ndarray, " requests"],
    numbers: Int[np.ndarray, "requests candidates"],
    label: str,
  ) -> Scores:
    """Matches of examples and candidates."""
    assert self.matcher is not None
    assert self.items is not None
    states = self.matcher.states(
      batches.instructions(data, self.items),
      examples,
      self.items.history(data, examples),
      inputs_length=self.run.data.inputs_length,
      label=label,
    )
    return self.matcher.scores(states, numbers)

  def of_catalog(
    self,
    histories: Sequence[Sequence[str]],
    wishes: Sequence[str | None],
    texts: Sequence[Text] = (),
  ) -> dict[str, Scores]:
    """The parts of all items, in the order of the catalogue, and of texts.

    Args:
      histories: item ids, oldest first.
      wishes: of each history, or None.
      texts: that are no items, and stand behind them: as titles of items that
        nobody took. What `read_texts` gave.

    Returns:
      Scores [requests, items + texts] by part.

    Raises:
      ValueError: where the run has not trained matches: the likelihoods of a
        whole catalogue are for `title_search`.
    """
    if self.matcher is None or not self.swaps_wishes:
      raise ValueError(
        f"the run in {self.run.directory} ranks by likelihoods; ranking whole "
        "catalogues needs the objective next_item (gin/objectives/)"
      )
    every = np.broadcast_to(
      np.arange(1, len(self.catalog) + 1), (len(wishes), len(self.catalog))
    )
    titles = [[self.catalog.title(i) for i in h] for h in histories]
    vectors, popularity = self.matcher.vectors[1:], self.log_popularity[1:]
    if texts:
      own = self.matcher.text_vectors(self._padded(texts))
      vectors = np.concatenate([vectors, own])
      untaken = np.full(len(texts), self._untaken)
      popularity = np.concatenate([popularity, untaken])
    match = self._all_matches(histories, wishes, vectors)
    said = [wish or "" for wish in wishes]
    named = [text.named for text in texts]
    read = WishParts.read(self.reader, said, titles, every, named)
    plain = match.copy()
    asked = [row for row, wish in enumerate(wishes) if wish]
    if asked:
      taken = [histories[row] for row in asked]
      plain[asked] = self._all_matches(taken, [None] * len(asked), vectors)
    return {
      MATCH: match,
      POPULARITY: np.broadcast_to(popularity, match.shape),
      WANTED: read.wanted,
      UNWANTED: read.unwanted,
      PLAIN: plain,
      UNREAD: read.without_unread(match, plain),
    }

  def read_texts(
    self,
    texts: Sequence[str],
    named: Sequence[frozenset[int] | None] | None = None,
  ) -> list[Text]:
    """Reads texts as titles of items: what is longer loses its end.

    Args:
      texts: that are no items.
      named: the attributes that each names, where that is known.

    Returns:
      Each as `of_catalog` takes it.
    """
    assert self.items is not None
    most, rows = self.items.title_tokens.shape[1], []
    for place, row in enumerate(self._tokenizer.encode_all(texts)):
      found = None if named is None else named[place]
      if found is None:
        found = self.reader.named(texts[place])
      length = len(row) - 1  # Without the end token.
      rows.append(Text(row[: min(most, length)], length, found))
    return rows

  def _padded(self, texts: Sequence[Text]) -> Int[np.ndarray, "texts length"]:
    """Texts as wide as the titles of items."""
    assert self.items is not None
    tokens = np.zeros((len(texts), self.items.title_tokens.shape[1]), np.int32)
    for row, text in zip(tokens, texts, strict=True):
      row[: len(text.tokens)] = text.tokens
    return tokens

  def _all_matches(
    self,
    histories: Sequence[Sequence[str]],
    wishes: Sequence[str | None],
    vectors: Float[np.ndarray, "candidates embed"],
  ) -> Scores:
    """Matches of states and vectors."""
    assert self.matcher is not None
    assert self.items is not None
    # The item table keeps the order of the catalogue, and counts from one.
    index = self.catalog.index
    taken = ragged.Ragged.of([[index(i) + 1 for i in h] for h in histories])
    rows = [self.prompts.tokens(wish) for wish in wishes]
    states = self.matcher.states(
      ragged.Ragged.of(rows),
      np.arange(len(rows)),
      taken.newest(np.arange(len(rows)), self.items.history_length),
      inputs_length=self.run.data.inputs_length,
      label=None,
    )
    return (states @ vectors.T).astype(np.float64)
