"""Targets that the network writes itself, token by token."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from instructrec.models import protocol
from instructrec.models.generation import search
from instructrec.models.networks import network
from instructrec.models.networks.reading import Reading


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationConfig:
  """How targets are searched for.

  Attributes:
    num_beams: 1 is greedy.
    num_decodes: sequences asked for, at most num_beams.
    length_penalty_alpha: exponent of the length penalty of beams.
    max_decode_length: most tokens generated; None takes the length of the
      batch's decoder_input_tokens.
    eos_id: the end token.
  """

  num_beams: int = 1
  num_decodes: int = 1
  length_penalty_alpha: float = search.DEFAULT_ALPHA
  max_decode_length: int | None = None
  eos_id: int = 1

  def __post_init__(self) -> None:
    """Checks the numbers.

    Raises:
      ValueError: where one is out of its range.
    """
    if not 1 <= self.num_decodes <= self.num_beams:
      raise ValueError(
        f"num_decodes is {self.num_decodes} with num_beams {self.num_beams}; "
        "expected 1 <= num_decodes <= num_beams"
      )
    if self.max_decode_length is not None and self.max_decode_length < 1:
      raise ValueError(
        f"max_decode_length is {self.max_decode_length}; expected at least 1, "
        "or None for the length of decoder_input_tokens"
      )
    if self.length_penalty_alpha < 0.0:
      raise ValueError(
        f"length_penalty_alpha is {self.length_penalty_alpha!r}; expected 0 "
        "or more"
      )

  def max_length(self, batch: protocol.Batch) -> int:
    """Most tokens generated for a batch.

    Args:
      batch: see `protocol`.

    Returns:
      The length.

    Raises:
      ValueError: where neither the settings nor the batch has one.
    """
    if self.max_decode_length is not None:
      return self.max_decode_length
    if "decoder_input_tokens" not in batch:
      raise ValueError(
        "no length to decode to: the batch has no 'decoder_input_tokens' and "
        "the model was given no max_decode_length"
      )
    return batch["decoder_input_tokens"].shape[-1]


def generate(
  module: network.Network,
  params: protocol.Params,
  batch: protocol.Batch,
  config: GenerationConfig,
) -> search.Decodes:
  """Searches for the likeliest targets of each prompt.

  Args:
    module: the network.
    params: its parameters.
    batch: needs encoder_input_tokens, unpacked, and history_* where histories
      are read item by item.
    config: how to search.

  Returns:
    `num_beams` decodes a row, best first.

  Raises:
    ValueError: where there is no length to decode to, or no prompt.
  """
  max_length = config.max_length(batch)
  reading = Reading(module, params, jax.tree.map(jnp.asarray, dict(batch)))
  memory, cache = reading.start_decoding(
    sequences_per_prompt=config.num_beams, max_length=max_length
  )
  return search.beam_search(
    functools.partial(reading.decode_step, memory=memory),
    cache,
    batch_size=len(batch["encoder_input_tokens"]),
    num_beams=config.num_beams,
    max_length=max_length,
    eos_id=config.eos_id,
    alpha=config.length_penalty_alpha,
  )
