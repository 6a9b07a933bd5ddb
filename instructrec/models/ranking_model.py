"""T5 as a `RankingModel`: trains on targets, scores candidates, generates."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from instructrec.models import protocol
from instructrec.models.generation import generation, search
from instructrec.models.networks import decoding_state, t5, title_matching
from instructrec.models.objectives import (
  objective as objective_lib,
)
from instructrec.models.objectives import (
  token_likelihood,
  training_metrics,
)
from instructrec.models.scoring import candidate_scores

# Packed batches have positions too, of which T5 needs only differences.
_SEGMENT_KEYS = ("encoder_segment_ids", "decoder_segment_ids")


def _no_feature_converter(*args: Any, **kwargs: Any) -> NoReturn:
  """Stands where a converter should be, and says so when it is called."""
  raise ValueError(
    "this model was built without a feature converter, which only SeqIO "
    "pipelines need; expected feature_converter_cls=... in T5RankingModel"
  )


class T5RankingModel:
  """Loss, candidate scores and generation over one `t5.T5` module.

  Satisfies `protocol.RankingModel`, where the batch keys are listed, and
  `protocol.PrefixModel`. Targets of rank 3 [batch, candidates, length] are
  candidates (or several targets) of one input: the encoder runs once per input
  for all of them.

  Example:
    >>> model = T5RankingModel(t5.T5(config))
    >>> variables = model.get_initial_variables(rng, input_shapes)
    >>> scores = model.score_batch(variables["params"], batch)
    >>> scores.shape
    (8, 20)
  """

  def __init__(
    self,
    module: t5.T5,
    *,
    objective: objective_lib.Objective | None = None,
    input_vocabulary: Any = None,
    output_vocabulary: Any = None,
    optimizer_def: Any = None,
    feature_converter_cls: Callable[..., Any] | None = None,
    z_loss: float = 1e-4,
    label_smoothing: float = 0.0,
    loss_normalizing_factor: float | int | str | None = None,
    loss_chunks: int = 1,
    score_normalization: str = "sum",
    num_beams: int = 1,
    num_decodes: int = 1,
    length_penalty_alpha: float = search.DEFAULT_ALPHA,
    max_decode_length: int | None = None,
    eos_id: int = 1,
    throughput: training_metrics.Throughput | None = None,
  ):
    """Takes the module and the settings of loss, scores and decoding.

    Args:
      module: the network.
      objective: what training minimises; None for the likelihood of the
        target's tokens, with the three settings of the loss below, which other
        objectives do not read.
      input_vocabulary: for T5X, which compares it with the data's; its ids
        must fit the network.
      output_vocabulary: likewise.
      optimizer_def: kept for T5X's trainer.
      feature_converter_cls: what `FEATURE_CONVERTER_CLS` gives; needed only
        where SeqIO makes the batches.
      z_loss: weight of the squared log normaliser in the loss.
      label_smoothing: mass taken from the target token, in [0, 1).
      loss_normalizing_factor: constant the summed loss is divided by; None
        leaves the sum.
      loss_chunks: parts of the vocabulary whose logits the training loss takes
        one after the other, a divisor of its size; the loss stays the same.
        1 keeps all logits; more save memory where targets times vocabulary
        are many, and take the logits' product once more.
      score_normalization: "sum" adds the log-probabilities of a candidate's
        tokens, "mean" divides that by their number.
      num_beams: see `generation.GenerationConfig`.
      num_decodes: likewise.
      length_penalty_alpha: likewise.
      max_decode_length: likewise.
      eos_id: likewise.
      throughput: rates to report beside the loss, for trainers that keep the
        time outside the model.

    Raises:
      ValueError: if a setting is out of its range.
    """
    candidate_scores.check_normalization(score_normalization)
    # T5X's special factors are strings; gin hands them over unchecked.
    if loss_normalizing_factor is not None and (
      isinstance(loss_normalizing_factor, str) or loss_normalizing_factor <= 0
    ):
      raise ValueError(
        f"loss_normalizing_factor is {loss_normalizing_factor!r}; expected a "
        "positive number or None (factors that depend on the batch would "
        "change with the number of microbatches)"
      )
    vocab_size = module.config.vocab_size
    if loss_chunks < 1 or vocab_size % loss_chunks:
      raise ValueError(
        f"loss_chunks is {loss_chunks}; expected a divisor of the "
        f"{vocab_size} tokens of the vocabulary"
      )
    self.module = module
    self.input_vocabulary = input_vocabulary
    self.output_vocabulary = output_vocabulary
    self.optimizer_def = optimizer_def
    self._feature_converter_cls = feature_converter_cls
    self.objective = objective or token_likelihood.TokenLikelihood(
      z_loss=z_loss, label_smoothing=label_smoothing, num_chunks=loss_chunks
    )
    self._loss_normalizing_factor = loss_normalizing_factor
    self.loss_chunks = loss_chunks
    self.score_normalization = score_normalization
    self._generation = generation.GenerationConfig(
      num_beams=num_beams,
      num_decodes=num_decodes,
      length_penalty_alpha=length_penalty_alpha,
      max_decode_length=max_decode_length,
      eos_id=eos_id,
    )
    self._throughput = throughput

  @property
  def FEATURE_CONVERTER_CLS(self) -> Callable[..., Any]:
    """The converter class given; calling it without one is an error.

    Raises:
      ValueError: where the data's vocabulary has ids that the network lacks;
        JAX would look them up as the last row without a word.
    """
    if self.input_vocabulary is not None:
      size = self.input_vocabulary.vocab_size
      if size > self.vocab_size:
        raise ValueError(
          f"input_vocabulary has {size} ids, the network "
          f"{self.vocab_size}; set VOCAB_SIZE to at least {size}"
        )
    return self._feature_converter_cls or _no_feature_converter

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
    """
    del input_types
    inputs = jnp.ones(tuple(input_shapes["encoder_input_tokens"]), jnp.int32)
    shape = tuple(input_shapes["decoder_input_tokens"])
    # Candidates are rows of their own to the module.
    targets = jnp.ones((inputs.shape[0], shape[-1]), jnp.int32)
    variables = self.module.init(
      rng, inputs, targets, targets, enable_dropout=False
    )
    return dict(variables)

  def _bound(self, params: protocol.Params) -> Callable[..., Any]:
    """The module's methods: called with arguments and `method=`."""
    return functools.partial(self.module.apply, {"params": params})

  def _apply(
    self,
    method: str,
    params: protocol.Params,
    arrays: dict[str, Array],
  ) -> Any:
    """Runs the module over whole targets; each is a row of its own to it."""
    targets = arrays["decoder_target_tokens"]
    # [batch, candidates, length] -> [batch * candidates, length]
    rows = (-1, targets.shape[-1])
    found = self._bound(params)(
      arrays["encoder_input_tokens"],
      arrays["decoder_input_tokens"].reshape(rows),
      targets.reshape(rows),
      *(arrays.get(key) for key in _SEGMENT_KEYS),
      history=objective_lib.titles(arrays, "history"),
      method=method,
      enable_dropout=False,
    )
    return jax.tree.map(
      lambda x: x.reshape(*targets.shape, *x.shape[2:]), found
    )

  def _tree_token_scores(
    self, params: protocol.Params, arrays: dict[str, Array]
  ) -> Float[Array, "batch candidates length"]:
    """Scores of all targets of candidate lists that share prefixes."""
    apply = self._bound(params)
    return candidate_scores.tree_token_scores(
      functools.partial(apply, method="logits"),
      apply(
        arrays["encoder_input_tokens"],
        arrays["decoder_input_tokens"],
        arrays["decoder_positions"],
        arrays["decoder_subtree_ends"],
        objective_lib.titles(arrays, "history"),
        method="tree_features",
      ),
      arrays["decoder_target_nodes"],
      arrays["decoder_target_tokens"],
      arrays["decoder_loss_weights"],
    )

  def loss_fn(
    self,
    params: protocol.Params,
    batch: protocol.Batch,
    dropout_rng: PRNGKeyArray | None,
  ) -> tuple[Float[Array, ""], protocol.Metrics]:
    """The training loss: nats summed over what the objective counts.

    Args:
      params: parameters.
      batch: see `protocol`; targets of rank 2 or 3.
      dropout_rng: None switches dropout off.

    Returns:
      The sum (over loss_normalizing_factor, if there is one), so that
      gradients of microbatches add up to that of the batch; and the metrics of
      the objective with `loss`, the sum over `loss_divisor`, and
      `target_tokens`, and rates where there is `throughput`.
    """
    arrays = candidate_scores.check_batch(batch)
    if candidate_scores.is_tree(arrays):
      raise ValueError(
        "the batch has decoder_target_nodes: candidate trees are for "
        "score_batch; expected a batch of features.to_features"
      )
    self.objective.check(arrays, titles=self.module.config.title_matching)
    reading = objective_lib.Reading(self._bound(params), arrays, dropout_rng)
    loss, metrics = self.objective(reading)
    metrics = training_metrics.of_objective(
      loss,
      self.objective.divisor(arrays),
      metrics,
      arrays["decoder_loss_weights"],
    )
    if self._loss_normalizing_factor is not None:
      loss = loss / self._loss_normalizing_factor
    if self._throughput is not None:
      metrics |= self._throughput(arrays)
    return loss, metrics

  def loss_divisor(self, batch: protocol.Batch) -> Float[Array, ""]:
    """How many of the objective's units a batch holds.

    Args:
      batch: see `protocol`.

    Returns:
      What the loss of the whole batch is divided by, for its mean.
    """
    return self.objective.divisor(candidate_scores.check_batch(batch))

  def eval_fn(
    self, params: protocol.Params, batch: protocol.Batch
  ) -> tuple[Float[Array, ""], protocol.Metrics]:
    """`loss_fn` without dropout."""
    return self.loss_fn(params, batch, None)

  def score_batch(
    self,
    params: protocol.Params,
    batch: protocol.Batch,
    return_intermediates: bool = False,
  ) -> Any:
    """Log-likelihood of every candidate given its input, in nats.

    Args:
      params: parameters.
      batch: see `protocol`; targets of rank 2 or 3, or candidate trees.
      return_intermediates: return the scores of single tokens as well.

    Returns:
      Float32 scores [batch] for targets of rank 2, [batch, candidates] for
      rank 3. A candidate whose loss weights are all zero is a padded slot:
      -inf. With return_intermediates, a pair of the scores and
      {"decoder": {"token_scores", "target_tokens", "loss_weights"}}, each a
      tuple of one array as in T5X.
    """
    arrays = candidate_scores.check_batch(batch)
    targets = arrays["decoder_target_tokens"]
    weights = arrays["decoder_loss_weights"]
    if candidate_scores.is_tree(arrays):
      token_scores = self._tree_token_scores(params, arrays)
    else:
      logits = self._apply("__call__", params, arrays)
      token_scores = candidate_scores.token_scores(logits, targets, weights)
    scores = candidate_scores.candidate_scores(
      token_scores, weights, normalization=self.score_normalization
    )
    if not return_intermediates:
      return scores
    decoder = {
      "token_scores": (token_scores,),
      "target_tokens": (targets,),
      "loss_weights": (weights,),
    }
    return scores, {"decoder": decoder}

  def predict_batch_with_aux(
    self,
    params: protocol.Params,
    batch: protocol.Batch,
    rng: PRNGKeyArray | None = None,
  ) -> tuple[Int[Array, "..."], dict[str, Float[Array, "..."]]]:
    """Generates targets by greedy or beam search.

    Args:
      params: parameters.
      batch: needs encoder_input_tokens, unpacked.
      rng: accepted for T5X and not read: the search is deterministic.

    Returns:
      Token ids with the end token, then 0; and {"scores": log-probabilities
      in nats, "beam_scores": those over the length penalty}. Without a
      decodes axis if num_decodes is 1 ([batch, length] and [batch]), else best
      first ([batch, decodes, length] and [batch, decodes]).
    """
    del rng
    decodes = generation.generate(self.module, params, batch, self._generation)
    num_decodes = self._generation.num_decodes
    kept = 0 if num_decodes == 1 else slice(num_decodes)
    aux = {
      "scores": decodes.log_probs[:, kept],
      "beam_scores": decodes.scores[:, kept],
    }
    return decodes.sequences[:, kept], aux

  def predict_batch(
    self,
    params: protocol.Params,
    batch: protocol.Batch,
    rng: PRNGKeyArray | None = None,
  ) -> Int[Array, "..."]:
    """The token ids of `predict_batch_with_aux`."""
    return self.predict_batch_with_aux(params, batch, rng)[0]

  @property
  def score_parts(self) -> frozenset[str]:
    """Which scores training makes fit to rank by: `objective.LIKELIHOOD` ..."""
    return self.objective.trains

  @property
  def matches_titles(self) -> bool:
    """Whether the network has states and title vectors."""
    return self.module.config.title_matching

  def request_states(
    self, params: protocol.Params, batch: protocol.Batch
  ) -> Float[Array, "batch embed"]:
    """What each request asks of titles, whatever the candidates.

    Args:
      params: parameters.
      batch: needs encoder_input_tokens and, where histories are read item by
        item, history_tokens and history_items.

    Returns:
      Float32 queries: a query times a title's vector is a logit in nats.
    """
    self._check_matching()
    arrays = {key: jnp.asarray(value) for key, value in batch.items()}
    states = self._bound(params)(
      arrays["encoder_input_tokens"],
      objective_lib.titles(arrays, "history"),
      method="states",
    )
    return states.request

  def title_vectors(
    self,
    params: protocol.Params,
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
    self._check_matching()
    titles = title_matching.Titles(jnp.asarray(tokens), jnp.asarray(items))
    return self._bound(params)(titles, method="title_vectors")

  def popularity_weight(self, params: protocol.Params) -> Float[Array, ""]:
    """What log popularity counted beside the match in training."""
    self._check_matching()
    return self._bound(params)(method="popularity_weight")

  def _check_matching(self) -> None:
    if not self.matches_titles:
      raise ValueError(
        "the network has no title vectors; train one with TITLE_MATCHING = "
        "True and an objective that uses them"
      )

  def start_prefixes(
    self,
    params: protocol.Params,
    tokens: Int[Array, "1 inputs"],
    num_slots: int,
  ) -> tuple[decoding_state.DecodingMemory, decoding_state.DecodingCache]:
    """Encodes one input and makes room for prefixes of its responses.

    Args:
      params: parameters.
      tokens: the input, 0 where padded.
      num_slots: prefixes that fit.

    Returns:
      The memory and the cache for `extend_prefixes`.
    """
    return self._bound(params)(
      tokens, method="start_decoding", num_sequences=1, max_length=num_slots
    )

  def extend_prefixes(
    self,
    params: protocol.Params,
    tokens: Int[Array, "prefixes"],
    paths: Int[Array, "prefixes length"],
    depths: Int[Array, "prefixes"],
    cache: decoding_state.DecodingCache,
    memory: decoding_state.DecodingMemory,
  ) -> tuple[Float[Array, "prefixes vocab"], decoding_state.DecodingCache]:
    """Log-probabilities of the token after each prefix, in nats.

    See `t5.T5.extend_prefixes` for the arguments.

    Returns:
      Float32 log-probabilities, and the cache with the prefixes in it.
    """
    logits, extended = self._bound(params)(
      tokens, paths, depths, cache, memory, method="extend_prefixes"
    )
    return jax.nn.log_softmax(logits), extended
