"""T5X's infer.py and its evaluations write the same lines."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.tf

ROWS = [
  {"user_id": "ü", "label": 1, "candidate_ids": ["a", "b", "c"]},
  {"user_id": "v", "label": 0, "candidate_ids": ["c", "a"]},
]
SCORES = np.float32([[-1.5, -0.25, -3.0, -9.0], [-0.5, -2.0, -9.0, -9.0]])


@pytest.fixture(scope="module")
def examples():
  """What SeqIO hands on: lists of their own lengths, tensors beside them."""
  import tensorflow as tf

  return tf.data.Dataset.from_generator(
    lambda: iter([{**row, "inputs": np.arange(99)} for row in ROWS]),
    output_signature={
      "user_id": tf.TensorSpec((), tf.string),
      "label": tf.TensorSpec((), tf.int64),
      "candidate_ids": tf.TensorSpec((None,), tf.string),
      "inputs": tf.TensorSpec((None,), tf.int32),
    },
  )


@pytest.fixture(scope="module")
def chunk(examples):
  """The same as infer.py has it: one batch, whose lists are padded."""
  import tensorflow as tf

  (batch,) = examples.padded_batch(2)
  return tf.data.Dataset.from_tensor_slices(batch)


class Words:
  """A vocabulary of one word an id."""

  def decode(self, ids):
    return " ".join(map(str, ids))


def lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def logged(folder, examples, inferences, **settings):
  """The lines and metrics of an evaluation at step 7."""
  import seqio

  from instructrec.pipelines import inferences as writers

  logger = writers.JSONLogger(str(folder), **settings)
  logger("task", 7, {"MRR": seqio.metrics.Scalar(0.5)}, examples, inferences, 1)
  assert lines(folder / "task-metrics.jsonl") == [{"step": 7, "MRR": 0.5}]
  return folder / "task-000007.jsonl"


def test_both_write_the_same_bytes(examples, chunk, tmp_path):
  from instructrec.pipelines import inferences

  path = tmp_path / "infer.jsonl"
  inferences.write(str(path), (list(SCORES), {}), chunk, "score", Words())
  found = lines(path)
  for line, row, scores in zip(found, ROWS, SCORES, strict=True):
    assert line == {
      "inputs": row,
      "score": scores[: len(row["candidate_ids"])].tolist(),
    }
  evaluated = logged(tmp_path, examples, {"score": SCORES.tolist()})
  assert evaluated.read_bytes() == path.read_bytes()


def test_texts_stand_as_predictions_with_what_the_model_says_of_them(
  examples, chunk, tmp_path
):
  from instructrec.pipelines import inferences

  tokens, aux = [[5, 6], [7]], {"scores": list(SCORES[:, 0])}
  path = tmp_path / "infer.jsonl"
  inferences.write(str(path), (tokens, aux), chunk, "predict_with_aux", Words())
  texts = ["5 6", "7"]
  for line, row, text, score in zip(
    lines(path), ROWS, texts, SCORES[:, 0], strict=True
  ):
    assert line == {
      "inputs": row,
      "prediction": text,
      "aux": {"scores": float(score)},
    }
  evaluated = logged(
    tmp_path,
    examples,
    {"prediction": texts, "output": ["raw", "raw"], "aux_value": aux},
  )
  assert evaluated.read_bytes() == path.read_bytes()


def test_long_lists_are_whole_and_numbers_of_any_type_are_numbers(
  tmp_path,
):
  """SeqIO's logger writes a summary of arrays of more than 32 elements."""
  import ml_dtypes
  import tensorflow as tf

  from instructrec.pipelines import inferences

  ids = [f"i{n}" for n in range(40)]
  scores = np.linspace(-4, 0, 40).astype(ml_dtypes.bfloat16)
  one = tf.data.Dataset.from_tensors({"candidate_ids": ids})
  path = tmp_path / "long.jsonl"
  inferences.write(str(path), ([scores], {}), one, "score", Words())
  (line,) = lines(path)
  assert line["inputs"]["candidate_ids"] == ids
  assert line["score"] == scores.astype(np.float32).tolist()


def test_the_number_of_lines_can_be_cut_and_none_written(examples, tmp_path):
  scores = {"score": SCORES.tolist()}
  (tmp_path / "one").mkdir()
  path = logged(tmp_path / "one", examples, scores, write_n_results=1)
  assert len(lines(path)) == 1
  (tmp_path / "none").mkdir()
  path = logged(tmp_path / "none", examples, scores, write_n_results=0)
  assert not path.exists()
