"""The SeqIO feature converters of the ranking models.

- `inputs` gives `encoder_input_tokens` [inputs];
- `targets` of rank 1 give `decoder_input_tokens`, `decoder_target_tokens` and
  `decoder_loss_weights` [targets];
- `targets` of rank 2 give the same three, [candidates, targets];
- of tasks that end in `_items`, the length `history`, a pair, gives `history_*`
  and takes `encoder_input_tokens` from the prompt; the length `choices` gives
  `choice_*`;
- of tasks that end in `_asked`, the length `lists` gives `list_*`.

T5X takes one converter class for training and evaluation, so this one looks at
the data: single targets go the way of `seqio.EncDecFeatureConverter` (packing
included), candidate lists are converted row by row of the list.

That of decoder-only networks differs in packed rows alone: they hold prompt and
answer in one sequence, and nothing of the encoder's.
"""

from collections.abc import Mapping
from typing import Any

import seqio
import tensorflow as tf

from instructrec.models.scoring import features
from instructrec.pipelines import item_features, list_features

Lengths = Mapping[str, int | tuple[int, ...]]


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
      ValueError: where the lengths do not fit the data, or candidate lists,
        items or lists that are asked for are to be packed.
    """
    rank = ds.element_spec["targets"].shape.rank
    length = task_feature_lengths.get("targets")
    items = self._item_shapes(ds, task_feature_lengths)
    lists: dict[str, tuple[int, ...]] = {}
    if list_features.are_wanted(task_feature_lengths):
      lists = list_features.shapes(ds.element_spec)
    is_single = rank == 1 and isinstance(length, int)
    if is_single and not items and not lists:
      return super().__call__(ds, task_feature_lengths)
    if not is_single and (
      rank != 2 or isinstance(length, int) or length is None
    ):
      raise ValueError(
        f"feature 'targets' has rank {rank} and the length {length!r}; "
        "expected rank 1 with an integer, or a candidate list (rank 2) with "
        "a pair (candidates, tokens)"
      )
    if self.pack:
      raise ValueError(
        "candidate lists, items and what is asked of lists cannot be packed, "
        "as they belong to one example each; use pack=False"
      )
    inputs = task_feature_lengths.get("inputs")
    if not isinstance(inputs, int):
      raise ValueError(
        f"feature 'inputs' has the length {inputs!r}; expected an integer"
      )
    shape = (length,) if isinstance(length, int) else tuple(length or ())
    text = "prompt" if "history_items" in items else "inputs"

    def convert(example: Mapping[str, Any]) -> dict[str, tf.Tensor]:
      targets = _fit(example["targets"], shape)
      before = [[0, 0]] * (len(shape) - 1) + [[1, 0]]
      return {
        "encoder_input_tokens": _fit(example[text], (inputs,)),
        "decoder_target_tokens": targets,
        "decoder_input_tokens": tf.pad(targets, before)[..., :-1],
        "decoder_loss_weights": tf.cast(targets > 0, tf.int32),
        **{
          name: tf.ensure_shape(example[name], found)
          for name, found in items.items()
        },
        **{
          name: tf.reshape(example[name], found)
          for name, found in lists.items()
        },
      }

    return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)

  def _item_shapes(
    self, ds: tf.data.Dataset, lengths: Lengths
  ) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of items that the lengths ask for."""
    shapes: dict[str, tuple[int, ...]] = {}
    for length, name in zip(
      item_features.LENGTHS, ("history", "choice"), strict=True
    ):
      size = item_features.pair(lengths, length)
      if size is None:
        continue
      shapes[f"{name}_tokens"] = size
      shapes[f"{name}_items"] = size[:1]
      shapes[f"{name}_logs"] = (size[0], features.NUM_LOGS)
      if name == "choice" and isinstance(lengths.get("targets"), int):
        shapes["choice_follows"] = (1,)
    if missing := set(shapes) - set(ds.element_spec):
      raise ValueError(
        f"the examples have no {sorted(missing)}; name a task or mixture that "
        f"ends in {item_features.SUFFIX}, or leave "
        f"{' and '.join(item_features.LENGTHS)} out of the lengths"
      )
    return shapes


