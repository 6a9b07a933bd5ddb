"""Targets that the network writes itself, token by token."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from instructrec.models import protocol
from instructrec.models.generation import search
from instructrec.models.networks import decoding_state, t5
from instructrec.models.objectives import objective


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
        "T5RankingModel was given no max_decode_length"
      )
    return batch["decoder_input_tokens"].shape[-1]


def generate(
  module: t5.T5,
  params: protocol.Params,
  batch: protocol.Batch,
  config: GenerationConfig,
) -> search.Decodes:
  """Searches for the likeliest targets of each input.

  Args:
    module: the network.
    params: its parameters.
    batch: needs encoder_input_tokens, unpacked, and history_* where histories
      are read item by item.
    config: how to search.

  Returns:
    `num_beams` decodes a row, best first.

  Raises:
    ValueError: where there is no length to decode to.
  """
  apply: Callable[..., Any] = functools.partial(
    module.apply, {"params": params}
  )
  tokens = jnp.asarray(batch["encoder_input_tokens"])
  history = objective.titles(
    {key: jnp.asarray(value) for key, value in batch.items()}, "history"
  )
  max_length = config.max_length(batch)
  memory, cache = apply(
    tokens,
    method="start_decoding",
    num_sequences=tokens.shape[0] * config.num_beams,
    max_length=max_length,
    history=history,
  )

  def step(
    newest: jax.Array, cache: decoding_state.DecodingCache
  ) -> tuple[jax.Array, decoding_state.DecodingCache]:
    return apply(newest, cache, memory, method="decode_step")

  return search.beam_search(
    step,
    cache,
    batch_size=tokens.shape[0],
    num_beams=config.num_beams,
    max_length=max_length,
    eos_id=config.eos_id,
    alpha=config.length_penalty_alpha,
  )
