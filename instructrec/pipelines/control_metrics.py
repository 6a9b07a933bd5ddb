"""Control metrics of written lists, as SeqIO's Evaluator computes them."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seqio

from instructrec.alignment import asked
from instructrec.alignment.constraint import Constraint
from instructrec.evaluation import control_lists
from instructrec.instructions import title_list
from instructrec.pipelines import item_features, registry

_TEXTS, _TEXT_LISTS = ("next_id",), ("constraints", "history_ids")


def wanted(
  output: str, *, example: Mapping[str, Any], is_target: bool, **unused: Any
) -> Any:
  """Postprocessor of the tasks whose responses are lists.

  Args:
    output: a decoded text.
    example: the row.
    is_target: whether `output` is the response, else it was generated.
    **unused: SeqIO passes more.

  Returns:
    A generated text itself; for a response what was asked for.
  """
  if not is_target:
    return output
  return {
    "k": int(example["k"]),
    **{name: example[name].decode() for name in _TEXTS},
    **{name: [t.decode() for t in example[name]] for name in _TEXT_LISTS},
  }


def categories(
  output: str, *, example: Mapping[str, Any], is_target: bool, **unused: Any
) -> Any:
  """Postprocessor of the task whose responses are categories.

  Args:
    output: a decoded text.
    example: the row.
    is_target: whether `output` is the response, else it was generated.
    **unused: SeqIO passes more.

  Returns:
    A generated text itself; for a response all categories of the item, the
    most specific one first.
  """
  if not is_target:
    return output
  found = [Constraint.parse(t.decode()) for t in example["constraints"]]
  return [constraint.attribute.name for constraint in found]


def named(
  targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> dict[str, float]:
  """How often a category is named; a SeqIO predict metric.

  Args:
    targets: results of `categories` for the responses.
    predictions: the generated texts.

  Returns:
    exact_match: fraction of texts that are the most specific category of the
    item; any_level: fraction that are any.
  """
  pairs = list(zip(targets, predictions, strict=True))
  return {
    "exact_match": float(np.mean([text == own[0] for own, text in pairs])),
    "any_level": float(np.mean([text in own for own, text in pairs])),
  }


def of_categories(source: seqio.TfdsDataSource) -> registry.Measured:
  """Postprocessor and metric of the task of categories."""
  del source
  return categories, named


def of_lists(source: seqio.TfdsDataSource) -> registry.Measured:
  """Postprocessor and metrics of a task's lists.

  The metrics are means of the columns of `evaluation.control_lists`, each over
  the lists that have it; without a history there is no target, and no
  accuracy. The items are read when they are asked for.

  Args:
    source: of the task.

  Returns:
    Two functions; the metrics are SeqIO's predict metrics.
  """

  def control_metrics(
    targets: Sequence[Mapping[str, Any]], predictions: Sequence[str]
  ) -> dict[str, float]:
    asks, titles = _opened(*item_features.place(source))
    rows = asks({name: [t[name] for t in targets] for name in asked.COLUMNS})
    readings = [*map(titles.read, predictions)]
    items = title_list.to_array(readings, 1)
    columns = control_lists.per_list(
      control_lists.Lists(items, rows.k, rows.history),
      rows.targets,
      rows.wish,
      rows.has(items),
    )
    wrong = [reading.misnumbered for reading in readings]
    columns[control_lists.MISNUMBERED] = np.array(wrong, np.float64)
    if not any(target["next_id"] for target in targets):
      columns = {
        name: column
        for name, column in columns.items()
        if name not in control_lists.ACCURACY
      }
    return {
      name: float(np.nanmean(column))
      for name, column in columns.items()
      if np.isfinite(column).any()
    }

  return wanted, control_metrics


@functools.lru_cache(maxsize=2)
def _opened(path: str, written: int) -> Any:
  """What reads wishes and lists of the catalogue beside the rows."""
  del written  # Another file under the same name is read anew.
  items = item_features.read_catalog(path)
  return asked.Reader(items), title_list.Reader(items.titles)
