"""Registers the SeqIO tasks and mixtures over an instruction data set.

For each task type there are two tasks over one TFDS config:

- `<prefix>_<type>`: an instruction and its response, for training and for
  generation, with its metrics;
- `<prefix>_<type>_rerank`: the same instruction and its candidate list, with
  the metrics of reranking. `targets` has rank 2, `[candidates, tokens]`.

SeqIO asks all tasks of a mixture for the same features, hence one mixture of
each kind: `<prefix>` and `<prefix>_rerank`.
"""

from collections.abc import Mapping

import seqio
import tensorflow as tf

from instructrec.instructions import format as instruction_format
from instructrec.pipelines import metrics, tfds_writer

TASK_TYPES = tuple(task.value for task in instruction_format.TaskType)


def _source(task_type: str) -> seqio.TfdsDataSource:
  """The TFDS config of a task type.

  The folder is `TFDS_DATA_DIR`, or what `seqio.set_tfds_data_dir_override`
  set (`--tfds_data_dir` of T5X and of `instructrec`).
  """
  return seqio.TfdsDataSource(
    f"{tfds_writer.NAME}/{task_type}:{tfds_writer.VERSION}",
    splits=("train", "validation", "test"),
  )


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
  rates: Mapping[str, float] | None = None,
) -> list[str]:
  """Registers all tasks and both mixtures.

  Args:
    vocabulary: of inputs and targets.
    prefix: what the names begin with.
    rates: weight of each task type in the mixtures; equal where not given.

  Returns:
    The names registered.

  Raises:
    ValueError: for rates of unknown task types, or names registered before.
  """
  rates = dict(rates or dict.fromkeys(TASK_TYPES, 1.0))
  if unknown := set(rates) - set(TASK_TYPES):
    raise ValueError(
      f"rates name the task types {sorted(unknown)}; there are {TASK_TYPES}"
    )
  single = {
    "inputs": seqio.Feature(vocabulary, add_eos=True),
    "targets": seqio.Feature(vocabulary, add_eos=True),
  }
  lists = {
    "inputs": single["inputs"],
    # Each candidate gets its EOS below; SeqIO's own step knows one row only.
    "targets": seqio.Feature(vocabulary, add_eos=False, rank=2),
  }
  for task_type in TASK_TYPES:
    seqio.TaskRegistry.add(
      f"{prefix}_{task_type}",
      source=_source(task_type),
      preprocessors=[
        seqio.preprocessors.tokenize,
        seqio.CacheDatasetPlaceholder(),
        seqio.preprocessors.append_eos_after_trim,
      ],
      postprocess_fn=metrics.answer,
      metric_fns=[metrics.generation],
      output_features=single,
    )
    seqio.TaskRegistry.add(
      f"{prefix}_{task_type}_rerank",
      source=_source(task_type),
      preprocessors=[
        _candidates_as_targets,
        seqio.preprocessors.tokenize,
        _end_and_densify,
        seqio.CacheDatasetPlaceholder(),
        seqio.preprocessors.append_eos_after_trim,
      ],
      postprocess_fn=metrics.label,
      metric_fns=[metrics.ranking],
      output_features=lists,
    )
  mixed = [(task_type, rate) for task_type, rate in rates.items() if rate]
  for suffix in ("", "_rerank"):
    seqio.MixtureRegistry.add(
      f"{prefix}{suffix}",
      [(f"{prefix}_{task_type}{suffix}", rate) for task_type, rate in mixed],
    )
  names = [f"{prefix}_{t}{s}" for t in TASK_TYPES for s in ("", "_rerank")]
  return [*names, prefix, f"{prefix}_rerank"]
