"""What a compiled program does on each device: FLOPs, memory, network.

Counted from its HLO, loops multiplied out. FLOPs are those of matrix products
and convolutions (TPUs run both as convolutions), two a multiply-add, counted
as XLA's own cost analysis does. Kernels written by hand are opaque to the
compiler: those that state their FLOPs and bytes (`pallas_call` with a
`cost_estimate`) are taken at their word.
"""

import dataclasses
import math
import re

from instructrec.preflight import hlo

_COLLECTIVES = (
  "all-gather",
  "all-reduce",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
)
# Name memory or order it; nothing moves.
_FREE = {
  "after-all",
  "bitcast",
  "call",
  "conditional",
  "constant",
  "get-tuple-element",
  "parameter",
  "partition-id",
  "replica-id",
  "tuple",
  "while",
}
_SLICES = {"dynamic-slice", "slice", "gather", "slice-start"}
_OPAQUE = re.compile(r"gemm|matmul|cublas|cudnn|onednn|conv|triton|tpu_custom")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
  """All collectives of a kind.

  Attributes:
    count: how many a step runs.
    sent_bytes: what a device sends for them at least, in bytes: for n devices
      a ring passes (n - 1) / n of the whole array, twice for an all-reduce.
  """

  count: float
  sent_bytes: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
  """What a step costs a device.

  Attributes:
    flops: of matrix products.
    hbm_bytes: read from and written to main memory.
    collectives: by kind.
    cycles: the TPU compiler's estimate for its computations one after the
      other, in clock cycles; 0 where it gives none, as for kernels written by
      hand.
    opaque: custom calls that may hold matrix products which are not in
      `flops`, with how often each runs.
    loops: whether anything runs more than once.
  """

  flops: float
  hbm_bytes: float
  collectives: dict[str, Collective]
  cycles: float
  opaque: dict[str, float]
  loops: bool

  @property
  def sent_bytes(self) -> float:
    """Bytes that a device sends to others."""
    return sum(c.sent_bytes for c in self.collectives.values())


def analyze(program: hlo.Program, num_devices: int) -> Cost:
  """Counts a program's work.

  Args:
    program: compiled for each of the devices.
    num_devices: how many run it together.

  Returns:
    The cost of running it once, on one device.
  """
  flops, hbm_bytes, cycles = 0.0, 0.0, 0.0
  loops = False
  opaque: dict[str, float] = {}
  collectives = _Collectives(num_devices)
  for run in program.runs():
    computation = run.computation
    loops = loops or run.times > 1
    for instruction in computation.instructions.values():
      if instruction.opcode in ("convolution", "dot"):
        flops += run.times * _matmul_flops(computation, instruction)
      elif instruction.opcode == "custom-call":
        target = re.search(
          r'custom_call_target="([^"]*)"', instruction.attributes
        )
        stated = _stated(instruction)
        if stated:
          flops += run.times * stated["flops"]
          arrays = [
            *_operand_shapes(computation, instruction),
            *instruction.shapes,
          ]
          on_chip = sum(x.nbytes for x in arrays) - _hbm(arrays)
          hbm_bytes += run.times * max(0, stated["bytes_accessed"] - on_chip)
        elif target and _OPAQUE.search(target[1]):
          opaque[target[1]] = opaque.get(target[1], 0.0) + run.times
      collectives.add(run, instruction)
      if not run.fused:
        hbm_bytes += run.times * _hbm_bytes(program, computation, instruction)
        estimate = re.search(
          r'"estimated_cycles":"(\d+)"', instruction.attributes
        )
        cycles += run.times * int(estimate[1]) if estimate else 0
  return Cost(
    flops=flops,
    hbm_bytes=hbm_bytes,
    collectives=collectives.by_kind(),
    cycles=cycles,
    opaque=opaque,
    loops=loops,
  )


def _stated(custom_call: hlo.Instruction) -> dict[str, int]:
  """What a kernel says of itself: FLOPs and bytes; empty where it does not."""
  match = re.search(r'"cost_estimate":\s*\{([^}]*)\}', custom_call.attributes)
  if match is None:
    return {}
  return {
    name: int(number)
    for name, number in re.findall(r'"(\w+)":\s*"?(\d+)', match[1])
  }


