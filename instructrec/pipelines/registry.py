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
"""

from collections.abc import Mapping, Sequence

import seqio
import tensorflow as tf

from instructrec.instructions import mixtures, plans, templates
from instructrec.pipelines import metrics, tfds_writer

RERANK = "_rerank"


def _source(name: str) -> seqio.TfdsDataSource:
  """The TFDS config of a task; its splits are read from the data.

  The folder is `TFDS_DATA_DIR`, or what `seqio.set_tfds_data_dir_override`
  set (`--tfds_data_dir` of T5X and of `instructrec`).
  """
  return seqio.TfdsDataSource(
    f"{tfds_writer.NAME}/{name}:{tfds_writer.VERSION}"
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
  single = {
    "inputs": seqio.Feature(vocabulary, add_eos=True),
    "targets": seqio.Feature(vocabulary, add_eos=True),
  }
  lists = {
    "inputs": single["inputs"],
    # Each candidate gets its EOS below; SeqIO's own step knows one row only.
    "targets": seqio.Feature(vocabulary, add_eos=False, rank=2),
  }
  names = []
  for task in mixed["_all"]:
    names.append(f"{prefix}_{task}")
    seqio.TaskRegistry.add(
      names[-1],
      source=_source(task),
      preprocessors=[
        seqio.preprocessors.tokenize,
        seqio.CacheDatasetPlaceholder(),
        seqio.preprocessors.append_eos_after_trim,
      ],
      postprocess_fn=metrics.answer,
      metric_fns=[metrics.generation],
      output_features=single,
    )
  for task in evaluated:
    names.append(f"{prefix}_{task}{RERANK}")
    seqio.TaskRegistry.add(
      names[-1],
      source=_source(task),
      preprocessors=[
        _candidates_as_targets,
        seqio.preprocessors.tokenize,
        # SeqIO's cache keeps ragged lists; a matrix must be as wide as the
        # first one.
        seqio.CacheDatasetPlaceholder(),
        _end_and_densify,
        seqio.preprocessors.append_eos_after_trim,
      ],
      postprocess_fn=metrics.label,
      metric_fns=[metrics.ranking],
      output_features=lists,
    )
  for suffix, weights in mixed.items():
    names.append(f"{prefix}{suffix}")
    seqio.MixtureRegistry.add(
      names[-1],
      [(f"{prefix}_{task}", weight) for task, weight in weights.items()],
    )
  names.append(f"{prefix}{RERANK}")
  seqio.MixtureRegistry.add(
    names[-1],
    [(f"{prefix}_{task}{RERANK}", 1.0) for task in evaluated],
  )
  return names
