"""From logits to candidate scores, and what a batch must look like."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from instructrec.models.networks.reading import Reading
from instructrec.models.objectives import token_loss

NORMALIZATIONS = ("sum", "mean")

_PROMPTS = "encoder_input_tokens"
_TARGETS = (
  "decoder_input_tokens",
  "decoder_target_tokens",
  "decoder_loss_weights",
)
_NODE_KEYS = (
  "decoder_input_tokens",
  "decoder_positions",
  "decoder_subtree_ends",
)
LOGITS_ROWS = 1024
"""Rows of the vocabulary's size that are held at once."""


def check_normalization(normalization: str) -> None:
  """Raises ValueError unless `normalization` is among NORMALIZATIONS."""
  if normalization not in NORMALIZATIONS:
    raise ValueError(
      f"score_normalization is {normalization!r}; expected one of "
      f"{', '.join(NORMALIZATIONS)}"
    )


def is_tree(batch: Mapping[str, Any]) -> bool:
  """Whether the batch's decoder inputs are trees: see `protocol`."""
  return "decoder_target_nodes" in batch


def check_batch(
  batch: Mapping[str, Any], *, trees: bool = True, rows: bool = False
) -> dict[str, Array]:
  """Checks keys and shapes of a batch with targets.

  Args:
    batch: see `protocol`.
    trees: whether targets may be candidate trees.
    rows: whether targets may hold their prompts, without others beside them.

  Returns:
    Its arrays on the device; loss weights are float32.

  Raises:
    ValueError: naming the key that is missing or whose shape does not fit.
  """
  apart = _PROMPTS in batch or not rows
  required = (_PROMPTS, *_TARGETS) if apart else _TARGETS
  missing = [key for key in required if key not in batch]
  if missing:
    raise ValueError(
      f"the batch lacks {', '.join(missing)}; it has {', '.join(sorted(batch))}"
    )
  arrays = {key: jnp.asarray(value) for key, value in batch.items()}
  arrays["decoder_loss_weights"] = arrays["decoder_loss_weights"].astype(
    jnp.float32
  )
  if apart:
    _check_prompts(arrays, trees)
  else:
    _check_rows(arrays)
  targets = arrays["decoder_target_tokens"].shape
  inputs_key = (
    "decoder_target_nodes" if is_tree(arrays) else "decoder_input_tokens"
  )
  for key in (inputs_key, "decoder_loss_weights"):
    if arrays[key].shape != targets:
      raise ValueError(
        f"{key} has the shape {arrays[key].shape}; expected {targets}, that of "
        "decoder_target_tokens"
      )
  if len(targets) == 3 and "decoder_segment_ids" in arrays:
    raise ValueError(
      "the batch has decoder_segment_ids (packed rows) and targets of the "
      f"shape {targets}; candidate lists cannot be packed, build them with "
      "pack=False"
    )
  return arrays


def _check_prompts(arrays: Mapping[str, Array], trees: bool) -> None:
  """Checks prompts, and that there are targets for each."""
  for side in ("history", "choice"):
    _check_titles(arrays, side)
  inputs = arrays[_PROMPTS].shape
  targets = arrays["decoder_target_tokens"].shape
  if len(inputs) != 2:
    raise ValueError(
      f"encoder_input_tokens has the shape {inputs}; expected [batch, inputs]"
    )
  if is_tree(arrays):
    _check_tree(arrays, trees)
  elif len(targets) not in (2, 3) or targets[0] != inputs[0]:
    raise ValueError(
      f"decoder_target_tokens has the shape {targets}; expected "
      f"[{inputs[0]}, length] or [{inputs[0]}, candidates, length], as "
      f"encoder_input_tokens has {inputs[0]} rows"
    )


def _check_rows(arrays: Mapping[str, Array]) -> None:
  """Checks rows that hold prompt and answer: nothing goes beside them."""
  targets = arrays["decoder_target_tokens"].shape
  known = {*_TARGETS, "decoder_segment_ids", "decoder_positions"}
  if len(targets) != 2 or not set(arrays) <= known:
    raise ValueError(
      f"the batch has no {_PROMPTS}, and decoder_target_tokens of the shape "
      f"{targets} with {', '.join(sorted(set(arrays) - known)) or 'no more'}; "
      "expected rows [batch, length] that hold prompt and answer, or "
      f"{_PROMPTS}"
    )


def _check_titles(arrays: Mapping[str, Array], side: str) -> None:
  """Checks the titles of a side, if the batch has them."""
  tokens, items = (arrays.get(f"{side}_{name}") for name in ("tokens", "items"))
  if tokens is None and items is None:
    return
  rows = arrays["encoder_input_tokens"].shape[0]
  if (
    tokens is None
    or items is None
    or tokens.ndim != 3
    or tokens.shape[:2] != items.shape
    or items.shape[0] != rows
  ):
    found = {
      name: None if array is None else array.shape
      for name, array in ((f"{side}_tokens", tokens), (f"{side}_items", items))
    }
    raise ValueError(
      f"the batch has {found}; expected both, [{rows}, titles, length] and "
      f"[{rows}, titles]"
    )
  if "encoder_segment_ids" in arrays:
    raise ValueError(
      f"the batch has encoder_segment_ids (packed rows) and {side}_tokens; "
      "rows with titles cannot be packed, build them with pack=False"
    )


