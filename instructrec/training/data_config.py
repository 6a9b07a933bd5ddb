"""Which SeqIO mixture a run trains on, and how its rows are laid out."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """The data of a run, as names and numbers; `cli/train.py` opens it.

  Attributes:
    mixture: SeqIO mixture or task to train on.
    eval_mixture: SeqIO mixture or task of candidate lists to rerank.
    inputs_length: width of an instruction, in tokens.
    targets_length: width of a response or candidate, in tokens.
    batch_size: rows of the global batch.
    pack: whether several examples share a row.
    seed: of the order of the training data.
    modules: imported first; they register the tasks.
    validation_split: split of the validation loss; None for no validation.
  """

  mixture: str
  eval_mixture: str = "instructrec_v1_rerank"
  inputs_length: int
  targets_length: int
  batch_size: int
  pack: bool = False
  seed: int = 0
  modules: tuple[str, ...] = ("tasks.instructrec",)
  validation_split: str | None = "validation"

  def __post_init__(self) -> None:
    """Checks the sizes.

    Raises:
      ValueError: where one is not positive.
    """
    for field in ("inputs_length", "targets_length", "batch_size"):
      if getattr(self, field) < 1:
        raise ValueError(
          f"DataConfig.{field} is {getattr(self, field)}, expected at least 1"
        )
