"""Titles as vectors, and states of a reader that are matched with them.

A title is one vector, pooled from the vectors of its pieces; a history can be
read as a sequence of such vectors, one position an item. From the state after
an item, or after the whole request, comes a query; query times title vector is
a logit of that title being next. The parameters are few, named, and there only
where `NetworkConfig.title_matching` asks for them: public checkpoints have
none of them.
"""

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import partitioning
from jaxtyping import Array, Float

from instructrec.models.networks import layers, network, network_config


@flax.struct.dataclass
class States:
  """What a reader knows, as queries for titles.

  Attributes:
    history: after each item of the history, of those up to it alone; None
      where the history was read as text.
    request: after the whole request.
  """

  history: Float[Array, "batch history embed"] | None
  request: Float[Array, "batch embed"]


class TitleMatching(nn.Module):
  """Vectors of titles, and queries from states.

  Attributes:
    config: sizes and numerics.
    token_embedder: the table of both stacks.
  """

  config: network_config.NetworkConfig
  token_embedder: layers.Embed

  def setup(self):
    """Makes the parameters and submodules."""
    cfg = self.config
    width, hidden = cfg.emb_dim, 2 * cfg.emb_dim
    if cfg.num_items:
      self.item_embedding = partitioning.param_with_axes(
        "item_embedding",
        nn.initializers.normal(stddev=0.1),
        (cfg.num_items + 1, width),
        jnp.float32,
        axes=("vocab", "embed"),
      )
    self.title_linear = layers.Dense(width, ("embed", "mlp"))
    self.title_hidden = layers.Dense(hidden, ("embed", "mlp"))
    self.title_output = layers.Dense(width, ("mlp", "embed"))
    self.history_query = layers.Dense(width, ("embed", "mlp"))
    # A request says what its history says until it has learnt to say more.
    self.request_query = layers.Dense(
      width, ("embed", "mlp"), kernel_init=nn.initializers.zeros
    )
    self.factors = partitioning.param_with_axes(
      "factors",
      lambda rng: jnp.array([0.0, 1.0]),
      axes=("relpos_buckets",),
    )

  @property
  def popularity_weight(self) -> Float[Array, ""]:
    """What log popularity counts beside the match, in nats a nat."""
    return self.factors[1]

  def make_parameters(self) -> None:
    """Runs what makes the parameters; for `init`."""
    ones = jnp.ones((1, 1, 1), jnp.int32)
    history = network.Titles(ones, ones[0])
    self.vectors(history)
    output = jnp.zeros((1, 2, self.config.emb_dim))
    self.states(output, network.Prompt(ones[0], history))

  def pooled(
    self, titles: network.Titles, deterministic: bool = True
  ) -> Float[Array, "*dims embed"]:
    """One vector a title: its pieces' sum over the root of their number.

    Where items have vectors of their own these are added; in training some are
    left out, so that a title alone says enough for an item that is new.
    """
    cfg = self.config
    where = (titles.tokens > 0)[..., None]
    pieces = jnp.take(self.token_embedder.embedding, titles.tokens, axis=0)
    count = jnp.maximum(where.sum(-2), 1)
    vectors = jnp.where(where, pieces, 0.0).sum(-2) / jnp.sqrt(count)
    if cfg.num_items:
      known = titles.items > 0
      if not deterministic and cfg.item_dropout_rate:
        known &= jax.random.bernoulli(
          self.make_rng("dropout"), 1 - cfg.item_dropout_rate, known.shape
        )
      own = jnp.take(self.item_embedding, titles.items, axis=0)
      vectors += jnp.where(known[..., None], own, 0.0)
    return vectors

  def vectors(
    self, titles: network.Titles, deterministic: bool = True
  ) -> Float[Array, "*dims embed"]:
    """What a query is matched with: a vector a title, float32."""
    x = self.pooled(titles, deterministic)
    hidden = nn.gelu(self.title_hidden(x), approximate=True)
    return self.title_linear(x) + self.title_output(hidden)

  def states(
    self,
    output: Float[Array, "batch positions embed"],
    prompt: network.Prompt,
  ) -> States:
    """Queries from what a network makes of a prompt.

    Args:
      output: positions of the history's items, if it was read so, then those
        of the tokens, of which the last one stands for all of them.
      prompt: what was read.

    Returns:
      Queries, scaled: their products with `vectors` are logits.
    """
    scale = jnp.exp(self.factors[0]) / jnp.sqrt(self.config.emb_dim)
    output = output.astype(jnp.float32)
    ends = jnp.take_along_axis(output, prompt.last[:, None, None], axis=1)
    request = self.request_query(ends[:, 0])
    if prompt.history is None:
      return States(history=None, request=scale * request)
    after = self.history_query(output[:, : prompt.num_items])
    # Histories end at the last slot; a request without one has none there.
    newest = jnp.where(prompt.history.where[:, -1:], after[:, -1], 0.0)
    return States(history=scale * after, request=scale * (newest + request))
