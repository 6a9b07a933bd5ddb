"""Reads the text of a compiled program (optimised HLO).

Only what costs need: which computation runs which instructions, their shapes,
and how often each loop turns. XLA's own `cost_analysis` counts the body of a
loop once, so that it sees one layer of a network with scanned layers.
"""

import dataclasses
import math
import re
from collections.abc import Iterator

_BYTES = {
  "pred": 1,
  "s4": 0.5,
  "u4": 0.5,
  "s8": 1,
  "u8": 1,
  "s16": 2,
  "u16": 2,
  "bf16": 2,
  "f16": 2,
  "s32": 4,
  "u32": 4,
  "f32": 4,
  "s64": 8,
  "u64": 8,
  "f64": 8,
  "c64": 8,
  "c128": 16,
  "token": 0,
}
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\](?:\{([^}]*)\})?")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_COMMENT = re.compile(r"/\*.*?\*/")


@dataclasses.dataclass(frozen=True)
class Shape:
  """One array.

  Attributes:
    dtype: HLO's name of the element type.
    dims: sizes of the axes.
    space: memory space; 0 is the device's main memory (HBM on TPUs).
  """

  dtype: str
  dims: tuple[int, ...]
  space: int = 0

  @property
  def nbytes(self) -> float:
    """Bytes without padding; 8-bit floats have names of many kinds."""
    size = 1 if self.dtype.startswith("f8") else _BYTES[self.dtype]
    return math.prod(self.dims) * size


