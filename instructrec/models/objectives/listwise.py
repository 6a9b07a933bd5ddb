"""Softmax over the scores of a candidate list: the target against drawn items.

The score is what ranks later, the log-likelihood of the title given the
instruction (Cao et al., 2007, with one relevant item). All candidates of an
instruction ask one pass of the encoder.
"""

import dataclasses

import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics
from jaxtyping import Array, Float, Int

from instructrec.models.networks.reading import Reading
from instructrec.models.objectives import (
  objective,
  token_loss,
  training_metrics,
)

_KEYS = (
  "encoder_input_tokens",
  "choice_tokens",
  "choice_items",
  "choice_logs",
)
_DRAWN = 2
"""Place of the log of how often an item is drawn; see `models.protocol`."""
_NEVER = -1e9


@dataclasses.dataclass(frozen=True)
class Listwise:
  """Cross-entropy of the target among the candidates of its own row.

  Attributes:
    correction: how much of the log of how often an item is drawn is taken from
      the scores; 1 makes them log-probabilities among all items (logQ), 0 among
      the drawn.
    temperature: nats of likelihood that count as one in the softmax.
    num_chunks: parts of the vocabulary whose logits are taken one after the
      other; see `token_loss.chunked_logit_sums`.
  """

  correction: float = 1.0
  temperature: float = 1.0
  num_chunks: int = 1

  def __post_init__(self) -> None:
    """Checks the numbers.

    Raises:
      ValueError: where one is out of its range.
    """
    if self.temperature <= 0 or self.num_chunks < 1:
      raise ValueError(
        f"Listwise has temperature {self.temperature} and num_chunks "
        f"{self.num_chunks}; expected positive numbers"
      )

  @property
  def trains(self) -> frozenset[str]:
    """See `objective.Objective`."""
    return frozenset((objective.LIKELIHOOD,))

  def check(self, arrays: objective.Arrays, *, titles: bool) -> None:
    """See `objective.Objective`."""
    del titles
    objective.require(arrays, _KEYS, "listwise")
    shape = arrays["choice_logs"].shape
    # JAX takes the last number for one that is beyond it.
    if shape[-1] <= _DRAWN:
      raise ValueError(
        f"choice_logs has the shape {shape}; the objective listwise reads "
        f"{_DRAWN + 1} numbers a title, the last of them the log of how often "
        "it is drawn: see instructrec.models.protocol"
      )

  def __call__(self, reading: Reading) -> objective.Outcome:
    """See `objective.Objective`."""
    arrays = reading.arrays
    items = arrays["choice_items"]
    scores = self._likelihoods(reading) / self.temperature
    scores -= self.correction * arrays["choice_logs"][..., _DRAWN]
    # The target drawn again would be its own rival.
    again = items[:, 1:] == items[:, :1]
    out = jnp.concatenate([jnp.zeros_like(again[:, :1]), again], axis=1)
    scores = jnp.where(out | (items == 0), _NEVER, scores)
    weights = (items[:, 0] > 0).astype(jnp.float32)
    losses = jax.nn.logsumexp(scores, axis=1) - scores[:, 0]
    total, count = (losses * weights).sum(), weights.sum()
    first = (scores[:, 0] >= scores.max(1)).astype(jnp.float32)
    metrics: objective.Metrics = {
      "listwise/loss": clu_metrics.Average(total=total, count=count),
      "listwise/accuracy": clu_metrics.Average(
        total=(first * weights).sum(), count=count
      ),
      "listwise/lists": training_metrics.Sum.from_model_output(weights),
    }
    return objective.Outcome(total, metrics)

  def _likelihoods(self, reading: Reading) -> Float[Array, "batch choices"]:
    """Log-likelihood of each title and its end, in nats."""
    targets = _with_end(reading.arrays["choice_tokens"], reading.eos_id)
    inputs = jnp.pad(targets, ((0, 0), (0, 0), (1, 0)))[..., :-1]
    rows, kernel = reading.logit_factors(reading.features(inputs, targets))
    if self.num_chunks == 1:
      sums = token_loss.logit_sums(jnp.dot(rows, kernel), targets)
    else:
      sums = token_loss.chunked_logit_sums(
        rows, kernel, targets, num_chunks=self.num_chunks
      )
    return ((sums.target - sums.log_z) * (targets > 0)).sum(-1)

  def divisor(self, arrays: objective.Arrays) -> Float[Array, ""]:
    """The lists that hold their target."""
    return (arrays["choice_items"][:, 0] > 0).sum().astype(jnp.float32)


def _with_end(
  tokens: Int[Array, "*dims length"], eos_id: int
) -> Int[Array, "*dims length_and_1"]:
  """Titles with their end token; slots of padding get one too."""
  longer = jnp.pad(tokens, [(0, 0)] * (tokens.ndim - 1) + [(0, 1)])
  lengths = (tokens > 0).sum(-1, keepdims=True)
  at_end = jnp.arange(longer.shape[-1]) == lengths
  return jnp.where(at_end, eos_id, longer)
