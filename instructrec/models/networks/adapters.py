"""Adapters: small changes of matrices, trained while the network stays.

LoRA (Hu et al., 2021) adds to the product of a matrix W [in, out] that of two
narrow ones, of which B begins with zeros::

  y = x W + (alpha / rank) dropout(x) A B

So a network with fresh adapters is the network without them, to the last bit,
and W + (alpha / rank) A B in the place of W is the trained one without
adapters. A and B lie beside the matrix (`lora_a`, `lora_b`), with its logical
axes; whether layers are scanned is nothing to them.
"""

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util
from flax.linen import partitioning
from jaxtyping import Array, Float

from instructrec import limits

A, B = "lora_a", "lora_b"
# Of the axes that T5X's rules know the one that no rule splits or factors.
RANK_AXIS = "relpos_buckets"
VALUE_HEAD = "value_head"
"""What is trained beside adapters where a network has it."""
_LAYER = re.compile(r"\blayers_\d+\b")
# PEFT's: uniform up to the inverse root of the inputs.
_init_a = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


@dataclasses.dataclass(frozen=True)
class LoRA:
  """Which matrices get adapters, and what kind of.

  Attributes:
    targets: regular expression that is to match the whole path of a module,
      such as ".*/(query|value)". Layers of a stack are adapted alike and have
      no number: "decoder/layers/mlp/wo". "token_embedder" and
      "decoder/logits_dense" may be targets as well; their adapters are as
      large as those of many layers, and have no dropout.
    rank: columns of A and rows of B.
    alpha: the change is scaled by `alpha / rank`.
    dropout_rate: of what A reads, in training.
  """

  targets: str
  rank: int = 8
  alpha: float = 16.0
  dropout_rate: float = 0.0

  def __post_init__(self) -> None:
    """Checks the settings.

    Raises:
      ValueError: where one is out of its range.
    """
    try:
      re.compile(self.targets)
    except (re.error, TypeError) as error:
      self._refuse("targets", f"a regular expression ({error})")
    rank = self.rank
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
      self._refuse(
        "rank", "a positive whole number; no adapter is ADAPTER=None"
      )
    limits.WIDTH.check(rank, "LoRA.rank")
    if not self.alpha > 0:
      self._refuse("alpha", "a positive number")
    if not 0.0 <= self.dropout_rate < 1.0:
      self._refuse("dropout_rate", "a probability in [0, 1)")

  def _refuse(self, name: str, expected: str) -> None:
    raise ValueError(
      f"LoRA.{name} is {getattr(self, name)!r}; expected {expected}"
    )

  @property
  def scale(self) -> float:
    """What A B is multiplied with."""
    return self.alpha / self.rank

  def adapts(self, module: str) -> bool:
    """Whether the module at a path, joined by "/", has an adapter."""
    return re.fullmatch(self.targets, without_number(module)) is not None


@flax.struct.dataclass
class Change:
  """What an adapter adds to a matrix [in, out].

  Attributes:
    a: reads.
    b: writes; zeros at first.
    scale: of their product.
  """

  a: Float[Array, "inputs rank"]
  b: Float[Array, "rank outputs"]
  scale: float = flax.struct.field(pytree_node=False)

  def of(self, x: Float[Array, "*dims inputs"]) -> Float[Array, "..."]:
    """What is added to the product of `x`, of its type."""
    narrow = jnp.dot(x, self.a.astype(x.dtype)) * self.scale
    return jnp.dot(narrow, self.b.astype(x.dtype))

  def merged(
    self, matrix: Float[Array, "inputs outputs"]
  ) -> Float[Array, "inputs outputs"]:
    """The matrix with the change in it."""
    return matrix + self.scale * (self.a @ self.b)


def make(
  lora: LoRA | None,
  path: Sequence[str],
  shape: tuple[int, int],
  axes: tuple[str, str],
) -> Change | None:
  """The adapter of a module that is being set up, its parameters beside it.

  Args:
    lora: the network's adapters.
    path: of the module.
    shape: of its matrix.
    axes: logical names of its axes.

  Returns:
    The adapter; None where the module has none.
  """
  if lora is None or not lora.adapts("/".join(path)):
    return None

  def factor(name: str, init: Any, shape: Any, axes: Any) -> Array:
    return partitioning.param_with_axes(
      name, init, shape, jnp.float32, axes=axes
    )

  return Change(
    factor(A, _init_a, (shape[0], lora.rank), (axes[0], RANK_AXIS)),
    factor(
      B, nn.initializers.zeros, (lora.rank, shape[1]), (RANK_AXIS, axes[1])
    ),
    lora.scale,
  )


