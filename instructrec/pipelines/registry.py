"""Registers the SeqIO tasks and mixtures over an instruction data set.

For each task type and P/I combination there is a task over a TFDS config of
its own, `<prefix>_<type>_<P>_<I>` such as `instructrec_v1_sequential_p1_i0`:
instructions and responses. Kinds that are not direct have one task a kind,
such as `instructrec_v1_sequential_cot`.

Those with validation and test rows have a sister ending in `_rerank`: the
same instructions with their candidate lists and the metrics of reranking.
There, `targets` has rank 2, `[candidates, tokens]`. SeqIO asks all tasks of a
mixture for the same features, hence the mixture `<prefix>_rerank` beside the
others of `instructions/mixtures.py`.

Every task and mixture has a second form ending in `_items`, which says of its
rows also which items they are about, for models that read titles one by one:
see `item_features.py`.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

from instructrec.instructions import mixtures, plans, templates
from instructrec.pipelines import (
  item_features,
  list_features,
  metrics,
  tfds_writer,
)

RERANK = "_rerank"
_APPEND_EOS = seqio.preprocessors.append_eos_after_trim


class _Reader(seqio.utils.LazyTfdsLoader):
  """Opens a data set; one that is missing is named, and its folder."""

  def _get_builder(self, split: str | None = None) -> tfds.core.DatasetBuilder:
    try:
      return super()._get_builder(split)
    except tfds.core.DatasetNotFoundError:
      folder = self.data_dir or tfds.core.constants.DATA_DIR
      # TFDS lists its whole catalogue, far below which the folder stands.
      raise FileNotFoundError(
        f"{folder} holds no {self.name}; expected what `instructrec generate` "
        "wrote, named by --tfds_data_dir or TFDS_DATA_DIR"
      ) from None


class _Source(seqio.TfdsDataSource):
  """The TFDS config of a task; its splits are read from the data.

  The folder is `TFDS_DATA_DIR`, or what `seqio.set_tfds_data_dir_override`
  set (`--tfds_data_dir` of T5X and of `instructrec`).
  """

  def __init__(self, config: str) -> None:
    name = f"{tfds_writer.NAME}/{config}:{tfds_writer.VERSION}"
    super().__init__(name)
    # Read only: TFDS looks for data in its public bucket otherwise.
    self._reader = _Reader(name, read_only=True)

  @property
  def tfds_dataset(self) -> seqio.utils.LazyTfdsLoader:
    return self._reader


def import_tasks(modules: Iterable[str]) -> None:
  """Imports modules, which register tasks.

  Args:
    modules: their names.

  Raises:
    ValueError: for one that cannot be imported.
  """
  for module in modules:
    try:
      importlib.import_module(module)
    except ImportError as error:
      raise ValueError(
        f"the module {module!r} of tasks cannot be imported: {error}; expected "
        "one on the Python path (PYTHONPATH), such as tasks.instructrec"
      ) from error


def _candidates_as_targets(ds: tf.data.Dataset) -> tf.data.Dataset:
  return ds.map(
    lambda row: {**row, "targets": row["candidates"]},
    num_parallel_calls=tf.data.AUTOTUNE,
  )


def _end_and_densify(
  ds: tf.data.Dataset, output_features: Mapping[str, seqio.Feature]
) -> tf.data.Dataset:
  """Candidates that end with EOS, as a matrix padded with 0."""
  eos = output_features["targets"].vocabulary.eos_id

  def convert(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    targets = row["targets"]
    ends = tf.fill([targets.nrows(), 1], tf.cast(eos, targets.dtype))
    targets = tf.concat([targets, ends], axis=1).to_tensor()
    return {**row, "targets": targets}

  return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def register(
  vocabulary: seqio.Vocabulary,
  *,
  prefix: str = "instructrec",
  template_set: templates.TemplateSet | None = None,
  eval_templates: Sequence[str] = plans.EVAL_TEMPLATES,
) -> list[str]:
  """Registers all tasks and mixtures of a template set.

  Args:
    vocabulary: of inputs and targets.
    prefix: what the names begin with.
    template_set: the templates; None for those of the package.
    eval_templates: those of the validation and test rows.

  Returns:
    The names registered: tasks, then mixtures.

  Raises:
    ValueError: for names registered before.
    KeyError: for an evaluation template that is not in the set.
  """
  template_set = template_set or templates.load()
  mixed = mixtures.mixtures(template_set, eval_templates)
  evaluated = mixtures.evaluation_tasks(template_set, eval_templates)
  text = seqio.Feature(vocabulary, add_eos=True)
  # Each candidate gets its EOS below; SeqIO's own step knows one row only.
  candidates = seqio.Feature(vocabulary, add_eos=False, rank=2)
  lists = {"inputs": text, "targets": candidates}
  items = {"prompt": text, **item_features.output_features()}
  suffixes = ("", item_features.SUFFIX)
  names = []
  for suffix in suffixes:
    extra = items if suffix else {}
    for task in mixed["_all"]:
      names.append(f"{prefix}_{task}{suffix}")
      add_answers(names[-1], task, vocabulary, with_items=bool(suffix))
    for task in evaluated:
      names.append(f"{prefix}_{task}{RERANK}{suffix}")
      _add(names[-1], task, {**lists, **extra}, _ranking)
  for suffix in suffixes:
    groups = {f"{name}{suffix}": found for name, found in mixed.items()}
    for group, weights in groups.items():
      names.append(f"{prefix}{group}")
      seqio.MixtureRegistry.add(
        names[-1],
        [
          (f"{prefix}_{task}{suffix}", weight)
          for task, weight in weights.items()
        ],
      )
    names.append(f"{prefix}{RERANK}{suffix}")
    seqio.MixtureRegistry.add(
      names[-1],
      [(f"{prefix}_{task}{RERANK}{suffix}", 1.0) for task in evaluated],
    )
  return names


Measured = tuple[Callable[..., Any], Callable[..., Any]]
"""Postprocessor and metric function of a task."""


def _generation(source: seqio.TfdsDataSource) -> Measured:
  del source
  return metrics.answer, metrics.generation


def _ranking(source: seqio.TfdsDataSource) -> Measured:
  del source
  return metrics.label, metrics.ranking


def add_answers(
  name: str,
  config: str,
  vocabulary: seqio.Vocabulary,
  *,
  with_items: bool = False,
  asks_lists: bool = False,
  measured: Callable[[seqio.TfdsDataSource], Measured] = _generation,
) -> None:
  """Registers a task of instructions and their responses.

  Args:
    name: of the task.
    config: TFDS config of its rows.
    vocabulary: of inputs and targets.
    with_items: whether it says which items its rows are about.
    asks_lists: whether it says what its rows ask of lists; see
      `list_features.py`.
    measured: what its answers are measured by, which may need its source.

  Raises:
    ValueError: for a name registered before.
  """
  text = seqio.Feature(vocabulary, add_eos=True)
  items = {"prompt": text, **item_features.output_features()}
  features = {"inputs": text, "targets": text}
  features |= items if with_items else {}
  features |= list_features.output_features() if asks_lists else {}
  _add(name, config, features, measured)


def _add(
  name: str,
  config: str,
  output_features: Mapping[str, seqio.Feature],
  measured: Callable[[seqio.TfdsDataSource], Measured],
) -> None:
  """Registers a task, its steps as its features ask for them."""
  source = _Source(config)
  is_list = output_features["targets"].rank == 2
  postprocess_fn, metric_fn = measured(source)
  items = None
  if "prompt" in output_features:
    items = item_features.Items(source)
  asks_lists = list_features.KEYS in output_features
  steps = [
    _candidates_as_targets if is_list else None,
    seqio.preprocessors.tokenize,
    items and items.numbers,
    # SeqIO's cache keeps ragged lists; a matrix must be as wide as the first.
    seqio.CacheDatasetPlaceholder(),
    _end_and_densify if is_list else None,
    item_features.append_eos if items else _APPEND_EOS,
    items and items.arrays,
    list_features.Lists(source).arrays if asks_lists else None,
  ]
  seqio.TaskRegistry.add(
    name,
    source=source,
    preprocessors=[step for step in steps if step is not None],
    postprocess_fn=postprocess_fn,
    metric_fns=[metric_fn],
    output_features=output_features,
  )
