"""Reading HLO: from JAX itself, and from text recorded of the TPU compiler."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from instructrec.models.objectives import objective, training_metrics
from instructrec.preflight import cost, hlo
from instructrec.training import train_step

# Cut from a step compiled for v5e:2x4: an inner loop whose limit is carried by
# the outer one, an asynchronous collective in pieces, TPU layouts.
RECORDED = pathlib.Path(__file__).with_name("recorded_v5e.hlo")


@pytest.fixture(scope="module")
def recorded():
  return hlo.Program.parse(RECORDED.read_text())


def test_loops_are_multiplied_out(recorded):
  times = {run.computation.name: run.times for run in recorded.runs()}
  # 24 turns of the outer loop; 0, 2 and no more of the inner one.
  assert times == {
    "main": 1,
    "outer": 24,
    "start": 24,
    "inner": 48,
    "piece": 48,
  }


def test_updates_of_one_draw_are_counted_though_they_may_end_early():
  def update(params, opt_state, rng):
    del rng
    moved = training_metrics.mean(params, jnp.ones_like(params, bool))
    return (params @ params, opt_state), {"moved": moved}

  @jax.jit
  def step(params):
    return train_step._repeated(
      update,
      (params, ()),
      objective.Repeats(4, "moved", 0.5),
      step=jnp.zeros((), jnp.int32),
      rng=jax.random.key(0),
    )

  text = step.lower(jnp.eye(8)).compile().as_text()
  assert max(run.times for run in hlo.Program.parse(text).runs()) == 4


def test_collectives_by_kind(recorded):
  found = cost.analyze(recorded, 16).collectives
  matrix = 2048 * 2048 * 2
  # In pieces, but started once a turn of the outer loop; a shard goes to the 7
  # others of its group.
  assert found["all-gather"] == cost.Collective(
    count=24, sent_bytes=24 * 7 * 256 * 2
  )
  assert found["collective-permute"] == cost.Collective(
    count=1, sent_bytes=matrix
  )
  assert found["reduce-scatter"].sent_bytes == matrix * 3 / 4
  assert found["all-reduce"].sent_bytes == 2 * matrix * 7 / 8
  assert set(found) == {
    "all-gather",
    "all-reduce",
    "collective-permute",
    "reduce-scatter",
  }


def test_only_main_memory_counts(recorded):
  matrix = 2048 * 2048 * 2
  # Read by the permutation, whose result lies in S(1); the reductions write.
  assert cost.analyze(recorded, 16).hbm_bytes == pytest.approx(
    matrix + matrix / 4 + matrix, rel=1e-3
  )


def test_cycles_are_those_of_all_turns(recorded):
  assert cost.analyze(recorded, 16).cycles == 48 * 100


def test_shapes_of_a_tuple():
  assert hlo.shapes("(f32[2,3]{1,0:T(8,128)S(1)}, pred[], s4[6])") == (
    hlo.Shape("f32", (2, 3), 1),
    hlo.Shape("pred", ()),
    hlo.Shape("s4", (6,)),
  )
  assert [s.nbytes for s in hlo.shapes("bf16[4] s4[6] f8e4m3fn[5] pred[]")] == [
    8,
    3,
    5,
    1,
  ]


def test_a_loop_that_nobody_can_count_is_an_error():
  def step(x):
    return jax.lax.while_loop(lambda x: x.sum() < 10.0, lambda x: x * 2, x)

  program = _program(step, jax.ShapeDtypeStruct((4,), jnp.float32))
  with pytest.raises(ValueError, match="cannot tell how often the loop"):
    list(program.runs())


# As lists are drawn: until none goes on, or a number of tokens is written.
DRAWN = """HloModule cut

%fused (a: pred[], b: s32[]) -> pred[] {
  %b = s32[] parameter(1)
  %seven = s32[] constant(7)
  %below = pred[] compare(%b, %seven), direction=LT
  %a = pred[] parameter(0)
  ROOT %both = pred[] and(%below, %a)
}

%wrapped (c: s32[], d: s32[]) -> s32[] {
  %c = s32[] parameter(0)
  %d = s32[] parameter(1)
  ROOT %sum = s32[] add(%c, %d)
}

%condition (s: (s32[], f32[4,4], pred[])) -> pred[] {
  %s = (s32[], f32[4,4]{1,0}, pred[]) parameter(0)
  %count = s32[] get-tuple-element(%s), index=0
  %going = pred[] get-tuple-element(%s), index=2
  %end = s32[] constant(7)
  %less = pred[] compare(%count, %end), direction=LT
  ROOT %root = CONDITION
}

%body (t: (s32[], f32[4,4], pred[])) -> (s32[], f32[4,4], pred[]) {
  %t = (s32[], f32[4,4]{1,0}, pred[]) parameter(0)
  %so_far = s32[] get-tuple-element(%t), index=0
  %one = s32[] constant(1)
  %more = s32[] COUNT
  %x = f32[4,4]{1,0} get-tuple-element(%t), index=1
  %dot = f32[4,4]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %still = pred[] get-tuple-element(%t), index=2
  ROOT %next = (s32[], f32[4,4]{1,0}, pred[]) tuple(%more, %dot, %still)
}

