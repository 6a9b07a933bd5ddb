"""Which metrics an evaluation has, and which of them its tables speak of."""

import dataclasses
from collections.abc import Sequence
from typing import Self

from instructrec.evaluation import metrics

ALWAYS = ("HR@1", "NDCG@10")
"""Methods are sorted by NDCG@10, and parts of the requests show both."""
COMPARED = ("HR@1", "NDCG@10", "MRR")


@dataclasses.dataclass(frozen=True)
class Selection:
  """Metrics by name.

  Attributes:
    names: all of them, in the order of the tables.
    compared: those at which methods are compared; reports begin with the first.

  Raises:
    ValueError: where a name is that of no metric, one of `ALWAYS` is missing,
      or one that is compared.
  """

  names: tuple[str, ...] = metrics.NAMES
  compared: tuple[str, ...] = COMPARED

  def __post_init__(self) -> None:
    """Checks the names."""
    metrics.parse(self.names)
    needed = dict.fromkeys((*ALWAYS, *self.compared))
    if missing := [name for name in needed if name not in self.names]:
      raise ValueError(
        f"the metrics are {', '.join(self.names)}; expected "
        f"{', '.join(missing)} among them: methods are sorted by NDCG@10, and "
        "reports speak of HR@1 and of what is compared"
      )

  @classmethod
  def of(cls, given: Sequence[str], otherwise: Self | None = None) -> Self:
    """The metrics that somebody asked for.

    Args:
      given: names, as `metrics.parse` reads them; none for `otherwise`.
      otherwise: what stands where nothing is asked for; None for the default.

    Returns:
      Those of `given`, which are compared, and those of `ALWAYS` behind them.

    Raises:
      ValueError: where a name is that of no metric, or stands twice.
    """
    if not given:
      return cls() if otherwise is None else otherwise
    asked = metrics.parse(given)
    return cls((*asked, *(m for m in ALWAYS if m not in asked)), asked)
