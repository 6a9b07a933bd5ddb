import dataclasses
import types

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from flax.linen import partitioning
from jax.sharding import PartitionSpec as P

from instructrec.training import mesh


def test_a_mesh_takes_all_devices():
  made = mesh.make_mesh(mesh.MeshConfig())
  assert dict(made.shape) == {"data": len(jax.devices()), "model": 1}


def test_a_mesh_that_does_not_fit_says_what_it_needs():
  with pytest.raises(ValueError, match=r"needs 35 devices, but this run has"):
    mesh.make_mesh(mesh.MeshConfig(data=5, model=7))


@pytest.mark.parametrize("sizes", [{"data": 0}, {"data": -2}, {"model": 0}])
def test_sizes_must_be_positive(sizes):
  with pytest.raises(ValueError, match="expected a positive number"):
    mesh.MeshConfig(**sizes)


@dataclasses.dataclass(frozen=True)
class Device:
  id: int
  process_index: int


def test_a_process_provides_the_rows_that_lie_on_its_devices(monkeypatch):
  # Two hosts of four chips on a 2 x 4 torus: their rows interleave.
  layout = [0, 0, 1, 1, 0, 0, 1, 1]
  slices = {
    Device(i, process): (slice(2 * i, 2 * i + 2),)
    for i, process in enumerate(layout)
  }
  sharding = types.SimpleNamespace(devices_indices_map=lambda shape: slices)
  monkeypatch.setattr(mesh, "batch_sharding", lambda _: sharding)
  assert mesh.process_rows(None, 16, 0).tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
  assert mesh.process_rows(None, 16, 1).tolist() == [
    *range(4, 8),
    *range(12, 16),
  ]


def test_arrays_of_any_rank_and_type_are_split_by_rows():
  device_mesh = mesh.make_mesh(mesh.MeshConfig())
  rows = 4 * device_mesh.shape["data"]
  own = {
    "history_items": np.arange(rows * 3, dtype=np.int32).reshape(rows, 3),
    "history_tokens": np.zeros((rows, 3, 5), np.int32),
    "choice_logs": np.ones((rows, 7, 3), np.float32),
  }
  whole = mesh.global_batch(device_mesh, own, rows)
  for name, array in own.items():
    assert whole[name].dtype == array.dtype
    assert whole[name].sharding == mesh.batch_sharding(device_mesh)
    np.testing.assert_array_equal(whole[name], array)


def test_only_tokens_of_texts_are_split_along_their_length():
  device_mesh = types.SimpleNamespace(shape={"model": 4})
  config = mesh.MeshConfig(model=4, shard_sequence=True)
  shapes = {"encoder_input_tokens": (8, 16), "history_logs": (8, 3, 3)}
  mesh.check_lengths(shapes, device_mesh, config)
  with pytest.raises(ValueError, match="encoder_input_tokens has the length 6"):
    mesh.check_lengths({"encoder_input_tokens": (8, 6)}, device_mesh, config)


def test_one_process_provides_every_row():
  made = mesh.make_mesh(mesh.MeshConfig())
  assert mesh.process_rows(made, 8, 0).tolist() == list(range(8))


def shape(*dims):
  return jax.ShapeDtypeStruct(dims, "float32")


def test_optimizer_state_lies_as_the_parameter_it_belongs_to():
  device_mesh = mesh.make_mesh(mesh.MeshConfig())
  params = {"mlp": {"wi": shape(256, 512)}, "square": {"w": shape(256, 256)}}
  specs = {"mlp": {"wi": P("data", "model")}, "square": {"w": P(None, "model")}}
  shardings = jax.tree.map(
    lambda spec: jax.sharding.NamedSharding(device_mesh, spec),
    specs,
    is_leaf=lambda x: isinstance(x, P),
  )
  adam = jax.eval_shape(optax.adam(1e-3).init, params)
  found = mesh.optimizer_shardings(adam, params, shardings, device_mesh)
  assert found[0].mu["mlp"]["wi"].spec == P("data", "model")
  assert found[0].nu["square"]["w"].spec == P(None, "model")
  assert found[0].count.spec == P()

  factored = jax.eval_shape(optax.adafactor(1e-3).init, params)
  found = mesh.optimizer_shardings(factored, params, shardings, device_mesh)
  specs_by_shape = {
    leaf.shape: sharding.spec
    for leaf, sharding in zip(
      jax.tree.leaves(factored), jax.tree.leaves(found), strict=True
    )
  }
  assert specs_by_shape[(512,)] == P("model")
  # Either axis of a square could be the one that is left: a copy is safe.
  assert specs_by_shape[(256,)] in (P("data"), P())


def test_a_length_that_does_not_divide_is_named():
  made = jax.sharding.AbstractMesh((2, 4), ("data", "model"))
  lengths = {"encoder_input_tokens": (8, 16), "decoder_input_tokens": (8, 6)}
  split = mesh.MeshConfig(model=4, shard_sequence=True)
  with pytest.raises(
    ValueError, match=r"decoder_input_tokens has the length 6.* multiples of 4"
  ):
    mesh.check_lengths(lengths, made, split)
  mesh.check_lengths({"encoder_input_tokens": (8, 16)}, made, split)
  mesh.check_lengths(lengths, made, mesh.MeshConfig(model=4))


def test_a_parameter_that_does_not_divide_is_named():
  config = mesh.MeshConfig(model=4)
  made = jax.sharding.AbstractMesh((2, 4), ("data", "model"))
  axes = {"wi": {"kernel_axes": partitioning.AxisMetadata(
    names=("embed", "mlp")
  )}}  # fmt: skip
  found = mesh.parameter_shardings(axes, made, config)
  mesh.check_divisible({"wi": {"kernel": shape(3, 8)}}, found)
  with pytest.raises(ValueError, match=r"wi/kernel has .* 6 does not divide"):
    mesh.check_divisible({"wi": {"kernel": shape(3, 6)}}, found)


@pytest.mark.parametrize(
  ("shard", "kernel"),
  [(False, P(None, None, "model")), (True, P(None, "data", "model"))],
)
def test_parameters_go_over_data_if_asked_and_activations_never_twice(
  shard, kernel
):
  config = mesh.MeshConfig(shard_parameters=shard)
  axes = {"wi": {"kernel_axes": partitioning.AxisMetadata(
    names=("layers", "embed", "mlp")
  )}}  # fmt: skip
  found = mesh.parameter_shardings(axes, mesh.make_mesh(config), config)
  assert found["wi"]["kernel"].spec == kernel
  activation = nn.logical_to_mesh_axes(
    ("batch", "length", "embed"), config.rules
  )
  assert activation == P("data", None, None)
