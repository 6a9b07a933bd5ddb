"""What a run reads, opened and checked before it trains."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable

from instructrec.alignment import list_arrays
from instructrec.models import tokenizer
from instructrec.models.objectives import objective
from instructrec.pipelines import item_features, streams
from instructrec.serving import instruction_folder
from instructrec.training import (
  batches,
  data_config,
  embedding_start,
  gin_config,
  item_arrays,
  item_table,
  item_titles,
  lengths,
  runner,
  sequences,
  validation_lists,
)

_Tell = Callable[[str], None]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingData:
  """What a run reads.

  Attributes:
    vocabulary: the SentencePiece model.
    items: of a run that reads items.
    table: the file that they are in.
    stream: training batches.
    validation: validation batches, where the run validates.
    lists: validation lists that are ranked meanwhile; None for none.
    features: what lengths the data have, and those of the run.
    fingerprint: of the instructions.
    left_out: training examples of which the response is longer than is read.
  """

  vocabulary: pathlib.Path
  items: item_arrays.ItemArrays | None
  table: pathlib.Path | None
  stream: batches.BatchStream
  validation: batches.BatchStream | None
  lists: validation_lists.ValidationLists | None
  features: list[lengths.Feature]
  fingerprint: str
  left_out: int

  @classmethod
  def open(
    cls,
    folder: pathlib.Path,
    config: runner.TrainConfig,
    data: data_config.DataConfig,
  ) -> "TrainingData":
    """Opens what generate wrote, and chooses the lengths that are left open.

    Args:
      folder: of the instructions.
      config: the run's settings.
      data: its data settings.

    Returns:
      The data.

    Raises:
      FileNotFoundError: where there are none.
      ValueError: where vocabulary, items or titles do not fit the model.
    """
    model_file = instruction_folder.vocabulary(folder)
    _check_vocabulary(model_file, config.model.vocab_size)
    os.environ[tokenizer.ENVIRONMENT_VARIABLE] = str(model_file)
    if config.initial_embeddings == "cooccurrence" and not data.reads_items:
      raise ValueError(
        "INITIAL_EMBEDDINGS is 'cooccurrence', which is made of the items that "
        "batches hold; set HISTORY_LENGTH or NUM_DRAWN (gin/objectives/)"
      )
    table = item_table.ItemTable.load(folder)
    if data.reads_items:
      _check_items(len(table), config.model.num_items)
    words = tokenizer.Tokenizer(model_file)
    splits = ["train", *filter(None, [data.validation_split])]
    examples = {split: streams.load(data, split, folder) for split in splits}
    features = lengths.features(
      data,
      {split: found.datasets for split, found in examples.items()},
      table.title_lengths(words),
      learns_targets=objective.LIKELIHOOD in config.model.score_parts,
      option=functools.partial(gin_config.option, data_config.DataConfig),
    )
    data = lengths.choose(data, features)
    if writes := item_titles.writes(config.model):
      _check_titles(table, words, config, data)
    items = None
    if data.reads_items:
      items = item_arrays.ItemArrays.create(table, words, data)
    lists, split = None, data.validation_split
    if config.eval_lists and split is not None:
      samples = streams.load_lists(data, split, folder, config.eval_lists)
      lists = validation_lists.ValidationLists.of(
        list(samples.values()), data, items
      )
    made = [
      found.stream(
        data,
        items,
        reads_rows=config.model.reads_rows,
        lists=_list_arrays(folder, data, found),
        # What validation measures does not depend on how a run trains.
        grouped=data.group_by_length and split == "train",
      )
      for split, found in examples.items()
    ]
    return cls(
      vocabulary=model_file,
      items=items,
      table=(
        folder / item_table.FILE
        if data.reads_items or writes or data.list_length
        else None
      ),
      stream=made[0],
      validation=made[1] if len(made) > 1 else None,
      lists=lists,
      features=features,
      fingerprint=instruction_folder.read_manifest(folder)["fingerprint"],
      left_out=examples["train"].left_out,
    )

  def describe(self, tell: _Tell) -> None:
    """Says how much there is, how wide rows are, and what is cut."""
    tell(
      f"{self.stream.num_examples:,} training examples of "
      f"{len(self.stream.datasets)} tasks; --gin.NAME=value sets a length:"
    )
    for feature in self.features:
      tell(f"  {feature}")
    if self.stream.grouped:
      widths = [str(width) for width in self.stream.text_widths]
      tell(
        "rows that are alike in length share a batch, whose text is "
        f"{' or '.join(widths)} tokens wide"
      )
    if self.left_out:
      tell(f"{self.left_out:,} examples with longer responses are left out")
    if self.lists is not None:
      tell(f"{len(self.lists):,} validation lists are ranked meanwhile")
    if self.items is not None:
      tell(
        f"{len(self.items.shares):,} items are read title by title; "
        f"{self.items.num_cut:,} titles are cut, {self.items.num_alike:,} have "
        "the tokens of another one"
      )

  def embeddings(
    self, config: runner.TrainConfig, tell: _Tell
  ) -> Callable[[], embedding_start.EmbeddingStart] | None:
    """Makes what embeddings begin with; None for random ones."""
    items = self.items
    if config.initial_embeddings != "cooccurrence" or items is None:
      return None

    def start() -> embedding_start.EmbeddingStart:
      tell("embeddings start from what occurs with what")
      return embedding_start.from_cooccurrence(
        sequences.item_sequences(self.stream.datasets.values()),
        items.title_tokens,
        width=config.model.emb_dim,
        vocab_size=config.model.vocab_size,
        seed=config.seed,
      )

    return start


def _list_arrays(
  folder: pathlib.Path, data: data_config.DataConfig, found: streams.Examples
) -> list_arrays.ListArrays | None:
  """What rows ask of lists, where these are rewarded."""
  if not data.list_length:
    return None
  items = item_features.read_catalog(str(folder / item_table.FILE))
  return list_arrays.ListArrays.of(items, found.datasets, data.list_length)


def _check_vocabulary(path: pathlib.Path, limit: int) -> None:
  found = tokenizer.Tokenizer(path).vocab_size
  if found > limit:
    raise ValueError(
      f"{path} has {found} ids, the model {limit}; set --gin.VOCAB_SIZE to at "
      f"least {found}"
    )


def _check_titles(
  table: item_table.ItemTable,
  words: tokenizer.Tokenizer,
  config: runner.TrainConfig,
  data: data_config.DataConfig,
) -> None:
  """Refuses what the run could not write later, before it trains."""
  item_titles.trie(
    table,
    words,
    vocab_size=config.model.vocab_size,
    eos_id=config.model.network_config.eos_id,
    most_tokens=data.targets_length,
  )


def _check_items(found: int, limit: int) -> None:
  if limit and found > limit:
    raise ValueError(
      f"the data have {found:,} items, the model has vectors for {limit:,} "
      f"beside their titles; set --gin.NUM_ITEMS={found}, or 0 for none"
    )
