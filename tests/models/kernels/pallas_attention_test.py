"""The TPU kernel beside `attention.dot_product_attention`, interpreted."""

import dataclasses
import functools
import importlib.util
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from instructrec.models.kernels import pallas_attention, pallas_plan
from instructrec.models.networks import attention, keys_values
from instructrec.preflight import chips
from instructrec.training import mesh as mesh_lib


@dataclasses.dataclass(frozen=True)
class Case:
  """Shapes, what may be seen, and how many rows the bias has."""

  mask: str
  bias_rows: int = 1
  batch: int = 2
  queries: int = 24
  keys: int = 24
  heads: int = 2
  head_dim: int = 6
  dtype: str = "float32"

  def arrays(self):
    """Query, keys, values, bias."""
    rng = np.random.default_rng(0)

    def normal(*shape):
      return jnp.asarray(rng.normal(size=shape), self.dtype)

    keys = (self.batch, self.keys, self.heads, self.head_dim)
    bias = (self.bias_rows, self.heads, self.queries, self.keys)
    query = normal(self.batch, self.queries, self.heads, self.head_dim)
    return (
      query / self.head_dim**0.5,  # As T5's initialiser sees to.
      normal(*keys),
      normal(*keys),
      normal(*bias) if self.bias_rows else None,
    )

  def seen(self):
    """The mask."""
    query = np.arange(self.queries)[:, None]
    key = np.arange(self.keys)
    row = np.arange(self.batch)[:, None, None, None]
    if self.mask == "all":
      return jnp.ones((1, 1, 1, self.keys), bool)
    if self.mask == "causal":
      return jnp.asarray(key <= query)[None, None]
    if self.mask == "padded keys":
      return jnp.asarray(key < self.keys - 3 * row)
    if self.mask == "packed":
      # Examples of a third of the queries and keys; the last tokens are
      # padding that no query sees, and the queries there see nothing.
      asking, asked = 3 * query // self.queries, 3 * key // self.keys
      return jnp.asarray((asking == asked) & (key < self.keys - 2 - row))
    assert self.mask == "no key for some queries"
    return jnp.asarray((query > row) & (key < 5))


CASES = {
  "everything": Case("all"),
  "causal": Case("causal"),
  "padded": Case("padded keys"),
  "packed": Case("packed", queries=40, keys=40),
  "queries without keys": Case("no key for some queries"),
  "across": Case("packed", bias_rows=0, queries=40, keys=24),
  "across, padded": Case("padded keys", bias_rows=0, queries=9, keys=130),
  "a bias for each row": Case("causal", bias_rows=2),
  "one query": Case("padded keys", queries=1, keys=17),
  "two blocks of heads": Case("packed", heads=4, head_dim=64),
  "wide heads": Case("causal", heads=2, head_dim=128),
  "one row": Case("packed", batch=1),
}


def reference(query, keys, values, bias, *, mask):
  return attention.dot_product_attention(
    query,
    keys_values.KeysValues(keys, values),
    mask,
    bias,
    dtype=query.dtype,
    float32_logits=True,
    dropout=nn.Dropout(0.0).bind({}),
    deterministic=True,
  )


def kernel(query, keys, values, bias, *, mask):
  return pallas_attention.dot_product_attention(
    query,
    keys,
    values,
    mask,
    bias,
    masked_logit=attention.MASKED_LOGIT,
    interpret=True,
  )


def outcome(function, case):
  """What comes out, and the gradients of what goes in."""
  query, keys, values, bias = case.arrays()

  def loss(query, keys, values, bias):
    y = function(query, keys, values, bias, mask=case.seen())
    return jnp.sum(jnp.sin(y.astype(jnp.float32))), y

  wanted = (0, 1, 2) if bias is None else (0, 1, 2, 3)
  (_, y), gradients = jax.jit(jax.value_and_grad(loss, wanted, has_aux=True))(
    query, keys, values, bias
  )
  return y, *gradients


def assert_equal(found, expected, atol=1e-5):
  for one, other in zip(found, expected, strict=True):
    assert one.dtype == other.dtype
    np.testing.assert_allclose(
      np.asarray(one, np.float32), np.asarray(other, np.float32), atol=atol
    )


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_formula(name):
  case = CASES[name]
  assert_equal(outcome(kernel, case), outcome(reference, case))


@pytest.mark.parametrize("name", ["packed", "across", "a bias for each row"])
def test_several_blocks_of_queries_add_up(name, monkeypatch):
  # 128 queries a block: 120 of the last block's stand for none.
  case = dataclasses.replace(CASES[name], queries=136)
  monkeypatch.setattr(
    pallas_plan, "_MOST_BYTES", case.heads * case.keys * 4 * 129
  )
  assert_equal(outcome(kernel, case), outcome(reference, case))


