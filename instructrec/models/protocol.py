"""The seam between models and whatever trains them.

Method names, argument order and batch keys are T5X's, so one object serves
`t5x/train.py` and the embedded runner; nothing is inherited from T5X.

A batch is a mapping of arrays, token id 0 is padding. The keys are T5X's; the
prompt is what "encoder" names, whatever network reads it:

  encoder_input_tokens  [batch, inputs] int32
  decoder_input_tokens  [batch, length] or [batch, candidates, length] int32
  decoder_target_tokens as decoder_input_tokens
  decoder_loss_weights  as decoder_input_tokens, any number type
  encoder_segment_ids, encoder_positions   [batch, inputs], packed rows only
  decoder_segment_ids, decoder_positions   [batch, length], packed rows only

A decoder-only network also takes rows [batch, length] that hold prompt and
answer: the three decoder arrays without encoder_input_tokens, where each input
is the token before its target, the first one of the prompt before the second.

Titles may come beside prompts (`networks/title_matching`): a history that is
read item by item before the tokens, and the target with items that were drawn
for its row, the target first:

  history_tokens  [batch, history, title_length] int32, padded in front
  choice_tokens   [batch, choices, title_length] int32
  history_items, choice_items  [batch, titles] int32, from 1; 0 is none
  history_logs, choice_logs    [batch, titles, 3] float32: log popularity, and
    up to a constant each the log of how often an item comes into a batch, and
    of how often it is drawn beside a target
  choice_follows  [batch, 1] int32: 1 where the target is what came next after
    the history, 0 where it is of a list that does as the request asks

Candidate lists may come as trees of prefixes (`candidate_tree`), for
`score_batch` alone:

  decoder_input_tokens, decoder_positions, decoder_subtree_ends [batch, nodes]
  decoder_target_nodes  [batch, candidates, length], as the targets

A long list may be several trees: `batch` is then a multiple of the rows of
encoder_input_tokens, the trees of one row next to each other.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from clu import metrics as clu_metrics
from jaxtyping import Array, Float, Int, PRNGKeyArray

Batch = Mapping[str, Any]
Params = Any
# A decoder's own: what it keeps of the input, and of the prefixes.
Memory = Any
Cache = Any
Metrics = dict[str, clu_metrics.Metric]


@runtime_checkable
class RankingModel(Protocol):
  """A model that trains on, ranks and generates target texts.

  `isinstance` tests that all names are there; T5X calls the methods by
  position as well as by keyword, so parameter names are part of it.
  """

  @property
  def FEATURE_CONVERTER_CLS(self) -> Callable[..., Any]:
    """Called with `pack=...`; makes the SeqIO feature converter."""

  @property
  def optimizer_def(self) -> Any:
    """T5X's optimizer definition; None where T5X does not train."""

  @property
  def input_vocabulary(self) -> Any:
    """SeqIO vocabulary of the inputs, or None."""

  @property
  def output_vocabulary(self) -> Any:
    """SeqIO vocabulary of the targets, or None."""

  @property
  def network_config(self) -> Any:
    """What its parameters mean, to be compared with a checkpoint's (ours)."""

  def merged(self) -> "RankingModel":
    """The model of parameters with adapters merged into them (ours)."""

  @property
  def vocab_size(self) -> int:
    """Token ids that the network knows (ours; T5X does not ask)."""

  @property
  def score_normalization(self) -> str:
    """Either "sum" or "mean" of token log-likelihoods (ours, likewise)."""

  @property
  def score_parts(self) -> frozenset[str]:
    """Which scores training makes fit to rank by (ours): see `objective`."""

  @property
  def emb_dim(self) -> int:
    """Width of the vectors of tokens (ours)."""

  @property
  def num_items(self) -> int:
    """Items with a vector beside their title (ours); 0 for none."""

  @property
  def reads_rows(self) -> bool:
    """Whether a batch may hold rows of prompt and answer (ours)."""

  def get_initial_variables(
    self,
    rng: PRNGKeyArray,
    input_shapes: Mapping[str, Any],
    input_types: Mapping[str, Any] | None = None,
  ) -> Mapping[str, Any]:
    """Fresh variables: the collections "params" and "params_axes".

    Must be a bound method: T5X finds the model by its `__self__`.
    """

  def loss_fn(
    self, params: Params, batch: Batch, dropout_rng: PRNGKeyArray | None
  ) -> tuple[Any, Metrics]:
    """Loss to differentiate, a sum; dropout unless rng is None."""

  def loss_divisor(self, batch: Batch) -> Any:
    """What the loss of a whole batch is divided by for its mean (ours)."""

  @property
  def repeats(self) -> Any:
    """An `objective.Repeats`, of what is drawn once (ours); None for none."""

  def drawn(self, params: Params, batch: Batch) -> Batch:
    """The batch with what the objective learns from several times (ours)."""

  def eval_fn(self, params: Params, batch: Batch) -> tuple[Any, Metrics]:
    """Loss and metrics without dropout."""

  def score_batch(
    self, params: Params, batch: Batch, return_intermediates: bool = False
  ) -> Any:
    """Log-likelihoods of the targets in nats, one a candidate."""

  def predict_batch(
    self, params: Params, batch: Batch, rng: PRNGKeyArray | None = None
  ) -> Any:
    """Token ids of generated targets."""

  def predict_batch_with_aux(
    self,
    params: Params,
    batch: Batch,
    rng: PRNGKeyArray | None = None,
    **kwargs: Any,
  ) -> tuple[Any, Mapping[str, Any]]:
    """Token ids of generated targets, and a mapping of further arrays."""


