"""Gin and instructions in, a trained model folder out."""

import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from instructrec import recorded_folder
from instructrec.alignment import list_arrays, list_objective
from instructrec.evaluation import bias, environment
from instructrec.instructions import title_list
from instructrec.models import ranking_model, tokenizer
from instructrec.models.networks import adapters
from instructrec.models.objectives import objective
from instructrec.pipelines import item_features, streams, vocabulary
from instructrec.serving import instruction_folder
from instructrec.settings import training
from instructrec.training import (
  batches,
  data_config,
  distributed,
  embedding_start,
  gin_config,
  item_arrays,
  item_table,
  item_titles,
  lengths,
  own_checkpoints,
  run_dir,
  runner,
  sequences,
  validation_lists,
)

_Tell = Callable[[str], None]
_NOTHING: Mapping[str, Any] = {}


def train(
  settings: training.TrainingSettings,
  tell: _Tell = print,
  *,
  known: Mapping[str, Any] = _NOTHING,
) -> None:
  """Trains a run, or goes on with it.

  Args:
    settings: gin files, data and the run's folder.
    tell: shows a line.
    known: further entries of the run's record.

  Raises:
    FileNotFoundError: where gin files or data are missing.
    InUseError: where another process trains in the run's folder.
    OSError: where that cannot be written to, or has no room.
    ValueError: for what does not fit: bindings, folders, vocabulary, items.
  """
  for option in ("tfds_data_dir", "model_dir"):
    _check_folder(option, getattr(settings, option))
  gin_config.parse(settings.gin_files, settings.bindings)
  config = gin_config.build(runner.TrainConfig)
  data = gin_config.build(data_config.DataConfig)
  gin_config.check_all_used()
  distributed.check_agreement({"the gin config": gin_config.config_text()})
  with run_dir.locked(settings.model_dir, tell) as check:
    opened = _Data.open(settings.tfds_data_dir, config, data)
    if data.list_length:
      config = _rewarded(config, settings.tfds_data_dir, opened.vocabulary)
    gin_config.record(
      data_config.DataConfig,
      {f.field: f.width for f in opened.features if not f.given},
    )
    if distributed.is_lead():
      opened.describe(tell)
      if config.model.network_config.adapter is not None:
        tell(adapters.in_words(_parameter_shapes(config, opened.stream)))
    record = _Record(settings, config, opened, known, tell)
    outcome = runner.train(
      config,
      opened.stream,
      opened.validation,
      settings.model_dir,
      lists=opened.lists,
      watched=settings.watched,
      described=gin_config.bindings(),
      embeddings=opened.embeddings(config, tell),
      begin=record.begin,
      check=check,
      tell=tell,
    )
    record.end(outcome)


@dataclasses.dataclass(frozen=True, eq=False)
class _Data:
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
  ) -> "_Data":
    model_file = instruction_folder.vocabulary(folder)
    _check_vocabulary(model_file, config.model.vocab_size)
    os.environ[vocabulary.ENVIRONMENT_VARIABLE] = str(model_file)
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
      )
      for found in examples.values()
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


