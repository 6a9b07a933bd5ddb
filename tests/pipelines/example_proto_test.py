"""Records encoded without TensorFlow are TensorFlow's own examples."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.instructions import example_proto

pytestmark = pytest.mark.tf

_TEXT = st.text(max_size=20)


@dataclasses.dataclass(frozen=True)
class Row:
  words: str
  other: str
  some: tuple[str, ...]
  number: int
  share: float


def with_tensorflow(values):
  import tensorflow as tf

  def feature(value):
    if isinstance(value, int):
      return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    if isinstance(value, float):
      return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    texts = [value] if isinstance(value, str) else value
    return tf.train.Feature(
      bytes_list=tf.train.BytesList(value=[text.encode() for text in texts])
    )

  return tf.train.Example(
    features=tf.train.Features(
      feature={name: feature(value) for name, value in values.items()}
    )
  )


@settings(max_examples=100, derandomize=True, deadline=None)
@given(
  st.builds(
    Row,
    words=_TEXT,
    other=_TEXT,
    some=st.lists(_TEXT, max_size=4).map(tuple),
    number=st.integers(-(2**63), 2**63 - 1),
    share=st.floats(width=32, allow_nan=False),
  )
)
def test_the_bytes_are_tensorflows(row):
  import tensorflow as tf

  found = example_proto.encode(row)
  expected = with_tensorflow(dataclasses.asdict(row))
  assert tf.train.Example.FromString(found) == expected
  assert found == expected.SerializeToString(deterministic=True)


def test_fields_can_be_left_out():
  row = Row("a", "b", ("c",), -1, 0.5)
  found = example_proto.encode(row, omit=frozenset(("other", "some")))
  expected = with_tensorflow({"words": "a", "number": -1, "share": 0.5})
  assert found == expected.SerializeToString(deterministic=True)
