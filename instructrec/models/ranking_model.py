"""A network as a `RankingModel`: trains, scores candidates, generates."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Self

from jaxtyping import Array, Float, PRNGKeyArray

from instructrec.models import protocol
from instructrec.models.generation import generation, search, writing_model
from instructrec.models.networks import adapters, network
from instructrec.models.objectives import objective as objective_lib
from instructrec.models.objectives import token_likelihood, training_metrics
from instructrec.models.scoring import candidate_scores, part_scores


def _no_feature_converter(*args: Any, **kwargs: Any) -> NoReturn:
  """Stands where a converter should be, and says so when it is called."""
  raise ValueError(
    "this model was built without a feature converter, which only SeqIO "
    "pipelines need; expected feature_converter_cls=... in NetworkRankingModel"
  )


class NetworkRankingModel(writing_model.WritingModel):
  """Loss, candidate scores and generation over one `network.Network`.

  Satisfies `protocol.RankingModel`, where the batch keys are listed,
  `protocol.MatchingModel` and `protocol.PrefixModel`. Targets of rank 3 [batch,
  candidates, length] are candidates (or several targets) of one prompt, which
  is read once for all of them.

  Example:
    >>> model = NetworkRankingModel(t5.T5(config))
    >>> variables = model.get_initial_variables(rng, input_shapes)
    >>> scores = model.score_batch(variables["params"], batch)
    >>> scores.shape
    (8, 20)
  """

  def __init__(
    self,
    module: network.Network,
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
    score_weights: Mapping[str, float] | None = None,
    num_beams: int = 1,
    num_decodes: int = 1,
    length_penalty_alpha: float = search.DEFAULT_ALPHA,
    max_decode_length: int | None = None,
    eos_id: int | None = None,
    decoder: writing_model.Decoder | None = None,
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
      score_weights: of likelihood, match and popularity, such as a run's own
        in `score_weights.json`, for batches with the titles of candidates; None
        for what they counted in training.
      num_beams: see `generation.GenerationConfig`.
      num_decodes: likewise.
      length_penalty_alpha: likewise.
      max_decode_length: likewise.
      eos_id: the end token; None for that of the network.
      decoder: writes items of a catalogue alone, or lists of them, by its own
        settings; None writes any text, by the five before.
      throughput: rates to report, for trainers that keep time elsewhere.

    Raises:
      ValueError: if a setting is out of its range.
    """
    candidate_scores.check_normalization(score_normalization)
    part_scores.check_weights(score_weights)
    vocab_size = module.config.vocab_size
    if loss_chunks < 1 or vocab_size % loss_chunks:
      raise ValueError(
        f"loss_chunks is {loss_chunks}; expected a divisor of the "
        f"{vocab_size} tokens of the vocabulary"
      )
    super().__init__(
      module,
      generation.GenerationConfig(
        num_beams=num_beams,
        num_decodes=num_decodes,
        length_penalty_alpha=length_penalty_alpha,
        max_decode_length=max_decode_length,
        eos_id=module.config.eos_id if eos_id is None else eos_id,
      ),
      decoder,
      score_normalization,
    )
    self.input_vocabulary = input_vocabulary
    self.output_vocabulary = output_vocabulary
    self.optimizer_def = optimizer_def
    self._feature_converter_cls = feature_converter_cls
    self.objective = objective or token_likelihood.TokenLikelihood(
      z_loss=z_loss, label_smoothing=label_smoothing, num_chunks=loss_chunks
    )
    self._loss_normalizing_factor = objective_lib.normalizing_factor(
      loss_normalizing_factor
    )
    self.loss_chunks = loss_chunks
    self.score_weights = score_weights
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

  def _checked(self, batch: protocol.Batch, trees: bool) -> dict[str, Array]:
    return candidate_scores.check_batch(
      batch, trees=trees, rows=self.reads_rows
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
    arrays = self._checked(batch, trees=False)
    self.objective.check(arrays, titles=self.matches_titles)
    # T5X asks for all gradients.
    params = adapters.hold(params)
    loss, metrics = self.objective(self._reading(params, arrays, dropout_rng))
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

  @property
  def repeats(self) -> objective_lib.Repeats | None:
    """How often the objective learns from what it draws; None for once."""
    if isinstance(self.objective, objective_lib.DrawingObjective):
      return self.objective.repeats
    return None

  def drawn(
    self, params: protocol.Params, batch: protocol.Batch
  ) -> dict[str, Array]:
    """A batch with what the objective draws, for several calls of `loss_fn`.

    Args:
      params: of the network that draws.
      batch: see `protocol`.

    Returns:
      The batch and more arrays, by row.
    """
    arrays = self._checked(batch, trees=False)
    if isinstance(self.objective, objective_lib.DrawingObjective):
      self.objective.check(arrays, titles=self.matches_titles)
      arrays |= self.objective.draw(self._reading(params, arrays))
    return arrays

  def loss_divisor(self, batch: protocol.Batch) -> Float[Array, ""]:
    """How many of the objective's units a batch holds.

    Args:
      batch: see `protocol`.

    Returns:
      What the loss of the whole batch is divided by, for its mean.
    """
    arrays = self._checked(batch, trees=False)
    self.objective.check(arrays, titles=self.matches_titles)
    return self.objective.divisor(arrays)

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
    """The score of every candidate given its input, in nats.

    It is the log-likelihood, unless training makes matches fit to rank by and
    the batch has the titles of a list's candidates (`choice_*`): then the match
    with popularity, or the sum by `score_weights`.

    Args:
      params: parameters.
      batch: see `protocol`; targets of rank 2 or 3, or candidate trees.
      return_intermediates: return the scores of single tokens as well; the
        scores are then log-likelihoods.

    Returns:
      Float32 scores [batch] for targets of rank 2, [batch, candidates] for
      rank 3. A candidate whose loss weights are all zero is a padded slot:
      -inf. With return_intermediates, a pair of the scores and
      {"decoder": {"token_scores", "target_tokens", "loss_weights"}}, each a
      tuple of one array as in T5X.

    Raises:
      ValueError: where `score_weights` ask for titles that the batch lacks.
    """
    arrays = self._checked(batch, trees=True)
    reading = self._reading(params, arrays)
    matches = objective_lib.MATCH in self.score_parts
    if not return_intermediates and (
      self.score_weights or (matches and part_scores.has_titles(arrays))
    ):
      return part_scores.weighted(
        reading, self.score_weights, normalization=self.score_normalization
      )
    targets = arrays["decoder_target_tokens"]
    weights = arrays["decoder_loss_weights"]
    token_scores = candidate_scores.of_reading(reading)
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

  def learning(self, objective: objective_lib.Objective) -> Self:
    """The model with another objective, as a copy."""
    model = copy.copy(self)
    model.objective = objective
    return model

  @property
  def score_parts(self) -> frozenset[str]:
    """Which scores training makes fit to rank by: `objective.LIKELIHOOD` ..."""
    return self.objective.trains