def _check_tree(arrays: Mapping[str, Array], allowed: bool) -> None:
  if not allowed:
    raise ValueError(
      "the batch has decoder_target_nodes: candidate trees are for "
      "score_batch; expected a batch of features.to_features"
    )
  missing = [key for key in _NODE_KEYS if key not in arrays]
  if missing:
    raise ValueError(
      f"the batch has decoder_target_nodes but lacks {', '.join(missing)}; "
      "candidate_tree.to_features makes them together"
    )
  found = {key: arrays[key].shape for key in _NODE_KEYS}
  shape = found["decoder_input_tokens"]
  if len(shape) != 2 or len(set(found.values())) != 1:
    raise ValueError(
      f"the trees' arrays have the shapes {found}; expected [batch, nodes]"
    )
  targets = arrays["decoder_target_tokens"].shape
  rows = arrays["encoder_input_tokens"].shape[0]
  if len(targets) != 3 or targets[0] != shape[0] or shape[0] % rows:
    raise ValueError(
      f"decoder_target_tokens has the shape {targets}; expected "
      f"[{shape[0]}, candidates, length], one row a tree, and a multiple of "
      f"the {rows} rows of encoder_input_tokens"
    )


def of_reading(reading: Reading) -> Float[Array, "batch *candidates length"]:
  """`token_scores` of a batch's targets, or of its candidate trees."""
  arrays = reading.arrays
  targets = arrays["decoder_target_tokens"]
  weights = arrays["decoder_loss_weights"]
  if is_tree(arrays):
    return tree_token_scores(
      reading.logits,
      reading.tree_features(),
      arrays["decoder_target_nodes"],
      targets,
      weights,
    )
  features = reading.features(arrays["decoder_input_tokens"], targets)
  return token_scores(reading.logits(features), targets, weights)


def token_scores(
  logits: Float[Array, "*dims vocab"],
  targets: Int[Array, "*dims"],
  weights: Float[Array, "*dims"],
) -> Float[Array, "*dims"]:
  """Log-probability of each target token in nats, times its weight.

  z-loss and label smoothing serve training and take no part.
  """
  return -token_loss.cross_entropy(logits, targets).total * weights


def tree_token_scores(
  logits_fn: Callable[[Array], Array],
  hidden: Float[Array, "batch nodes embed"],
  nodes: Int[Array, "batch candidates length"],
  targets: Int[Array, "batch candidates length"],
  weights: Float[Array, "batch candidates length"],
) -> Float[Array, "batch candidates length"]:
  """`token_scores` of targets that are predicted at the nodes of a tree.

  Logits exist for about a thousand nodes at a time.

  Args:
    logits_fn: from hidden states to logits.
    hidden: the decoder's result at each node.
    nodes: where each target is predicted.
    targets: token ids.
    weights: factors of the scores.

  Returns:
    Log-probabilities in nats, times the weights.
  """
  batch, num_nodes, _ = hidden.shape
  chunks = -(-batch * num_nodes // LOGITS_ROWS)
  size = -(-num_nodes // chunks)
  chunks = -(-num_nodes // size)
  padding = chunks * size - num_nodes
  hidden = jnp.pad(hidden, ((0, 0), (0, padding), (0, 0)))

  # A request reads its own rows alone, which a mesh must be able to see.
  @jax.vmap
  def log_probs_at(logits: Array, local: Array, targets: Array) -> Array:
    return logits[local, targets] - jax.nn.logsumexp(logits, axis=-1)[local]

  def add(total: Array, chunk: Array) -> tuple[Array, None]:
    part = jax.lax.dynamic_slice_in_dim(hidden, chunk * size, size, axis=1)
    local = nodes - chunk * size
    inside = (local >= 0) & (local < size)
    local = jnp.clip(local, 0, size - 1)
    log_probs = log_probs_at(logits_fn(part), local, targets)
    return total + jnp.where(inside, log_probs, 0.0), None

  zeros = jnp.zeros(targets.shape, jnp.float32)
  if chunks == 1:
    log_probs, _ = add(zeros, jnp.zeros((), jnp.int32))
  else:
    log_probs, _ = jax.lax.scan(add, zeros, jnp.arange(chunks))
  return log_probs * weights


def candidate_scores(
  token_log_probs: Float[Array, "*dims length"],
  weights: Float[Array, "*dims length"],
  *,
  normalization: str = "sum",
) -> Float[Array, "*dims"]:
  """One score a candidate.

  Args:
    token_log_probs: weighted log-probabilities of tokens, in nats.
    weights: their weights; all zero marks a padded slot.
    normalization: "sum" adds over the tokens; "mean" divides that by the sum
      of the weights, so that long titles do not lose by their length alone.

  Returns:
    Scores in nats ("sum") or nats per token ("mean"); -inf for padded slots.
  """
  check_normalization(normalization)
  scores = jnp.sum(token_log_probs, axis=-1)
  if normalization == "mean":
    scores = scores / jnp.maximum(jnp.sum(weights, axis=-1), 1e-9)
  return jnp.where(jnp.any(weights != 0.0, axis=-1), scores, -jnp.inf)