ENTRY %main (p: f32[4,4], q: pred[]) -> (s32[], f32[4,4], pred[]) {
  %p = f32[4,4]{1,0} parameter(0)
  %q = pred[] parameter(1)
  %none = s32[] constant(0)
  %first = (s32[], f32[4,4]{1,0}, pred[]) tuple(%none, %p, %q)
  ROOT %loop = (s32[], f32[4,4]{1,0}, pred[]) while(%first), condition=%condition, body=%body
}
"""  # noqa: E501


@pytest.mark.parametrize(
  "condition",
  [
    "pred[] and(%less, %going)",
    "pred[] fusion(%going, %count), kind=kLoop, calls=%fused",
  ],
)
@pytest.mark.parametrize(
  "count",
  [
    "add(%so_far, %one)",
    "fusion(%so_far, %one), kind=kLoop, calls=%wrapped",
  ],
)
def test_a_loop_that_may_end_early_counts_as_if_it_did_not(condition, count):
  text = DRAWN.replace("CONDITION", condition).replace("COUNT", count)
  found = cost.analyze(hlo.Program.parse(text), 1)
  assert found.loops
  assert found.flops == 7 * 2 * 4**3


def test_text_that_is_no_program():
  with pytest.raises(ValueError, match="no ENTRY"):
    hlo.Program.parse("nothing")


def _program(function, *args):
  return hlo.Program.parse(jax.jit(function).lower(*args).compile().as_text())


# As libtpu writes a kernel of Pallas, cut; %k says nothing.
KERNELS = """HloModule cut

ENTRY %main (p: bf16[2,512,256]) -> bf16[2,512,256] {
  %p = bf16[2,512,256]{2,1,0:T(8,128)(2,1)} parameter(0)
  %j = bf16[2,512,256]{2,1,0:T(8,128)(2,1)S(1)} custom-call(%p), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":{"body":"TUzvUi","cost_estimate":{"flops":"536870912","transcendentals":"2097152","bytes_accessed":"5242880","remote_bytes_transferred":"0"},"needs_layout_passes":true}}
  ROOT %k = bf16[2,512,256]{2,1,0} custom-call(%j), custom_call_target="tpu_custom_call", backend_config={"custom_call_config":{"body":"TUzvUi"}}
}
"""  # noqa: E501


def test_kernels_count_as_what_they_say():
  found = cost.analyze(hlo.Program.parse(KERNELS), 1)
  assert found.flops == 536870912
  # What lies on the chip when the kernel ends does not pass main memory.
  assert found.hbm_bytes == 5242880 - 2 * 512 * 256 * 2
  assert found.opaque == {"tpu_custom_call": 1}


@pytest.mark.parametrize("scanned", [False, True])
def test_flops_of_matrix_products(scanned):
  """Derived by hand, and the same however the loop is written."""

  def step(x, weights):
    if scanned:
      return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0]
    for w in weights:
      x = jnp.tanh(x @ w)
    return x

  found = cost.analyze(
    _program(
      step,
      jax.ShapeDtypeStruct((64, 32), jnp.float32),
      jax.ShapeDtypeStruct((5, 32, 32), jnp.float32),
    ),
    1,
  )
  assert found.flops == 5 * 2 * 64 * 32 * 32
  assert found.loops == scanned


@pytest.mark.parametrize(
  ("window", "padding", "dilation"),
  [((1, 1), "VALID", 1), ((2, 2), "SAME", 1), ((1, 1), [(1, 1), (1, 2)], 2)],
)
def test_flops_of_convolutions_are_those_of_xla(window, padding, dilation):
  def step(x, kernel):
    return jax.lax.conv_general_dilated(
      x,
      kernel,
      window,
      padding,
      lhs_dilation=(dilation, dilation),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

  compiled = (
    jax.jit(step)
    .lower(
      jax.ShapeDtypeStruct((2, 9, 9, 4), jnp.float32),
      jax.ShapeDtypeStruct((3, 3, 4, 8), jnp.float32),
    )
    .compile()
  )
  found = cost.analyze(hlo.Program.parse(compiled.as_text()), 1)
  assert found.flops == pytest.approx(compiled.cost_analysis()["flops"])


def test_a_slice_of_a_stack_is_read_alone():
  def step(x, weights):
    def layer(x, w):
      return x * w, None

    return jax.lax.scan(layer, x, weights)[0]

  found = cost.analyze(
    _program(
      step,
      jax.ShapeDtypeStruct((1024,), jnp.float32),
      jax.ShapeDtypeStruct((100, 1024), jnp.float32),
    ),
    1,
  )
  # Each turn reads x and its own row and writes x; 100 times the whole stack
  # would be 41 MB.
  assert 3 * 100 * 4096 <= found.hbm_bytes < 8 * 100 * 4096


def test_of_branches_the_largest_counts():
  def branch(size):
    # Products of products, which no backend leaves out.
    return lambda x: jnp.sum(x[:size] @ x[:size].T @ x[:size])

  program = jax.jit(
    lambda index, x: jax.lax.switch(index, [branch(8), branch(32)], x)
  )
  text = program.lower(0, jnp.ones((32, 16))).compile().as_text()
  found = cost.analyze(hlo.Program.parse(text), 1)
  if found.opaque:
    pytest.skip("this backend computes matrix products in custom calls")
  assert found.flops == 2 * 2 * 32 * 32 * 16