def test_bfloat16_is_as_near_as_bfloat16_is():
  case = Case("packed", queries=40, keys=40, heads=2, head_dim=64)
  exact = outcome(reference, case)
  narrow = dataclasses.replace(case, dtype="bfloat16")
  found = outcome(kernel, narrow)
  for one, other, expected in zip(
    found, outcome(reference, narrow), exact, strict=True
  ):
    assert one.dtype == jnp.bfloat16
    scale = np.abs(expected).max()
    error, allowed = (
      np.abs(np.asarray(x, np.float32) - expected).max() / scale
      for x in (one, other)
    )
    assert error < max(2 * allowed, 0.02)


def test_too_many_keys_are_refused():
  case = Case("all", keys=2**15, queries=64, heads=2, head_dim=64, bias_rows=0)
  with pytest.raises(ValueError, match=r"there are 32768; .* up to 1024"):
    jax.eval_shape(functools.partial(outcome, kernel, case))


def test_other_platforms_are_refused_when_they_are_compiled_for():
  case = Case("all")
  attend = functools.partial(
    pallas_attention.dot_product_attention,
    mask=case.seen(),
    masked_logit=attention.MASKED_LOGIT,
  )
  query, keys, values, bias = case.arrays()
  traced = jax.jit(attend).trace(query, keys, values, bias=bias)
  with pytest.raises(ValueError, match=r"compiled for cpu; set .* 'einsum'"):
    traced.lower(lowering_platforms=("cpu",))
  with pytest.raises(ValueError, match="compiled for cuda"):
    traced.lower(lowering_platforms=("cuda",))
  assert "attention_forward" in traced.lower(
    lowering_platforms=("tpu",)
  ).as_text(debug_info=True)


def compare_on_a_mesh(data, model):
  """Runs in a process of its own, with data x model devices."""
  config = mesh_lib.MeshConfig(data=data, model=model)
  mesh = mesh_lib.make_mesh(config)
  for case in (
    Case("packed", batch=4, heads=4),
    Case("causal", batch=4, heads=4, bias_rows=4),
    # Three rows and heads divide over nothing: every device has them all.
    Case("packed", batch=3, heads=3),
  ):
    expected = outcome(reference, case)
    with mesh_lib.use(mesh, config):
      assert_equal(outcome(kernel, case), expected)
  with mesh_lib.use(mesh, config):
    case = Case("packed", batch=4, heads=4)
    place = functools.partial(
      jax.device_put,
      device=jax.sharding.NamedSharding(
        mesh, jax.sharding.PartitionSpec("data", None, "model")
      ),
    )
    query, keys, values, bias = case.arrays()
    forward = functools.partial(kernel, mask=case.seen())
    text = (
      jax.jit(forward)
      .lower(*map(place, (query, keys, values)), bias)
      .compile()
      .as_text()
    )
    assert "all-gather" not in text


@pytest.mark.parametrize("shape", ["2x2", "4x1"])
def test_a_mesh_changes_nothing_and_gathers_nothing(shape):
  data, model = map(int, shape.split("x"))
  subprocess.run(
    [sys.executable, __file__, str(data), str(model)],
    env=os.environ
    | {
      "JAX_PLATFORMS": "cpu",
      "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} "
      f"--xla_force_host_platform_device_count={data * model}",
    },
    check=True,
    timeout=300,
  )


COMPILED = [
  Case("packed", queries=512, keys=512, heads=4, head_dim=64),
  Case("packed", queries=128, keys=512, heads=4, head_dim=64, bias_rows=0),
  Case("all", queries=512, keys=1024, heads=4, head_dim=64),
  Case("causal", queries=128, keys=128, heads=1, head_dim=64),
  Case("padded keys", queries=1100, keys=1024, heads=2, head_dim=128),
  Case("packed", queries=40, keys=24, heads=3, head_dim=20),
  Case("padded keys", queries=1, keys=17, heads=12, head_dim=64),
]
NARROW = [
  *(dataclasses.replace(case, dtype="bfloat16") for case in COMPILED),
  # As many keys as there may be.
  Case(
    "packed", queries=512, keys=2048, heads=2, head_dim=64, dtype="bfloat16"
  ),
]


@pytest.mark.slow
@pytest.mark.parametrize("chip", ["v4-8", "v5e-1", "v6e-1"])
@pytest.mark.parametrize("case", COMPILED + NARROW, ids=str)
def test_the_tpu_compiler_takes_it(chip, case):
  if importlib.util.find_spec("libtpu") is None:
    pytest.skip("libtpu is not installed: pip install 'instructrec[tpu]'")
  device = chips.parse(chip).devices()[0]
  sharding = jax.sharding.SingleDeviceSharding(device)

  def loss(*arrays):
    y = pallas_attention.dot_product_attention(
      *arrays[:3],
      case.seen(),
      arrays[3],
      masked_logit=attention.MASKED_LOGIT,
    )
    return jnp.sum(jnp.sin(y.astype(jnp.float32)))

  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
    case.arrays(),
  )
  wanted = (0, 1, 2) if case.bias_rows == 0 else (0, 1, 2, 3)
  compiled = jax.jit(jax.grad(loss, wanted)).lower(*shapes).compile()
  assert compiled.as_text().count("tpu_custom_call") >= 2


if __name__ == "__main__":
  compare_on_a_mesh(*map(int, sys.argv[1:]))