class _Record:
  """Writes what the run is when it begins, and how long it took at its end."""

  def __init__(
    self,
    settings: training.TrainingSettings,
    config: runner.TrainConfig,
    data: _Data,
    known: Mapping[str, Any],
    tell: _Tell,
  ) -> None:
    self._settings, self._config = settings, config
    self._data, self._tell = data, tell
    self._record: dict[str, Any] = {
      "command": {
        "gin_files": list(settings.gin_files),
        "bindings": list(settings.bindings),
      },
      **recorded_folder.record(
        "tfds_data_dir", settings.tfds_data_dir, settings.model_dir
      ),
      "instructions_fingerprint": data.fingerprint,
      **_base(config, settings),
      **known,
      "environment": environment.describe(),
    }
    self._started, self._first = time.perf_counter(), 0

  def begin(self, step: int, left: int) -> None:
    """The folder is known to hold this run, at this step, or none."""
    self._first = step
    if not distributed.is_lead():
      return
    folder, total = self._settings.model_dir, self._config.train_steps
    if step:
      self._tell(
        f"goes on from checkpoint_{step} in {folder}: "
        f"{left:,} of {total:,} steps are left"
      )
      if left < total - step:
        self._tell(
          f"it ended early, after {self._config.patience} evaluations without "
          f"a gain of {self._config.best_metric}; a larger PATIENCE goes on"
        )
    if left:
      run_dir.save(
        folder,
        vocabulary=self._data.vocabulary,
        record=self._record,
        items=self._data.table,
        step=step,
      )
    elif changed := run_dir.untrained_changes(folder):
      self._tell(
        "nothing is trained with what was changed, so the record of the run "
        f"stays: {changed}"
      )

  def end(self, outcome: runner.Outcome) -> None:
    """The run has come to its end."""
    step, found = int(outcome.state.step), outcome.evaluations
    seconds = time.perf_counter() - self._started
    if not distributed.is_lead() or self._first == step:
      return
    folder = self._settings.model_dir
    # Of a run that was stopped, the time of its earlier starts is not known.
    run_dir.finish(
      folder,
      seconds if self._first == 0 else None,
      found,
      stopped_early=step if outcome.stopped_early else None,
    )
    if outcome.stopped_early:
      self._tell(
        f"ends early: {self._config.patience} evaluations without a gain of "
        f"{self._config.best_metric}"
      )
    self._tell(
      f"trained to step {step} in {seconds:,.0f} s; checkpoints and logs in "
      f"{folder}"
    )
    if found is not None and found.best is not None:
      self._tell(
        f"the best is checkpoint_{found.best[0]}: {found.metric} of validation "
        f"{found.best[1]:.4g}"
      )


def _list_arrays(
  folder: pathlib.Path, data: data_config.DataConfig, found: streams.Examples
) -> list_arrays.ListArrays | None:
  """What rows ask of lists, where these are rewarded."""
  if not data.list_length:
    return None
  items = item_features.read_catalog(str(folder / item_table.FILE))
  return list_arrays.ListArrays.of(items, found.datasets, data.list_length)


def _rewarded(
  config: runner.TrainConfig, folder: pathlib.Path, vocabulary: pathlib.Path
) -> runner.TrainConfig:
  """The run's settings with the items of a folder in its objective."""
  model = config.model
  if not isinstance(model, ranking_model.NetworkRankingModel):
    raise ValueError(
      "LIST_LENGTH has batches say what is asked of lists, which a "
      f"{type(model).__name__} does not read; set --gin.LIST_LENGTH=0"
    )
  trie = item_titles.ItemTitles(folder, vocabulary)(
    vocab_size=model.vocab_size, eos_id=model.network_config.eos_id
  )
  words = tokenizer.Tokenizer(vocabulary)
  counts = item_table.ItemTable.load(folder).counts
  learnt = list_objective.bound(
    model.objective,
    trie,
    words.separator_ids(title_list.SENTINELS),
    bias.popularity_ranks(counts),
  )
  return dataclasses.replace(config, model=model.learning(learnt))


def _parameter_shapes(
  config: runner.TrainConfig, stream: batches.BatchStream
) -> dict[str, Any]:
  shapes = {n: x.shape for n, x in stream.batch(0, np.arange(1)).items()}
  variables = jax.eval_shape(
    lambda rng: config.model.get_initial_variables(rng, shapes),
    jax.random.key(0),
  )
  return variables["params"]


def _base(
  config: runner.TrainConfig, settings: training.TrainingSettings
) -> dict[str, str]:
  """Where the network of adapters lies, which is not in the run."""
  path = config.initial_checkpoint
  if config.model.network_config.adapter is None or path is None:
    return {}
  return own_checkpoints.base_record(path, settings.model_dir)


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


def _check_folder(option: str, path: pathlib.Path) -> None:
  # A pathlib.Path has made one slash of the two in gs://.
  if path.parts and path.parts[0] in ("gs:", "s3:"):
    raise ValueError(
      f"--{option}={path} is a bucket, expected a folder: the embedded "
      "runner maps its data into memory. Mount the bucket (docs/pods.md), "
      "or train with T5X, which reads and writes buckets itself"
    )