def without_number(module: str) -> str:
  """A module's path without the number of its layer."""
  return _LAYER.sub("layers", module)


def is_adapter(path: str, value: Any = None) -> bool:
  """Whether a parameter is one of an adapter.

  Args:
    path: its name, joined by "/".
    value: not read; T5X's traversals pass it.

  Returns:
    True for A and B.
  """
  del value
  return path.rpartition("/")[2] in (A, B)


def is_trained(path: str, value: Any = None) -> bool:
  """Whether a parameter is trained where a network has adapters.

  Args:
    path: its name, joined by "/".
    value: not read; T5X's traversals pass it.

  Returns:
    True for those of adapters and of the value head.
  """
  return is_adapter(path, value) or path.lstrip("/").startswith(
    f"{VALUE_HEAD}/"
  )


def split(params: Any) -> tuple[Any, Any]:
  """What is trained of parameters, and what is not.

  Args:
    params: a tree of anything.

  Returns:
    Two trees: adapters, with the value head, and the rest; of a network
    without adapters, all and nothing.
  """
  flat = traverse_util.flatten_dict(params, sep="/")
  if not any(map(is_adapter, flat)):
    return params, {}
  trained = {name: x for name, x in flat.items() if is_trained(name)}
  frozen = {name: x for name, x in flat.items() if name not in trained}
  return (
    traverse_util.unflatten_dict(trained, sep="/"),
    traverse_util.unflatten_dict(frozen, sep="/"),
  )


def joined(trained: Any, frozen: Any) -> Any:
  """The tree that `split` divided."""
  if not frozen:
    return trained
  flat = traverse_util.flatten_dict(frozen) | traverse_util.flatten_dict(
    trained
  )
  return traverse_util.unflatten_dict(flat)


def hold(params: Any) -> Any:
  """Parameters of which `split`'s first tree alone has a gradient."""
  trained, frozen = split(params)
  return joined(trained, jax.lax.stop_gradient(frozen))


def check(params: Mapping[str, Any], lora: LoRA | None) -> None:
  """Fails where adapters are asked for and none was made.

  Args:
    params: of the network.
    lora: its adapters.

  Raises:
    ValueError: naming the modules that are nearest to `targets`.
  """
  flat = traverse_util.flatten_dict(dict(params), sep="/")
  if lora is None or any(map(is_adapter, flat)):
    return
  known = {
    without_number(module)
    for module, _, name in (path.rpartition("/") for path in flat)
    if name in ("kernel", "embedding") and "title_matching" not in module
  }

  def nearness(module: str) -> float:
    # Some mean a module by its last name alone.
    names = (module, module.rpartition("/")[2])
    return max(
      difflib.SequenceMatcher(None, lora.targets, name).ratio()
      for name in names
    )

  near = sorted(sorted(known), key=nearness, reverse=True)[:3]
  raise ValueError(
    f"LoRA.targets is {lora.targets!r}, which matches none of the "
    f"{len(known)} modules whole; nearest: {', '.join(near)} (layers have no "
    "number, and a module's name no /kernel)"
  )


def in_words(params: Mapping[str, Any]) -> str:
  """How much of a network its adapters are, for people.

  Args:
    params: of the network, with adapters; arrays or shapes.

  Returns:
    A line; it names the tables that have adapters, whose size is theirs.
  """
  flat = traverse_util.flatten_dict(dict(params), sep="/")
  sizes = {name: x.size for name, x in flat.items() if is_adapter(name)}
  total, whole = sum(sizes.values()), sum(x.size for x in flat.values())
  tables: dict[str, int] = {}
  for name, size in sizes.items():
    module = name.rpartition("/")[0]
    if "/layers" not in module:
      tables[module] = tables.get(module, 0) + size
  said = "".join(
    f"; {size:,} of them adapt {module}" for module, size in tables.items()
  )
  return (
    f"adapters alone are trained: {total:,} of {whole:,} numbers "
    f"({total / whole:.2%}){said}"
  )
