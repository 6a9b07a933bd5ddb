"""The SeqIO feature converter of the ranking models.

- `inputs` gives `encoder_input_tokens` [inputs];
- `targets` of rank 1 give `decoder_input_tokens`, `decoder_target_tokens` and
  `decoder_loss_weights` [targets];
- `targets` of rank 2 give the same three, [candidates, targets].

T5X takes one converter class for training and evaluation, so this one looks at
the data: single targets go the way of `seqio.EncDecFeatureConverter` (packing
included), candidate lists are converted row by row of the list.
"""

from collections.abc import Mapping
from typing import Any

import seqio
import tensorflow as tf

Lengths = Mapping[str, int | tuple[int, int]]


class RankingFeatureConverter(seqio.EncDecFeatureConverter):
  """Converts single targets and candidate lists.

  Lengths of candidate lists are pairs: `{"inputs": 256, "targets": (10, 32)}`
  is 10 candidates of 32 tokens. Shorter lists are padded with candidates of
  zeros, which score minus infinity.
  """

  def __call__(
    self, ds: tf.data.Dataset, task_feature_lengths: Lengths
  ) -> tf.data.Dataset:
    """Converts `ds`; see the class.

    Args:
      ds: tokenized examples with `inputs` and `targets`.
      task_feature_lengths: width of each, a pair for candidate lists.

    Returns:
      Examples with the model's features.

    Raises:
      ValueError: where the lengths do not fit the data, or candidate lists
        are to be packed.
    """
    rank = ds.element_spec["targets"].shape.rank
    length = task_feature_lengths.get("targets")
    if rank == 1 and isinstance(length, int):
      return super().__call__(ds, task_feature_lengths)
    if rank != 2 or isinstance(length, int) or length is None:
      raise ValueError(
        f"feature 'targets' has rank {rank} and the length {length!r}; "
        "expected rank 1 with an integer, or a candidate list (rank 2) with "
        "a pair (candidates, tokens)"
      )
    if self.pack:
      raise ValueError(
        "candidate lists cannot be packed; evaluate them with pack=False"
      )
    inputs = task_feature_lengths.get("inputs")
    if not isinstance(inputs, int):
      raise ValueError(
        f"feature 'inputs' has the length {inputs!r}; expected an integer"
      )
    return self._convert_lists(ds, inputs, *length)

  def _convert_lists(
    self, ds: tf.data.Dataset, inputs: int, candidates: int, tokens: int
  ) -> tf.data.Dataset:
    def convert(example: Mapping[str, Any]) -> dict[str, tf.Tensor]:
      targets = _fit(example["targets"], (candidates, tokens))
      return {
        "encoder_input_tokens": _fit(example["inputs"], (inputs,)),
        "decoder_target_tokens": targets,
        "decoder_input_tokens": tf.pad(targets, [[0, 0], [1, 0]])[:, :-1],
        "decoder_loss_weights": tf.cast(targets > 0, tf.int32),
      }

    return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def _fit(tensor: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
  """Cuts and pads `tensor` with zeros to `shape`."""
  cut = tensor[tuple(slice(size) for size in shape)]
  missing = [[0, size - tf.shape(cut)[axis]] for axis, size in enumerate(shape)]
  padded = tf.pad(tf.cast(cut, tf.int32), missing)
  return tf.ensure_shape(padded, shape)
