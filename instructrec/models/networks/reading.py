"""One batch, read by a network with its parameters."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from instructrec.models.networks import adapters, network, title_matching


class Reading:
  """A network, bound to parameters and a batch, and what may be asked of it.

  Prompts are read once, whatever number of objectives and targets asks.

  Args:
    module: the network.
    params: its parameters.
    arrays: the batch; see `models.protocol`.
    dropout_rng: None switches dropout off.
  """

  def __init__(
    self,
    module: network.Network,
    params: Any,
    arrays: Mapping[str, Array],
    dropout_rng: PRNGKeyArray | None = None,
  ) -> None:
    self.arrays = arrays
    self.eos_id: int = module.config.eos_id
    self.vocab_size: int = module.config.vocab_size
    self._module = module
    self._params = params
    self._dropout_rng = dropout_rng
    self._plain = functools.partial(module.apply, {"params": params})
    self._apply = functools.partial(
      self._plain,
      enable_dropout=dropout_rng is not None,
      rngs=None if dropout_rng is None else {"dropout": dropout_rng},
    )

  @property
  def has_dropout(self) -> bool:
    """Whether the network is read as in training."""
    return self._dropout_rng is not None

  def without_dropout(self) -> "Reading":
    """The same network and batch, read anew where there is dropout."""
    if self._dropout_rng is None:
      return self
    return Reading(self._module, self._params, self.arrays)

  @property
  def has_adapters(self) -> bool:
    """Whether the network has adapters."""
    return self._module.config.adapter is not None

  def without_adapters(self) -> "Reading":
    """The batch as the network reads it that the adapters change.

    Nothing in it has a gradient, and no second copy of the network exists.

    Raises:
      ValueError: where the network has no adapters.
    """
    if not self.has_adapters:
      raise ValueError(
        "the network has no adapters to leave out; train it with "
        "gin/overrides/lora.gin"
      )
    config = dataclasses.replace(self._module.config, adapter=None)
    _, params = adapters.split(self._params)
    return Reading(
      self._module.clone(config=config),
      jax.lax.stop_gradient(params),
      self.arrays,
    )

  def without_gradient(self) -> "Reading":
    """The same, for what is decoded within a loss; prompts stay read once.

    Raises:
      ValueError: where the reading has dropout, which decoding has not.
    """
    if self._dropout_rng is not None:
      raise ValueError(
        "the reading has dropout, and what is decoded would be of another "
        "network than what is scored; expected a dropout_rng of None"
      )
    params = jax.lax.stop_gradient(self._params)
    found = Reading(self._module, params, self.arrays)
    found.memory = jax.lax.stop_gradient(self.memory)
    return found

  @functools.cached_property
  def memory(self) -> network.Memory | None:
    """What the network makes of the prompts; None where rows hold theirs."""
    prompt = network.Prompt.of(self.arrays)
    return None if prompt is None else self._apply(prompt, method="read")

  def features(
    self,
    decoder_input_tokens: Int[Array, "batch *candidates length"],
    decoder_target_tokens: Int[Array, "batch *candidates length"],
  ) -> Float[Array, "batch *candidates length embed"]:
    """What each target token is predicted from, but for the logits."""
    # Each candidate is a row of its own to the network.
    rows = (-1, decoder_target_tokens.shape[-1])
    targets = network.Targets(
      inputs=decoder_input_tokens.reshape(rows),
      tokens=decoder_target_tokens.reshape(rows),
      segment_ids=self.arrays.get("decoder_segment_ids"),
    )
    found = self._apply(self.memory, targets, method="features")
    return found.reshape(*decoder_target_tokens.shape, found.shape[-1])

  def tree_features(self) -> Float[Array, "trees nodes embed"]:
    """As `features`, at the nodes of the batch's candidate trees."""
    tree = network.Tree.of(self.arrays)
    return self._plain(self.memory, tree, method="tree_features")

  def logits(
    self, features: Float[Array, "*dims embed"]
  ) -> Float[Array, "*dims vocab"]:
    """Float32 logits of what the network gives."""
    return self._plain(features, method="logits")

  def logit_factors(
    self, features: Float[Array, "*dims embed"]
  ) -> tuple[Float[Array, "*dims embed"], Float[Array, "embed vocab"]]:
    """Rows and matrix whose product the logits are."""
    return self._plain(features, method="logit_factors")

  @property
  def has_values(self) -> bool:
    """Whether the network has a value head."""
    return self._module.config.value_head

  def values(
    self, features: Float[Array, "*dims embed"]
  ) -> Float[Array, "*dims"]:
    """See `network.Network.values`."""
    return self._plain(features, method="values")

  def start_decoding(
    self, *, sequences_per_prompt: int, max_length: int
  ) -> tuple[network.Memory, network.Cache]:
    """See `network.Network.start_decoding`.

    Raises:
      ValueError: where the batch has no prompts apart from their answers.
    """
    if self.memory is None:
      raise ValueError(
        "the batch has no encoder_input_tokens; expected the prompts apart "
        "from their answers, in rows that are not packed"
      )
    return self._plain(
      self.memory,
      sequences_per_prompt=sequences_per_prompt,
      max_length=max_length,
      method="start_decoding",
    )

  def decode_step(
    self,
    tokens: Int[Array, " sequences"],
    cache: network.Cache,
    memory: network.Memory,
  ) -> tuple[Float[Array, "sequences vocab"], network.Cache]:
    """See `network.Network.decode_step`."""
    return self._plain(tokens, cache, memory, method="decode_step")

  def decode_block(
    self,
    tokens: Int[Array, "sequences block"],
    cache: network.Cache,
    memory: network.Memory,
  ) -> tuple[Float[Array, "sequences block embed"], network.Cache]:
    """See `network.Network.decode_block`."""
    return self._plain(tokens, cache, memory, method="decode_block")

  def extend_prefixes(
    self,
    tokens: Int[Array, " prefixes"],
    paths: Int[Array, "prefixes length"],
    depths: Int[Array, " prefixes"],
    cache: network.Cache,
    memory: network.Memory,
  ) -> tuple[Float[Array, "prefixes vocab"], network.Cache]:
    """See `network.Network.extend_prefixes`."""
    return self._plain(
      tokens, paths, depths, cache, memory, method="extend_prefixes"
    )

  @functools.cached_property
  def states(self) -> title_matching.States:
    """Queries after each item of the history and after the request."""
    return self._plain(self.memory, method="states")

  def title_vectors(
    self, wanted: network.Titles
  ) -> Float[Array, "*dims embed"]:
    """What queries are matched with."""
    return self._apply(wanted, method="title_vectors")

  @property
  def popularity_weight(self) -> Float[Array, ""]:
    """What log popularity counts beside a match."""
    return self._plain(method="popularity_weight")
