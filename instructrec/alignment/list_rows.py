"""What the arrays of a batch say of lists, as a compiled step reads them.

`list_arrays` makes them, on the host.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from instructrec.alignment import rewards
from instructrec.evaluation import control
from instructrec.models.generation import leaf_intervals, list_policy
from instructrec.models.objectives import objective

ARRAYS = (
  "list_sizes",
  "list_wishes",
  "list_has",
  "list_history",
  "list_targets",
  "list_teacher",
  "list_keys",
)
"""What batches say of lists; see `batches.BatchStream.batch`."""


def requests(arrays: objective.Arrays) -> list_policy.ListRequests:
  """What rows ask of lists while they are written."""
  return list_policy.ListRequests(
    lengths=arrays["list_sizes"],
    conditions=leaf_intervals.Conditions(excluded=arrays["list_history"]),
  )


def keys(arrays: objective.Arrays) -> PRNGKeyArray:
  """The key of each row's draws [batch], from the bits in a batch."""
  bits = jax.lax.bitcast_convert_type(arrays["list_keys"], jnp.uint32)
  # Whichever generator a run has its dropout from: of many keys, those of TPUs
  # (`rbg`) take the first alone.
  return jax.random.wrap_key_data(bits, impl="threefry2x32")


def wish(arrays: objective.Arrays) -> control.Wish:
  """The wish of each row."""
  return control.Wish(*jnp.moveaxis(arrays["list_wishes"], 1, 0))


def asked(arrays: objective.Arrays) -> rewards.Asked:
  """What rows ask, for all lists of each."""
  return rewards.Asked(
    k=arrays["list_sizes"][:, None],
    target=places(arrays["list_targets"])[:, None],
    history=places(arrays["list_history"])[:, None],
    wish=control.Wish(*(part[:, None] for part in wish(arrays))),
  )


def places(numbers: Int[Array, "*dims"]) -> Int[Array, "*dims"]:
  """Items as rewards count them, from 0; -1 for none."""
  return numbers - 1


def ranks(
  items: Int[Array, "batch lists places"], teacher: Int[Array, "batch best"]
) -> Int[Array, "batch lists places"]:
  """Place of each item in the teacher's ranking, from 0.

  Items that are not among its best all have the place behind them.
  """
  best = places(teacher)[:, None, None]
  found = (items[..., None] == best) & (best >= 0)
  return jnp.where(found.any(-1), found.argmax(-1), teacher.shape[1])
