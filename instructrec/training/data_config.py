"""Which SeqIO mixture a run trains on, and how its rows are laid out."""

import dataclasses

from instructrec import limits
from instructrec.models.scoring import features


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """The data of a run, as names and numbers; `pipelines/train.py` opens it.

  Attributes:
    mixture: SeqIO mixture or task to train on.
    eval_mixture: SeqIO mixture or task of candidate lists to rerank.
    inputs_length: width of an instruction, in tokens; longer ones lose their
      end. 0 has it chosen from the data (`lengths.py`).
    targets_length: width of a response or candidate, in tokens; likewise.
    leave_out_longer: whether examples whose response is longer than that are
      left out, so that the few longest do not cost all others; an error where
      responses are learnt otherwise.
    batch_size: rows of the global batch.
    pack: whether several examples share a row.
    loss_on_targets_only: False lets a decoder-only network learn the tokens of
      instructions as well as those of responses.
    seed: of the order of the training data.
    modules: imported first; they register the tasks.
    validation_split: split of the validation loss; None for no validation.
    task_forms: forms of the instructions to train on, such as ("T2",): those
      that name no candidates; empty for all.
    history_length: titles of a history that are read item by item, the newest;
      0 leaves the history in the text of the instruction.
    title_length: width of such a title, in tokens; longer ones lose their end.
      0 has it chosen from the data.
    num_drawn: items drawn beside the target of each row; 0 draws none, and
      batches do not say which item the target is.
    list_length: titles of the longest list that is asked for, where lists are
      rewarded; 0 leaves out of batches what that needs.
    group_by_length: whether the rows of a training batch are alike in length,
      and its instructions and histories no wider than they need: less padding,
      for a few more shapes to compile.
  """

  mixture: str
  eval_mixture: str = "instructrec_v1_rerank"
  inputs_length: int = 0
  targets_length: int = 0
  leave_out_longer: bool = False
  batch_size: int
  pack: bool = False
  loss_on_targets_only: bool = True
  seed: int = 0
  modules: tuple[str, ...] = ("tasks.instructrec",)
  validation_split: str | None = "validation"
  task_forms: tuple[str, ...] = ()
  history_length: int = 0
  title_length: int = 0
  num_drawn: int = 0
  list_length: int = 0
  group_by_length: bool = False

  @property
  def unknown(self) -> tuple[str, ...]:
    """The lengths that are still to be chosen from the data."""
    lengths = ("inputs_length", "targets_length", "title_length")
    needed = lengths if self.reads_items else lengths[:2]
    return tuple(name for name in needed if not getattr(self, name))

  @property
  def reads_items(self) -> bool:
    """Whether batches hold titles of single items."""
    return self.history_length > 0 or self.num_drawn > 0

  def joins(self, reads_rows: bool) -> bool:
    """Whether rows hold prompt and answer in one sequence.

    Args:
      reads_rows: whether the network can read them so; see `network.Network`.
    """
    return reads_rows and (self.pack or not self.loss_on_targets_only)

  def shapes(self, rows: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the unpacked arrays of a training batch.

    Args:
      rows: of the batch.

    Returns:
      Shapes by name.
    """
    targets = (rows, self.targets_length)
    found: dict[str, tuple[int, ...]] = {
      "encoder_input_tokens": (rows, self.inputs_length),
      "decoder_input_tokens": targets,
      "decoder_target_tokens": targets,
      "decoder_loss_weights": targets,
    }
    for name, count in (
      ("history", self.history_length),
      ("choice", self.num_drawn and 1 + self.num_drawn),
    ):
      if count:
        found[f"{name}_tokens"] = (rows, count, self.title_length)
        found[f"{name}_items"] = (rows, count)
        found[f"{name}_logs"] = (rows, count, features.NUM_LOGS)
    if self.num_drawn:
      found["choice_follows"] = (rows, 1)
    return found

  def __post_init__(self) -> None:
    """Checks the sizes.

    Raises:
      ValueError: where one is no number, too small or beyond its limit, rows
        that are packed are to hold items or to be alike in length, or
        responses are to be left out that are longer than a width which is not
        given.
    """
    least = {
      "batch_size": 1,
      **dict.fromkeys(
        (
          "inputs_length",
          "targets_length",
          "title_length",
          "history_length",
          "num_drawn",
          "list_length",
        ),
        0,
      ),
    }
    for field, smallest in least.items():
      value = getattr(self, field)
      if not isinstance(value, int) or value < smallest:
        raise ValueError(
          f"DataConfig.{field} is {value}, expected a number of at least "
          f"{smallest}"
        )
      if field != "batch_size":
        limits.LENGTH.check(value, f"DataConfig.{field}")
    if self.leave_out_longer and not self.targets_length:
      raise ValueError(
        "DataConfig.leave_out_longer is True and targets_length 0, which takes "
        "the longest response; set targets_length (TARGETS_LENGTH), or "
        "leave_out_longer (LEAVE_OUT_LONGER) to False"
      )
    for field in (
      "leave_out_longer",
      "pack",
      "loss_on_targets_only",
      "group_by_length",
    ):
      value = getattr(self, field)
      if not isinstance(value, bool):
        raise ValueError(
          f"DataConfig.{field} is {value!r}, expected True or False"
        )
    if self.group_by_length and (self.pack or not self.loss_on_targets_only):
      wrong = (
        "pack (PACK) is True"
        if self.pack
        else "loss_on_targets_only (LOSS_ON_TARGETS_ONLY) False"
      )
      raise ValueError(
        f"DataConfig.group_by_length is True and {wrong}: rows that are alike "
        "in length hold one prompt each, apart from its answer; set "
        "GROUP_BY_LENGTH to False, or the other one back"
      )
    if self.pack and self.reads_items:
      raise ValueError(
        f"DataConfig.pack is True, history_length {self.history_length} and "
        f"num_drawn {self.num_drawn}: items belong to rows of one example; "
        "set pack (PACK) to False, or both others to 0"
      )


def feature_lengths(
  *,
  inputs: int,
  targets: int,
  history_length: int = 0,
  title_length: int = 24,
  num_drawn: int = 0,
  num_candidates: int | None = None,
) -> dict[str, int | tuple[int, int]]:
  """Lengths of the features of SeqIO tasks that end in `_items`.

  Args:
    inputs: width of an instruction, in tokens.
    targets: width of a response or candidate, in tokens.
    history_length: see `DataConfig`.
    title_length: likewise.
    num_drawn: likewise.
    num_candidates: longest list, of tasks of candidate lists, which draw
      nothing; None for single targets.

  Returns:
    What `RankingFeatureConverter` and T5X call task feature lengths.
  """
  found: dict[str, int | tuple[int, int]] = {
    "inputs": inputs,
    "targets": targets if num_candidates is None else (num_candidates, targets),
  }
  if history_length:
    found["history"] = (history_length, title_length)
  if num_candidates is not None:
    found["choices"] = (num_candidates, title_length)
  elif num_drawn:
    found["choices"] = (1 + num_drawn, title_length)
  return found
