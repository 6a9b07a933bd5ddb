"""Opens the data of a run: SeqIO mixture -> `BatchStream`s."""

import dataclasses
import os
from collections.abc import Mapping

from instructrec.pipelines import blocks, registry, token_cache
from instructrec.training import (
  batches,
  data_config,
  distributed,
  item_arrays,
  token_dataset,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
  """The tokenized examples of one split of a mixture.

  Attributes:
    datasets: by task.
    rates: relative weight of each task.
    left_out: examples that were left out, for their responses are longer than
      is read.
  """

  datasets: Mapping[str, token_dataset.TokenDataset]
  rates: Mapping[str, float]
  left_out: int = 0

  def stream(
    self,
    config: data_config.DataConfig,
    items: item_arrays.ItemArrays | None = None,
    *,
    lists: batches.ListSource | None = None,
    reads_rows: bool = False,
    grouped: bool = False,
  ) -> batches.BatchStream:
    """Training batches of them.

    Args:
      config: the run's data settings, its lengths chosen.
      items: of a run that reads items.
      lists: of a run that is rewarded for lists.
      reads_rows: whether the network reads prompt and answer in one row.
      grouped: whether the rows of a batch are alike in length.

    Returns:
      The stream.

    Raises:
      ValueError: see `batches.BatchStream`.
    """
    return batches.BatchStream(
      datasets=self.datasets,
      rates=self.rates,
      batch_size=config.batch_size,
      inputs_length=config.inputs_length,
      targets_length=config.targets_length,
      seed=config.seed,
      pack=config.pack,
      joined=config.joins(reads_rows),
      loss_on_targets_only=config.loss_on_targets_only,
      items=items,
      lists=lists,
      grouped=grouped,
    )


def load(
  config: data_config.DataConfig, split: str, data_dir: str | os.PathLike[str]
) -> Examples:
  """Opens one split of the configured mixture.

  With several processes, the lead tokenizes and the others find the result.

  Args:
    config: the run's data settings.
    split: which split.
    data_dir: the TFDS data folder.

  Returns:
    Its examples.

  Raises:
    ValueError: for unknown mixtures, a split that no task has, and a task of
      which no response is short enough.
    FileNotFoundError: where the data set is not there.
  """
  registry.import_tasks(config.modules)
  if split == "train":
    rates = token_cache.mixture_rates(config.mixture)
  else:
    # As SeqIO does: of a mixture, the tasks that have the split.
    rates = token_cache.split_rates(config.mixture, split, data_dir)
    if not rates:
      raise ValueError(
        f"no task of {config.mixture} has the split {split!r}; train without "
        "validation: --gin.data_config.DataConfig.validation_split=None"
      )
  with distributed.lead_first(f"token_cache/{config.mixture}/{split}"):
    datasets = {name: token_cache.load(name, split, data_dir) for name in rates}
  if config.task_forms:
    datasets = {
      name: data.of_forms(config.task_forms) for name, data in datasets.items()
    }
  if not config.leave_out_longer:
    return Examples(datasets, rates)
  kept = {n: d.of_length(config.targets_length) for n, d in datasets.items()}
  left_out = sum(len(datasets[name]) - len(kept[name]) for name in kept)
  return Examples(kept, rates, left_out)


def load_lists(
  config: data_config.DataConfig,
  split: str,
  data_dir: str | os.PathLike[str],
  num_lists: int,
) -> dict[str, token_dataset.TokenDataset]:
  """Opens a sample of the candidate lists of the evaluation mixture.

  It is that of `instructrec evaluate` with the same seed and `--num_requests`.

  Args:
    config: the run's data settings.
    split: which split.
    data_dir: the TFDS data folder.
    num_lists: of each task, drawn by seed.

  Returns:
    The lists by task.

  Raises:
    ValueError: where no task has the split, or a task has no lists.
    FileNotFoundError: where the data set is not there.
  """
  registry.import_tasks(config.modules)
  mixture = config.eval_mixture
  names = token_cache.split_rates(mixture, split, data_dir)
  if not names:
    raise ValueError(
      f"no task of {mixture} (EVAL_MIXTURE_OR_TASK_NAME) has the split "
      f"{split!r}, whose lists are ranked while a run is trained; rank none: "
      "--gin.EVAL_LISTS=0 and --gin.BEST_METRIC=\"'loss'\""
    )
  with distributed.lead_first(f"token_cache/{mixture}/{split}/lists"):
    every = {name: token_cache.load(name, split, data_dir) for name in names}
  found = {}
  for name, data in every.items():
    if data.lists is None:
      raise ValueError(
        f"{name} of {mixture} (EVAL_MIXTURE_OR_TASK_NAME) has no candidate "
        "lists to rank while a run is trained; name another mixture, or rank "
        "none: --gin.EVAL_LISTS=0 and --gin.BEST_METRIC=\"'loss'\""
      )
    chosen = blocks.select(data, None, num_lists, config.seed)
    found[name] = data.taken(chosen)
  return found
