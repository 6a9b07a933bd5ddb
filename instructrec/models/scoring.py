"""From logits to candidate scores, and what a batch must look like."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from instructrec.models import losses

NORMALIZATIONS = ("sum", "mean")

_REQUIRED = (
  "encoder_input_tokens",
  "decoder_input_tokens",
  "decoder_target_tokens",
  "decoder_loss_weights",
)


def check_normalization(normalization: str) -> None:
  """Raises ValueError unless `normalization` is among NORMALIZATIONS."""
  if normalization not in NORMALIZATIONS:
    raise ValueError(
      f"score_normalization is {normalization!r}; expected one of "
      f"{', '.join(NORMALIZATIONS)}"
    )


def check_batch(batch: Mapping[str, Any]) -> dict[str, Array]:
  """Checks keys and shapes of a batch with targets.

  Args:
    batch: see `protocol`.

  Returns:
    Its arrays on the device; loss weights are float32.

  Raises:
    ValueError: naming the key that is missing or whose shape does not fit.
  """
  missing = [key for key in _REQUIRED if key not in batch]
  if missing:
    raise ValueError(
      f"the batch lacks {', '.join(missing)}; it has {', '.join(sorted(batch))}"
    )
  arrays = {key: jnp.asarray(value) for key, value in batch.items()}
  arrays["decoder_loss_weights"] = arrays["decoder_loss_weights"].astype(
    jnp.float32
  )
  shapes = {key: arrays[key].shape for key in _REQUIRED}
  inputs, targets = (
    shapes["encoder_input_tokens"],
    shapes["decoder_target_tokens"],
  )
  if len(inputs) != 2:
    raise ValueError(
      f"encoder_input_tokens has the shape {inputs}; expected [batch, inputs]"
    )
  if len(targets) not in (2, 3) or targets[0] != inputs[0]:
    raise ValueError(
      f"decoder_target_tokens has the shape {targets}; expected "
      f"[{inputs[0]}, length] or [{inputs[0]}, candidates, length], as "
      f"encoder_input_tokens has {inputs[0]} rows"
    )
  for key in ("decoder_input_tokens", "decoder_loss_weights"):
    if shapes[key] != targets:
      raise ValueError(
        f"{key} has the shape {shapes[key]}; expected {targets}, that of "
        "decoder_target_tokens"
      )
  if len(targets) == 3 and "decoder_segment_ids" in arrays:
    raise ValueError(
      "the batch has decoder_segment_ids (packed rows) and targets of the "
      f"shape {targets}; candidate lists cannot be packed, build them with "
      "pack=False"
    )
  return arrays


def token_scores(
  logits: Float[Array, "*dims vocab"],
  targets: Int[Array, "*dims"],
  weights: Float[Array, "*dims"],
) -> Float[Array, "*dims"]:
  """Log-probability of each target token in nats, times its weight.

  z-loss and label smoothing serve training and take no part.
  """
  return -losses.cross_entropy(logits, targets).total * weights


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
