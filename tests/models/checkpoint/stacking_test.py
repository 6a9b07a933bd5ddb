"""Layers stacked and apart are the same numbers."""

import collections
import dataclasses

import numpy as np
import pytest

from instructrec.models.checkpoint import stacking, tensors


@pytest.fixture(name="params")
def params_fixture(flan, random_arrays, as_checkpoint):
  return as_checkpoint(random_arrays(flan)).params


def _read(params):
  return {name: t.read() for name, t in params.items()}


def test_layers_lie_in_order_along_the_first_axis(params):
  stacked = _read(stacking.stack(params))
  kernel = stacked["decoder/layers/mlp/wo/kernel"]
  assert kernel.shape[0] == 11
  for index, layer in enumerate(kernel):
    np.testing.assert_array_equal(
      layer, params[f"decoder/layers_{index}/mlp/wo/kernel"].read()
    )
  assert stacking.is_stacked(stacked)
  assert not stacking.is_stacked(params)


def test_there_and_back(params):
  back = stacking.unstack(stacking.stack(params))
  assert back.keys() == params.keys()
  for name, array in _read(back).items():
    np.testing.assert_array_equal(array, params[name].read(), name)


def test_each_stacked_array_is_read_once(params):
  reads = collections.Counter()

  def counted(name, tensor):
    def read():
      reads[name] += 1
      return tensor.read()

    return dataclasses.replace(tensor, read=read)

  stacked = stacking.stack(params)
  stacked = {name: counted(name, t) for name, t in stacked.items()}
  _read(stacking.unstack(stacked))
  assert reads == dict.fromkeys(stacked, 1)


def test_sources_say_which_layers(params):
  name = "decoder/layers/mlp/wo/kernel"
  stacked = stacking.stack(params)
  assert stacked[name].source == "decoder/layers_{0..10}/mlp/wo/kernel"
  stacked = {n: dataclasses.replace(t, source=n) for n, t in stacked.items()}
  apart = stacking.unstack(stacked)
  assert apart["decoder/layers_3/mlp/wo/kernel"].source == f"{name}[3]"
  assert stacking.stack(apart)[name].source == name


@pytest.mark.parametrize(
  ("name", "replacement", "message"),
  [
    ("decoder/layers_3/mlp/wo/kernel", None, r"found layers \[0, 1, 2, 4"),
    ("decoder/layers_3/mlp/wo/kernel", np.zeros((1, 2)), r"float64 \[1, 2\]"),
  ],
)
def test_layers_that_are_not_alike(name, replacement, message, params):
  params.pop(name)
  if replacement is not None:
    params[name] = tensors.from_array(replacement, name)
  with pytest.raises(tensors.CheckpointError, match=message):
    stacking.stack(params)