class RowFeatureConverter(RankingFeatureConverter):
  """As `RankingFeatureConverter`; packed, answers stand behind their prompts.

  Such rows are as wide as inputs and targets together. Each input is the token
  before its target, without a start token: `inputs` [5, 6] with `targets`
  [8, 1] are

    decoder_input_tokens  [5, 6, 8]
    decoder_target_tokens [6, 8, 1]
    decoder_loss_weights  [0, 1, 1]

  Neither inputs nor targets are cut: those that are too long are an error.

  Args:
    loss_on_targets_only: False gives the tokens of inputs a weight as well, but
      for the first; rows are then joined whether they are packed or not.
    prompt_bos_id: begins every prompt, in place of the end token behind it, as
      `models.llama_tokenizer` has prompts; None leaves them as tasks have them.
    **kwargs: of SeqIO's converters, such as `pack`.
  """

  def __init__(
    self,
    loss_on_targets_only: bool = True,
    prompt_bos_id: int | None = None,
    **kwargs: Any,
  ) -> None:
    self._loss_on_targets_only = loss_on_targets_only
    self._prompt_bos_id = prompt_bos_id
    super().__init__(**kwargs)

  def __call__(
    self, ds: tf.data.Dataset, task_feature_lengths: Lengths
  ) -> tf.data.Dataset:
    """Converts `ds`; see the class and its parent."""
    if self._prompt_bos_id is not None:
      ds = ds.map(self._begin, num_parallel_calls=tf.data.AUTOTUNE)
    joined = self.pack or not self._loss_on_targets_only
    if ds.element_spec["targets"].shape.rank != 1 or not joined:
      return super().__call__(ds, task_feature_lengths)
    names = ("inputs", "targets")
    lengths: dict[str, Any] = {n: task_feature_lengths.get(n) for n in names}
    if set(task_feature_lengths) != set(names) or not all(
      isinstance(length, int) for length in lengths.values()
    ):
      raise ValueError(
        f"the lengths are {dict(task_feature_lengths)}; rows of prompt and "
        "answer take two, of 'inputs' and 'targets', both integers"
      )
    ds = ds.map(
      lambda example: self._join(example, lengths),
      num_parallel_calls=tf.data.AUTOTUNE,
    )
    width = sum(lengths.values())
    ds = self._pack_or_pad(ds, dict.fromkeys(ds.element_spec, width))

    def convert(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
      # Packing takes zeros for padding, so weights came one too high.
      weights = tf.maximum(row["decoder_loss_weights"] - 1, 0)
      packed = {
        f"decoder_{part}": row[f"decoder_target_tokens_{part}"]
        for part in ("segment_ids", "positions")
        if self.pack
      }
      arrays = {name: row[name] for name in ds.element_spec if name in _ROW}
      return {**arrays, **packed, "decoder_loss_weights": weights}

    return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)

  def _begin(self, example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Prompts with the begin token, and without the end token."""
    # Of tasks without items, the prompt is a text that no network reads.
    names = ["inputs", *(["prompt"] if "history_items" in example else [])]
    begun = {
      name: tf.concat([[self._prompt_bos_id], example[name][:-1]], axis=0)
      for name in names
    }
    return {**example, **begun}

  def _join(
    self, example: Mapping[str, tf.Tensor], lengths: Mapping[str, Any]
  ) -> dict[str, tf.Tensor]:
    checks = [
      tf.debugging.assert_less_equal(
        tf.size(example[name]),
        length,
        f"feature {name!r} has more tokens than its length of {length}, and "
        "is not cut; make the length larger",
      )
      for name, length in lengths.items()
    ]
    with tf.control_dependencies(checks):
      parts = [tf.cast(example[name], tf.int32) for name in lengths]
    row = tf.concat(parts, axis=0)
    behind = tf.range(1, tf.size(row))
    learnt = behind >= tf.size(parts[0])
    if not self._loss_on_targets_only:
      learnt = tf.ones_like(behind, tf.bool)
    return {
      "decoder_input_tokens": row[:-1],
      "decoder_target_tokens": row[1:],
      "decoder_loss_weights": 1 + tf.cast(learnt, tf.int32),
    }


_ROW = {
  "decoder_input_tokens",
  "decoder_target_tokens",
  "decoder_loss_weights",
}


def _fit(tensor: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
  """Cuts and pads `tensor` with zeros to `shape`."""
  cut = tensor[tuple(slice(size) for size in shape)]
  missing = [[0, size - tf.shape(cut)[axis]] for axis, size in enumerate(shape)]
  padded = tf.pad(tf.cast(cut, tf.int32), missing)
  return tf.ensure_shape(padded, shape)
