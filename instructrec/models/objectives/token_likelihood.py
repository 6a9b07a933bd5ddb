"""Token likelihood: the paper's loss (InstructRec, Eq. 1).

Negative log-likelihood of the response's tokens given the instruction.
"""

import dataclasses
import functools

import jax
from jaxtyping import Array, Float

from instructrec.models.networks.reading import Reading
from instructrec.models.objectives import (
  objective,
  real_targets,
  token_loss,
  training_metrics,
)


@dataclasses.dataclass(frozen=True)
class TokenLikelihood:
  """Cross-entropy of every target token, with z-loss and label smoothing.

  Attributes:
    z_loss: weight of the squared log normaliser.
    label_smoothing: mass taken from the target token, in [0, 1).
    num_chunks: parts of the vocabulary whose logits are taken one after the
      other; see `token_loss.chunked_logit_sums`.
  """

  z_loss: float = 1e-4
  label_smoothing: float = 0.0
  num_chunks: int = 1

  def __post_init__(self) -> None:
    """Checks the numbers.

    Raises:
      ValueError: where one is out of its range.
    """
    if self.z_loss < 0.0 or not 0.0 <= self.label_smoothing < 1.0:
      raise ValueError(
        f"z_loss is {self.z_loss!r} and label_smoothing "
        f"{self.label_smoothing!r}; expected z_loss >= 0 and label_smoothing "
        "in [0, 1)"
      )

  @property
  def trains(self) -> frozenset[str]:
    """See `objective.Objective`."""
    return frozenset((objective.LIKELIHOOD,))

  def check(self, arrays: objective.Arrays, *, titles: bool) -> None:
    """See `objective.Objective`; batches are checked for its keys anyway."""
    del arrays, titles

  def __call__(self, reading: Reading) -> objective.Outcome:
    """See `objective.Objective`."""
    arrays = reading.arrays
    targets = arrays["decoder_target_tokens"]
    weights = arrays["decoder_loss_weights"]
    features = reading.features(arrays["decoder_input_tokens"], targets)
    loss_sums: real_targets.LossFn = functools.partial(
      token_loss.loss_sums,
      num_chunks=self.num_chunks,
      z_loss=self.z_loss,
      label_smoothing=self.label_smoothing,
    )
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
      loss_sums = functools.partial(real_targets.loss_sums, loss_sums)
    rows, kernel = reading.logit_factors(features)
    sums = loss_sums(rows, kernel, targets, weights)
    return objective.Outcome(
      sums.total, training_metrics.of_batch(sums, weights)
    )

  def divisor(self, arrays: objective.Arrays) -> Float[Array, ""]:
    """The target tokens, by their weights."""
    return arrays["decoder_loss_weights"].sum()
