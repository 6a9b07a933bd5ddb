"""Tensors are read late; names that do not fit are all named."""

import ml_dtypes
import numpy as np
import pytest

from instructrec.models.checkpoint import tensors


def _tensor(values, dtype="float32"):
  return tensors.from_array(np.asarray(values, tensors.DTYPES[dtype]), "x")


def test_nothing_is_read_before_it_is_asked_for():
  def read():
    raise AssertionError("read")

  tensor = tensors.Tensor((2, 3), np.dtype(np.float32), read, "x")
  changed = tensor.transposed().astype(tensors.DTYPES["bfloat16"])
  assert (changed.shape, changed.nbytes, tensor.nbytes) == ((3, 2), 12, 24)
  with pytest.raises(AssertionError):
    changed.read()


def test_types_change_to_the_nearest_even_number():
  # 2^-8 is half of bfloat16's last place at 1.
  numbers = [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20]
  read = _tensor(numbers).astype(tensors.DTYPES["bfloat16"]).read()
  assert read.dtype == ml_dtypes.bfloat16
  assert read.tolist() == [1.0, 1 + 2**-6, 1 + 2**-7]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_number_beyond_the_type_is_an_error(dtype):
  half = tensors.DTYPES["float16"]
  with pytest.raises(
    tensors.CheckpointError, match="x: 1 of 3 numbers are too large for float16"
  ):
    _tensor([1, -1e5, np.inf], dtype).astype(half).read()
  # What was infinite before stays so.
  assert np.isinf(_tensor([np.inf], dtype).astype(half).read()).all()


def test_all_that_does_not_fit_is_named():
  with pytest.raises(tensors.CheckpointError) as error:
    tensors.compare_names(
      {"mlp/w_0/kernel": (2, 3), "norm/scale": (4,)},
      {"mlp/wi_0/kernel": (2, 3), "norm/scale": (5,)},
      found_in="there",
      expected_by="a network",
    )
  assert str(error.value).splitlines() == [
    "there does not hold the parameters of a network",
    "  unknown (1):",
    "    mlp/w_0/kernel [2, 3] (nearest known: mlp/wi_0/kernel)",
    "  missing (1):",
    "    mlp/wi_0/kernel [2, 3]",
    "  of another shape (1):",
    "    norm/scale: found [4], expected [5]",
  ]


def test_a_long_list_is_cut():
  with pytest.raises(tensors.CheckpointError, match="and 5 more"):
    tensors.compare_names(
      {}, {str(i): () for i in range(25)}, found_in="a", expected_by="b"
    )


def test_what_fits_is_no_error():
  tensors.compare_names(
    {"a": (1,), "b": ()}, {"b": (), "a": (1,)}, found_in="a", expected_by="b"
  )
