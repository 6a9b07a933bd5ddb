"""Planted differences are found, and nothing else."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest

from instructrec.models.checkpoint import diff, stacking, tensors

NORM = "encoder/encoder_norm/scale"
WO = "decoder/layers_10/mlp/wo/kernel"


@pytest.fixture(name="pair")
def pair_fixture(flan, random_arrays, as_checkpoint):
  """Two equal checkpoints over arrays of their own."""
  first, second = random_arrays(flan), random_arrays(flan)
  return as_checkpoint(first), as_checkpoint(second), second


def _kinds(found):
  return [(d.name, d.kind) for d in found]


def test_equal_checkpoints_do_not_differ(pair):
  assert diff.diff(*pair[:2]) == []


def test_one_number_is_found(pair):
  first, second, arrays = pair
  arrays[WO][3, 4] += 0.5
  (found,) = diff.diff(first, second)
  assert (found.name, found.kind) == (WO, "values")
  assert found.detail == "1 of 960 numbers, by at most 0.5"
  assert diff.diff(first, second, atol=0.6) == []
  assert len(diff.diff(first, second, atol=0.4)) == 1


def test_bits_count_and_not_numbers(pair):
  first, second, arrays = pair
  ours = first.params[NORM].read()
  ours[:3], arrays[NORM][:3] = (0.0, np.nan, np.inf), (-0.0, np.nan, np.inf)
  (found,) = diff.diff(first, second)
  assert found.detail == "1 of 24 numbers, by at most 0"
  assert diff.diff(first, second, atol=1e-9) == []


def test_a_nan_on_one_side_is_a_difference_of_any_size(pair):
  first, second, arrays = pair
  arrays[NORM][5] = np.nan
  (found,) = diff.diff(first, second, atol=1e9)
  assert found.detail == "1 of 24 numbers, by at most nan"


def test_names_shapes_and_types(pair):
  first, second, arrays = pair
  del first.params["decoder/decoder_norm/scale"]
  second.params.pop(WO)
  second.params[NORM] = tensors.from_array(arrays[NORM][:5], NORM)
  embedding = second.params["token_embedder/embedding"]
  second.params["token_embedder/embedding"] = embedding.astype(
    tensors.DTYPES["bfloat16"]
  )
  assert sorted(_kinds(diff.diff(first, second))) == [
    ("decoder/decoder_norm/scale", "only in second"),
    (WO, "only in first"),
    (NORM, "shape"),
    ("token_embedder/embedding", "dtype"),
  ]


def test_other_types_are_compared_by_number(pair):
  first, second, arrays = pair
  lower = {
    n: t.astype(tensors.DTYPES["bfloat16"]) for n, t in second.params.items()
  }
  second = dataclasses.replace(second, params=lower)
  # Bfloat16 keeps 8 bits: half a last place of numbers below 8.
  assert diff.diff(first, second, atol=2**-6) == []
  assert len(diff.diff(first, second, atol=1e-6)) == len(arrays)


@pytest.mark.parametrize("side", [0, 1])
def test_stacked_arrays_are_read_once(side, pair):
  sides = list(pair[:2])
  reads = []

  def counted(name, tensor):
    def read():
      reads.append(name)
      return tensor.read()

    return dataclasses.replace(tensor, read=read)

  stacked = {
    n: counted(n, t) for n, t in stacking.stack(sides[side].params).items()
  }
  sides[side] = dataclasses.replace(
    sides[side], params=stacking.unstack(stacked), stacked=True
  )
  assert diff.diff(*sides) == []
  assert sorted(reads) == sorted(stacked)


def test_a_negative_tolerance_is_refused(pair):
  with pytest.raises(ValueError, match=r"atol is -1; expected 0 or more"):
    diff.diff(*pair[:2], atol=-1)


def test_rounding_to_bfloat16_is_within_the_tolerance_of_the_page(pair):
  first, second, arrays = pair
  ours = first.params[WO].read()
  ours[:] = np.random.default_rng(0).lognormal(0, 4, ours.shape)
  arrays[WO][:] = ours.astype(ml_dtypes.bfloat16)
  assert np.abs(arrays[WO] - ours).max() > 1
  assert diff.diff(first, second, rtol=0.004) == []
  assert len(diff.diff(first, second, rtol=0.0001)) == 1
  arrays[WO][0, 0] = np.inf
  assert len(diff.diff(first, second, rtol=0.004)) == 1
  with pytest.raises(ValueError, match="rtol is -1"):
    diff.diff(first, second, rtol=-1)
