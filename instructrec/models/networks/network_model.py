"""A network over its parameters: sizes, states, vectors, prefixes."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from instructrec.models import protocol
from instructrec.models.networks import adapters, network
from instructrec.models.networks.reading import Reading


class NetworkModel:
  """What a model has of its network alone, without loss, scores or decoding.

  Satisfies `protocol.MatchingModel` and `protocol.PrefixModel`.

  Attributes:
    module: the network.
  """

  def __init__(self, module: network.Network) -> None:
    self.module = module

  @property
  def network_config(self) -> Any:
    """Sizes and numerics of the network."""
    return self.module.config

  def merged(self) -> Self:
    """The model of parameters into which adapters are merged.

    What was trained beside them, for training, is not among these.
    """
    model = copy.copy(self)
    if self.network_config.adapter is not None:
      config = dataclasses.replace(
        self.network_config, adapter=None, value_head=False
      )
      model.module = self.module.clone(config=config)
    return model

  @property
  def vocab_size(self) -> int:
    """Token ids that the network knows."""
    return self.module.config.vocab_size

  @property
  def emb_dim(self) -> int:
    """Width of the vectors of tokens."""
    return self.module.config.emb_dim

  @property
  def num_items(self) -> int:
    """Items with a vector beside their title; 0 for none."""
    return self.module.config.num_items

  @property
  def reads_rows(self) -> bool:
    """Whether a batch may hold rows of prompt and answer."""
    return self.module.reads_rows

  def get_initial_variables(
    self,
    rng: PRNGKeyArray,
    input_shapes: Mapping[str, Any],
    input_types: Mapping[str, Any] | None = None,
  ) -> dict[str, Any]:
    """Fresh variables.

    Args:
      rng: key of the initialisers.
      input_shapes: shape of each array of a batch; parameters depend on none
        of the sizes.
      input_types: accepted for T5X and not read: tokens are always integers.

    Returns:
      {"params": ..., "params_axes": ...}, both named as in T5X checkpoints.

    Raises:
      ValueError: where the targets of adapters match nothing.
    """
    del input_types
    shapes = {name: tuple(shape) for name, shape in input_shapes.items()}
    length = shapes["decoder_input_tokens"][-1]
    # Rows that hold their prompts make the same parameters.
    prompts = shapes.get("encoder_input_tokens", (1, length))
    # Candidates are rows of their own to the module.
    targets = jnp.ones((prompts[0], length), jnp.int32)
    variables = self.module.init(
      rng,
      network.Prompt(jnp.ones(prompts, jnp.int32)),
      network.Targets(targets, targets),
      enable_dropout=False,
    )
    adapters.check(variables["params"], self.network_config.adapter)
    return dict(variables)

  def _reading(
    self,
    params: protocol.Params,
    batch: protocol.Batch,
    dropout_rng: PRNGKeyArray | None = None,
  ) -> Reading:
    """The network's reading of a batch."""
    arrays = {key: jnp.asarray(value) for key, value in batch.items()}
    return Reading(self.module, params, arrays, dropout_rng)

  @property
  def matches_titles(self) -> bool:
    """Whether the network has states and title vectors."""
    return self.module.config.title_matching

  def request_states(
    self, params: protocol.Params, batch: protocol.Batch
  ) -> Float[Array, "batch embed"]:
    """See `protocol.MatchingModel`."""
    return self._reading(params, batch).states.request

  def title_vectors(
    self,
    params: protocol.Params,
    tokens: Int[Array, "*dims length"],
    items: Int[Array, "*dims"],
  ) -> Float[Array, "*dims embed"]:
    """See `protocol.MatchingModel`."""
    titles = network.Titles(jnp.asarray(tokens), jnp.asarray(items))
    return self._reading(params, {}).title_vectors(titles)

  def popularity_weight(self, params: protocol.Params) -> Float[Array, ""]:
    """See `protocol.MatchingModel`."""
    return self._reading(params, {}).popularity_weight

  def start_prefixes(
    self,
    params: protocol.Params,
    tokens: Int[Array, "1 inputs"],
    num_slots: int,
  ) -> tuple[network.Memory, network.Cache]:
    """See `protocol.PrefixModel`."""
    prompt = {"encoder_input_tokens": tokens}
    return self._reading(params, prompt).start_decoding(
      sequences_per_prompt=1, max_length=num_slots
    )

  def extend_prefixes(
    self,
    params: protocol.Params,
    tokens: Int[Array, "prefixes"],
    paths: Int[Array, "prefixes length"],
    depths: Int[Array, "prefixes"],
    cache: network.Cache,
    memory: network.Memory,
  ) -> tuple[Float[Array, "prefixes vocab"], network.Cache]:
    """See `protocol.PrefixModel`."""
    logits, extended = self._reading(params, {}).extend_prefixes(
      tokens, paths, depths, cache, memory
    )
    return jax.nn.log_softmax(logits), extended
