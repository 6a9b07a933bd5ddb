"""Opens the data of a run: SeqIO mixture -> `BatchStream`s."""

import importlib
import os

from instructrec.pipelines import token_cache
from instructrec.training import (
  batches,
  data_config,
  distributed,
  item_arrays,
)


def open_stream(
  config: data_config.DataConfig,
  split: str,
  data_dir: str | os.PathLike[str],
  items: item_arrays.ItemArrays | None = None,
  *,
  learns_targets: bool = True,
  reads_rows: bool = False,
) -> batches.BatchStream:
  """The stream over one split of the configured mixture.

  With several processes, the lead tokenizes and the others find the result.

  Args:
    config: the run's data settings.
    split: which split.
    data_dir: the TFDS data folder.
    items: of a run that reads items.
    learns_targets: see `batches.BatchStream`.
    reads_rows: whether the network reads prompt and answer in one row.

  Returns:
    The stream.

  Raises:
    ValueError: for unknown mixtures, for a split that no task has, and for
      targets that do not fit.
    FileNotFoundError: where the data set is not there.
  """
  for module in config.modules:
    importlib.import_module(module)
  rates = token_cache.mixture_rates(config.mixture)
  if split != "train":
    # As SeqIO does: of a mixture, the tasks that have the split.
    rates = {
      name: rate
      for name, rate in rates.items()
      if token_cache.has_split(name, split, data_dir)
    }
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
  return batches.BatchStream(
    datasets=datasets,
    rates=rates,
    batch_size=config.batch_size,
    inputs_length=config.inputs_length,
    targets_length=config.targets_length,
    seed=config.seed,
    pack=config.pack,
    joined=config.joins(reads_rows),
    loss_on_targets_only=config.loss_on_targets_only,
    items=items,
    learns_targets=learns_targets,
  )