def _operand_shapes(
  computation: hlo.Computation, instruction: hlo.Instruction
) -> list[hlo.Shape]:
  return [
    shape
    for name in instruction.operands
    for shape in computation.instructions[name].shapes
  ]


def _matmul_flops(
  computation: hlo.Computation, instruction: hlo.Instruction
) -> float:
  left = _operand_shapes(computation, instruction)[0]
  (out,) = instruction.shapes
  if instruction.opcode == "dot":
    match = re.search(
      r"lhs_contracting_dims=\{([\d,]*)\}", instruction.attributes
    )
    axes = [int(a) for a in match[1].split(",") if a] if match else []
    contracted = math.prod(left.dims[axis] for axis in axes)
    return 2.0 * math.prod(out.dims) * contracted
  labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
  assert labels is not None
  lhs, _, result = labels.groups()
  pairs = 1
  for axis, window in enumerate(_windows(instruction.attributes)):
    name = str(axis)
    pairs *= _valid_pairs(
      left.dims[lhs.index(name)], out.dims[result.index(name)], **window
    )
  groups = _integer(instruction, "feature_group_count")
  batch_groups = _integer(instruction, "batch_group_count")
  return (
    2.0
    * (left.dims[lhs.index("f")] // groups)
    * out.dims[result.index("f")]
    * (left.dims[lhs.index("b")] // batch_groups)
    * pairs
  )


def _integer(instruction: hlo.Instruction, name: str) -> int:
  return int(instruction.attribute(name) or 1)


def _windows(attributes: str) -> list[dict[str, int]]:
  """The window of a convolution along each spatial axis."""
  match = re.search(r"window=\{([^}]*)\}", attributes)
  if match is None:
    return []
  fields = dict(part.split("=") for part in match[1].split())
  sizes = fields["size"].split("x")

  def along(name: str, default: str) -> list[str]:
    return fields[name].split("x") if name in fields else [default] * len(sizes)

  return [
    {
      "kernel": int(size),
      "stride": int(stride),
      "pad": int(pad.split("_")[0]),
      "left_dilation": int(left),
      "right_dilation": int(right),
    }
    for size, stride, pad, left, right in zip(
      sizes,
      along("stride", "1"),
      along("pad", "0_0"),
      along("lhs_dilate", "1"),
      along("rhs_dilate", "1"),
      strict=True,
    )
  ]


def _valid_pairs(
  size: int,
  out: int,
  *,
  kernel: int,
  stride: int,
  pad: int,
  left_dilation: int,
  right_dilation: int,
) -> int:
  """Pairs of output and kernel position that meet an input, not padding."""
  span = (size - 1) * left_dilation
  count = 0
  for position in range(out):
    for offset in range(kernel):
      at = position * stride + offset * right_dilation - pad
      count += 0 <= at <= span and at % left_dilation == 0
  return count


def _hbm(shapes: tuple[hlo.Shape, ...] | list[hlo.Shape]) -> float:
  return sum(shape.nbytes for shape in shapes if shape.space == 0)


def _hbm_bytes(
  program: hlo.Program,
  computation: hlo.Computation,
  instruction: hlo.Instruction,
) -> float:
  """Main memory that an instruction reads and writes, in bytes."""
  opcode = instruction.opcode
  if opcode in _FREE or opcode.endswith("-done") or opcode == "custom-call":
    return 0.0
  operands = _operand_shapes(computation, instruction)
  if opcode == "fusion":
    callee = instruction.attribute("calls")
    assert callee is not None
    return _fusion_bytes(program.computations[callee])
  if opcode in _SLICES:
    # A part of the first operand; an asynchronous one also names the whole.
    part = instruction.shapes[-1 if opcode != "slice-start" else 1]
    return part.nbytes * ((operands[0].space == 0) + (part.space == 0))
  if opcode == "dynamic-update-slice":
    return operands[1].nbytes * (1 + (operands[1].space == 0))
  if opcode.endswith("-start"):
    # (source and destination, in either order, and what waits on them)
    return _hbm(instruction.shapes[:2])
  return _hbm(operands) + _hbm(instruction.shapes)


def _fusion_bytes(fused: hlo.Computation) -> float:
  """Reads of the parameters and writes of the results of a fusion."""
  users: dict[str, list[hlo.Instruction]] = {}
  for instruction in fused.instructions.values():
    for name in instruction.operands:
      users.setdefault(name, []).append(instruction)

  def read(value: hlo.Instruction) -> float:
    """Bytes of `value` that are read, as a whole or in slices."""
    whole = sum(shape.nbytes for shape in value.shapes)
    total = 0.0
    for user in users.get(value.name, ()):
      if user.opcode == "bitcast":
        total += read(user)
      elif user.opcode in _SLICES and user.operands[0] == value.name:
        total += user.shapes[0].nbytes
      elif user.opcode == "dynamic-update-slice" and (
        user.operands[0] == value.name
      ):
        continue  # Written in place.
      elif user.opcode not in ("tuple", "custom-call", *_COLLECTIVES):
        total += whole
    return min(whole, total)

  def written(value: hlo.Instruction) -> float:
    if value.opcode == "tuple":
      return sum(written(fused.instructions[name]) for name in value.operands)
    if value.opcode == "bitcast":
      return written(fused.instructions[value.operands[0]])
    if value.opcode in ("parameter", "custom-call", *_COLLECTIVES):
      return 0.0  # Passed through, or what a collective has brought.
    if value.opcode == "dynamic-update-slice":
      return fused.instructions[value.operands[1]].shapes[0].nbytes
    return _hbm(value.shapes)

  parameters = [
    value
    for value in fused.instructions.values()
    if value.opcode == "parameter" and value.shapes
  ]
  return written(fused.root) + sum(
    read(value) for value in parameters if value.shapes[0].space == 0
  )


class _Collectives:
  """Adds up collectives, each asynchronous one once.

  The TPU compiler cuts an asynchronous collective into pieces and fuses them
  with the computations that it hides behind; all carry its channel.
  """

  def __init__(self, num_devices: int) -> None:
    self._num_devices = num_devices
    self._found: dict[tuple[str, str], tuple[float, float]] = {}

  def add(self, run: hlo.Run, instruction: hlo.Instruction) -> None:
    """Notes an instruction, if it is a collective."""
    kind = instruction.opcode.removesuffix("-start")
    if kind not in _COLLECTIVES:
      return
    size = sum(s.nbytes for s in _operand_shapes(run.computation, instruction))
    key = instruction.name
    if run.fused:
      key = instruction.attribute("channel_id") or key
    times, _ = self._found.get((kind, key), (run.times, 0.0))
    sent = size * _sent(kind, self._group_size(instruction.attributes))
    # Pieces may run in a loop inside that in which the collective starts.
    self._found[kind, key] = (min(times, run.times), sent)

  def by_kind(self) -> dict[str, Collective]:
    """Counts and bytes."""
    result: dict[str, Collective] = {}
    for (kind, _), (times, sent) in self._found.items():
      so_far = result.get(kind, Collective(count=0, sent_bytes=0.0))
      result[kind] = Collective(
        count=so_far.count + times,
        sent_bytes=so_far.sent_bytes + times * sent,
      )
    return result

  def _group_size(self, attributes: str) -> int:
    """Devices that take part together."""
    match = re.search(r"replica_groups=\{\{([\d,]+)\}", attributes)
    if match:
      return match[1].count(",") + 1
    match = re.search(r"replica_groups=\[\d+,(\d+)\]", attributes)
    if match:
      return int(match[1])
    match = re.search(
      r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", attributes
    )
    if match:
      sizes = dict(re.findall(r"'([^']*)'=(\d+)", match[1]))
      axes = re.findall(r"'([^']*)'", match[2])
      return math.prod(int(sizes[axis]) for axis in axes)
    return self._num_devices


def _sent(kind: str, group: int) -> float:
  """Bytes sent by a device, for each byte that it puts in."""
  if kind == "all-gather":
    return group - 1.0
  if kind == "all-reduce":
    return 2 * (group - 1) / group
  if kind == "collective-permute":
    return 1.0
  return (group - 1) / group