@runtime_checkable
class MatchingModel(Protocol):
  """A model whose requests have states, and whose titles have vectors."""

  @property
  def matches_titles(self) -> bool:
    """Whether its network has them; the methods are errors without."""

  def request_states(
    self, params: Params, batch: Batch
  ) -> Float[Array, "batch embed"]:
    """What each request asks of titles, whatever the candidates.

    Args:
      params: parameters.
      batch: needs encoder_input_tokens and, where histories are read item by
        item, history_tokens and history_items.

    Returns:
      Float32 queries: a query times a title's vector is a logit in nats.
    """

  def title_vectors(
    self,
    params: Params,
    tokens: Int[Array, "*dims length"],
    items: Int[Array, "*dims"],
  ) -> Float[Array, "*dims embed"]:
    """Vectors of titles, for products with `request_states`.

    Args:
      params: parameters.
      tokens: pieces of each title, without an end token, 0 where padded.
      items: numbers of the items, from 1; 0 for one that is new.

    Returns:
      Float32 vectors.
    """

  def popularity_weight(self, params: Params) -> Float[Array, ""]:
    """What log popularity counted beside a match in training."""


@runtime_checkable
class PrefixModel(Protocol):
  """A model that can be asked prefix by prefix: what `title_search` needs.

  Memory and cache are the model's own; the search only makes the cache wider
  (`widen`) and replaces its field `position`, as those of
  `networks/decoding_state.py` allow.
  """

  @property
  def score_normalization(self) -> str:
    """As of `RankingModel`."""

  def start_prefixes(
    self, params: Params, tokens: Int[Array, "1 inputs"], num_slots: int
  ) -> tuple[Memory, Cache]:
    """Reads one prompt and makes room for prefixes of its answers.

    Args:
      params: parameters.
      tokens: the prompt, 0 where padded.
      num_slots: prefixes that fit.

    Returns:
      The memory and the cache for `extend_prefixes`.
    """

  def extend_prefixes(
    self,
    params: Params,
    tokens: Int[Array, "prefixes"],
    paths: Int[Array, "prefixes length"],
    depths: Int[Array, "prefixes"],
    cache: Cache,
    memory: Memory,
  ) -> tuple[Float[Array, "prefixes vocab"], Cache]:
    """Log-probabilities of the token after each prefix, in nats.

    See `networks.network.Network.extend_prefixes` for the arguments.

    Returns:
      Float32 log-probabilities, and the cache with the prefixes in it.
    """