def shapes(text: str) -> tuple[Shape, ...]:
  """The arrays in a type, which may be a tuple of them."""
  found = []
  for dtype, dims, layout in _ARRAY.findall(text):
    space = re.search(r"S\((\d+)\)", layout)
    sizes = tuple(int(d.strip("<=")) for d in dims.split(",") if d)
    found.append(Shape(dtype, sizes, int(space[1]) if space else 0))
  return tuple(found)


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a computation.

  Attributes:
    name: unique in the program.
    opcode: such as "fusion".
    shapes: what it gives; several where it gives a tuple.
    operands: names of what it takes.
    argument: the text between its parentheses (a constant's value).
    attributes: the text after them.
    is_root: whether it is the result of its computation.
  """

  name: str
  opcode: str
  shapes: tuple[Shape, ...]
  operands: tuple[str, ...]
  argument: str
  attributes: str
  is_root: bool

  def attribute(self, name: str) -> str | None:
    """The word after `name=`, without a leading %; None where absent."""
    match = re.search(rf"\b{name}=%?([\w.\-]+)", self.attributes)
    return match and match[1]


@dataclasses.dataclass(frozen=True)
class Computation:
  """A function of the program; instructions by name, in their order."""

  name: str
  instructions: dict[str, Instruction]

  @property
  def root(self) -> Instruction:
    """The instruction that gives the result."""
    return next(i for i in self.instructions.values() if i.is_root)


def _closing(text: str, start: int) -> int:
  """Index of the parenthesis that closes the one at `start`."""
  depth = 0
  for index in range(start, len(text)):
    depth += (text[index] == "(") - (text[index] == ")")
    if depth == 0:
      return index
  raise ValueError(f"unbalanced parentheses in HLO: {text[:120]!r}")


def _instruction(line: str) -> Instruction | None:
  match = _INSTRUCTION.match(line)
  if match is None:
    return None
  text = _COMMENT.sub("", match[3])
  if text.startswith("("):
    end = _closing(text, 0) + 1
  else:
    end = text.index(" ")
  opening = text.index("(", end)
  closing = _closing(text, opening)
  argument = text[opening + 1 : closing]
  opcode = text[end:opening].strip()
  return Instruction(
    name=match[2],
    opcode=opcode,
    shapes=shapes(text[:end]),
    operands=()
    if opcode in ("constant", "parameter")
    else tuple(re.findall(r"%([\w.\-]+)", argument)),
    argument=argument,
    attributes=text[closing + 1 :],
    is_root=match[1] is not None,
  )


@dataclasses.dataclass(frozen=True)
class Run:
  """A computation as the program runs it.

  Attributes:
    computation: which.
    times: how often, all loops around it multiplied.
    fused: whether it is the inside of one instruction of its caller.
  """

  computation: Computation
  times: float
  fused: bool


@dataclasses.dataclass(frozen=True)
class Program:
  """A parsed program.

  Attributes:
    computations: by name.
    entry: name of the one that runs first.
  """

  computations: dict[str, Computation]
  entry: str

  @classmethod
  def parse(cls, text: str) -> "Program":
    """Reads what `jax.stages.Compiled.as_text` gives.

    Raises:
      ValueError: where there is no entry computation.
    """
    computations: dict[str, Computation] = {}
    entry, current = None, None
    for line in text.splitlines():
      header = _COMPUTATION.match(line)
      if header:
        current = Computation(header[2], {})
        computations[current.name] = current
        entry = current.name if header[1] else entry
      elif current is not None:
        instruction = _instruction(line)
        if instruction:
          current.instructions[instruction.name] = instruction
    if entry is None:
      raise ValueError("no ENTRY computation; expected the text of an HLO")
    return cls(computations, entry)

  def runs(self) -> Iterator[Run]:
    """Every computation in the order of calls, one entry a caller.

    Of the branches of a conditional that is the largest: which one a device
    takes is known when it runs, and costs are to be upper bounds.

    Raises:
      ValueError: for a loop whose number of turns cannot be read.
    """
    yield from self._runs(self.entry, 1.0, False, ())

  def _runs(
    self,
    name: str,
    times: float,
    fused: bool,
    loops: tuple[tuple[Computation, Instruction], ...],
  ) -> Iterator[Run]:
    computation = self.computations[name]
    yield Run(computation, times, fused)
    for instruction in computation.instructions.values():
      if instruction.opcode == "while":
        here = (*loops, (computation, instruction))
        turns = _turns(self, here)
        body = instruction.attribute("body")
        assert body is not None
        yield from self._runs(body, times * turns, False, here)
      elif instruction.opcode in ("fusion", "call", "async-start"):
        callee = instruction.attribute("calls")
        callee = callee or instruction.attribute("to_apply")
        assert callee is not None
        inside = fused or instruction.opcode == "fusion"
        yield from self._runs(callee, times, inside, loops)
      elif instruction.opcode == "conditional":
        branches = _branches(instruction)
        largest = max(branches, key=lambda branch: self._nbytes(branch, loops))
        yield from self._runs(largest, times, fused, loops)

  def _nbytes(
    self, name: str, loops: tuple[tuple[Computation, Instruction], ...]
  ) -> float:
    """Bytes of all that a computation makes, and what it calls."""
    return sum(
      run.times * shape.nbytes
      for run in self._runs(name, 1.0, False, loops)
      for instruction in run.computation.instructions.values()
      for shape in instruction.shapes
    )


def _branches(conditional: Instruction) -> list[str]:
  text = conditional.attributes
  several = re.search(r"branch_computations=\{([^}]*)\}", text)
  if several:
    return re.findall(r"%([\w.\-]+)", several[1])
  return re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", text)


def _turns(
  program: Program, loops: tuple[tuple[Computation, Instruction], ...]
) -> int:
  """How often the innermost of nested loops turns each time it is entered."""
  _, loop = loops[-1]
  known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.attributes)
  if known:
    return int(known[1])
  condition = loop.attribute("condition")
  body = loop.attribute("body")
  assert condition is not None
  assert body is not None
  inside = program.computations[condition]
  found = []
  for counter, limit in _limits(program, inside, loops):
    index = counter.attribute("index")
    if index is not None:
      step = _step(program, program.computations[body], int(index))
      start = _constant_element(program, loops, int(index))
      if step is not None and start is not None:
        found.append(max(0, math.ceil((limit - start) / step)))
  if found:
    return min(found)
  raise ValueError(
    f"cannot tell how often the loop {loop.name} turns; its condition ends in "
    f"{inside.root.opcode}({inside.root.argument})"
  )


def _limits(
  program: Program,
  inside: Computation,
  loops: tuple[tuple[Computation, Instruction], ...],
) -> Iterator[tuple[Instruction, int]]:
  """What a loop's condition holds below a number, and the number.

  A condition may ask for more: a loop that can end before its last turn is
  taken not to, for costs are to be upper bounds.
  """
  where, outer = _opened(program, inside, inside.root)
  tests = [where.root]
  while tests:
    test = tests.pop()
    if test.opcode == "and":
      tests += [where.instructions[name] for name in test.operands]
    if test.opcode != "compare" or test.attribute("direction") != "LT":
      continue
    counter, end = (outer.get(name, name) for name in test.operands)
    limit = _constant(
      program, inside if end in inside.instructions else where, end, loops
    )
    if counter in inside.instructions and limit is not None:
      yield inside.instructions[counter], limit


def _opened(
  program: Program, computation: Computation, value: Instruction
) -> tuple[Computation, dict[str, str]]:
  """Where a value is made, and what a fusion takes by the names inside it."""
  if value.opcode != "fusion":
    return computation, {}
  where = program.computations[value.attribute("calls") or ""]
  return where, {
    x.name: value.operands[int(x.argument)]
    for x in where.instructions.values()
    if x.opcode == "parameter"
  }


def _step(program: Program, body: Computation, index: int) -> int | None:
  """What a turn adds to element `index` of the loop's state."""
  source = body.instructions[body.root.operands[index]]
  while source.opcode in ("copy", "bitcast"):
    source = body.instructions[source.operands[0]]
  where, outer = _opened(program, body, source)
  source = where.root if outer else source
  if source.opcode != "add":
    return None
  found = {**where.instructions, **body.instructions}
  values = [found[outer.get(name, name)] for name in source.operands]
  constants = [int(v.argument) for v in values if v.opcode == "constant"]
  return constants[0] if len(constants) == 1 else None


def _constant(
  program: Program,
  computation: Computation,
  name: str,
  loops: tuple[tuple[Computation, Instruction], ...],
) -> int | None:
  """The value of a scalar that does not change; None where it cannot be seen.

  Args:
    program: the program.
    computation: where the scalar is; inside the last of `loops`, if any.
    name: of the scalar.
    loops: loops around it, outermost first.
  """
  instruction = computation.instructions[name]
  if instruction.opcode == "constant":
    return int(instruction.argument)
  if instruction.opcode in ("copy", "bitcast"):
    return _constant(program, computation, instruction.operands[0], loops)
  if instruction.opcode == "get-tuple-element":
    index = int(instruction.attribute("index") or 0)
    source = computation.instructions[instruction.operands[0]]
    if source.opcode == "parameter" and loops:
      # Only what no turn changes keeps the value it started with.
      if _changes(program, loops[-1][1], index):
        return None
      return _constant_element(program, loops, index)
    if source.opcode == "tuple":
      return _constant(program, computation, source.operands[index], loops)
  return None


def _changes(program: Program, loop: Instruction, index: int) -> bool:
  """Whether a turn may change element `index` of the loop's state."""
  name = loop.attribute("body")
  assert name is not None
  body = program.computations[name]
  value = body.instructions[body.root.operands[index]]
  return (
    value.opcode != "get-tuple-element"
    or body.instructions[value.operands[0]].opcode != "parameter"
    or value.attribute("index") != str(index)
  )


def _constant_element(
  program: Program,
  loops: tuple[tuple[Computation, Instruction], ...],
  index: int,
) -> int | None:
  """Element `index` of the state that the innermost loop starts with."""
  caller, loop = loops[-1]
  state = caller.instructions[loop.operands[0]]
  if state.opcode != "tuple":
    return None
  return _constant(program, caller, state.operands[index], loops[:-1])
