"""Scores and texts that T5X writes, one JSON object a request.

T5X's `infer.py` and SeqIO's Evaluator (`eval.py`, training) have formats of
their own; under our gin files both write this one:

  {"inputs": {"request_id": ..., "candidate_ids": [...], ...},
   "score": [...]}

with `prediction` in place of `score` where texts are generated, several of them
a list, and `aux` beside it where the model says more of them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf
import tensorflow_datasets as tfds

FIELDS = (
  "example_id",
  "request_id",
  "user_id",
  "candidate_ids",
  "label",
  "inputs_pretokenized",
  "targets_pretokenized",
)
"""What stands of a request beside the outputs."""


def _plain(value: Any) -> Any:
  """A value as JSON has it; lists without the padding at their end."""
  if isinstance(value, Mapping):
    return {key: _plain(inner) for key, inner in value.items()}
  if isinstance(value, bytes):
    return value.decode()
  if isinstance(value, np.ndarray | np.generic):
    # JSON knows no bfloat16, nor does NumPy as a number.
    kind = value.dtype
    return _plain(
      value.tolist() if kind.isbuiltin else value.astype(np.float32).tolist()
    )
  if isinstance(value, list | tuple):
    found = [_plain(inner) for inner in value]
    while found and found[-1] == "":
      found.pop()
    return found
  return value


def _line(example: Mapping[str, Any], outputs: Mapping[str, Any]) -> str:
  inputs = {name: _plain(example[name]) for name in FIELDS if name in example}
  found = _plain(outputs)
  scores, ids = found.get("score"), inputs.get("candidate_ids")
  # Lists are scored at the length of the longest.
  if isinstance(scores, list) and ids is not None:
    found["score"] = scores[: len(ids)]
  return json.dumps({"inputs": inputs, **found}) + "\n"


def _text(ids: Any, vocabulary: seqio.Vocabulary) -> str | list[str]:
  """What was generated, best first where there are several."""
  if np.ndim(ids) > 1:
    return [vocabulary.decode([int(i) for i in one]) for one in ids]
  return str(vocabulary.decode([int(i) for i in ids]))


def _at(aux: Any, index: int) -> Any:
  """What a tree of lists says of one example."""
  if isinstance(aux, Mapping):
    return {name: _at(inner, index) for name, inner in aux.items()}
  return aux[index]


def write(
  path: str,
  inferences: tuple[Sequence[Any], Mapping[str, Any]],
  task_ds: tf.data.Dataset,
  mode: str,
  vocabulary: seqio.Vocabulary,
) -> None:
  """Writes a file of `infer.py`: its `write_fn`.

  Args:
    path: the file, on disk or in a bucket.
    inferences: outputs of all examples, and what the model says beside them.
    task_ds: the examples.
    mode: "score", or "predict" and "predict_with_aux", whose outputs are ids.
    vocabulary: turns ids into texts.
  """
  outputs, aux = inferences

  def lines() -> Iterator[str]:
    for index, example in enumerate(tfds.as_numpy(task_ds)):
      output = outputs[index]
      if mode == "score":
        found = {"score": output}
      else:
        found = {"prediction": _text(output, vocabulary)}
      yield _line(example, found | ({"aux": _at(aux, index)} if aux else {}))

  _write(path, lines())


class JSONLogger(seqio.JSONLogger):
  """SeqIO's logger of metrics, with `<task>-<step>.jsonl` as `write` has it."""

  def __call__(
    self,
    task_name: str,
    step: int | None,
    metrics: Mapping[str, Any],
    dataset: tf.data.Dataset | None,
    inferences: Mapping[str, Any] | None,
    targets: Sequence[Any] | None,
  ) -> None:
    """Logs a task; see `seqio.Logger`."""
    super().__call__(task_name, step, metrics, dataset, None, targets)
    if self._write_n_results == 0 or dataset is None or not inferences:
      return
    outputs = dict(inferences)
    aux = outputs.pop("aux_value", None)
    outputs.pop("output", None)  # The prediction, before its postprocessing.

    def lines() -> Iterator[str]:
      examples = dataset.take(self._write_n_results or -1)
      for index, example in enumerate(tfds.as_numpy(examples)):
        found = {name: values[index] for name, values in outputs.items()}
        yield _line(example, found | ({"aux": _at(aux, index)} if aux else {}))

    number = -1 if step is None else step
    _write(f"{self.output_dir}/{task_name}-{number:06}.jsonl", lines())


def _write(path: str, lines: Iterator[str]) -> None:
  with tf.io.gfile.GFile(path, "w") as file:
    for line in lines:
      file.write(line)
