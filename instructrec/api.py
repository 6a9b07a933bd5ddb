"""The commands as functions: from a frame to a ranked list in ten lines.

They fill the settings of the commands and call the same pipelines; every
setting has the name of its option. What they import, they import when called.
"""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from instructrec.settings import (
  evaluation,
  generation,
  option,
  preparation,
  training,
)

if TYPE_CHECKING:
  from instructrec.data import dataset
  from instructrec.evaluation import compare

Path = str | os.PathLike[str]
Tell = Callable[[str], None]


def prepare(
  interactions: Any = None,
  *,
  items: Any = None,
  reviews: Any = None,
  output: Path,
  tell: Tell = print,
  **settings: Any,
) -> "dataset.PreparedData":
  """Reads interactions; filters, splits by time, draws candidates, freezes all.

  Args:
    interactions: a row an interaction, with the columns `user_id` and
      `item_id`, and `timestamp`, `rating`, `text` where there are any: a frame
      of polars, pandas or pyarrow, columns by name, or the path of a file.
      None where `source` or `download` says what is read.
    items: a row an item, with `item_id` and `title`, and `categories`, `brand`,
      `price`, `description`, `year` where there are any.
    reviews: texts by `user_id` and `item_id`, or None.
    output: folder to make.
    tell: takes a line for what should be known.
    **settings: fields of `PrepareSettings` and `SourceSettings`, which are the
      options of `instructrec prepare`; `columns={"items.item_id": "sku"}` for
      columns that are called otherwise.

  Returns:
    What was written.

  Raises:
    FileExistsError: where the output exists.
    FileNotFoundError: where files are missing.
    TypeError: where a table is none, or there is no such setting.
    ValueError: where tables cannot be read, or nothing is left of them.

  Example:
    >>> orders = {"user_id": ["a"] * 9, "item_id": [*"123456789"]}
    >>> shop = {"item_id": [*"123456789"], "title": [*"ABCDEFGHI"]}
    >>> instructrec.prepare(
    ...   orders, items=shop, output="work/prepared", min_interactions=1
    ... )
  """
  tables = {"interactions": interactions, "items": items, "reviews": reviews}
  frames: dict[str, Any] = {}
  for name, table in tables.items():
    if isinstance(table, str | os.PathLike):
      settings["input" if name == "interactions" else name] = table
    elif table is not None:
      frames[name] = table
  if interactions is not None:
    settings.setdefault("source", preparation.Source.table)
  made = option.make(
    preparation.PrepareSettings, output=output, frames=frames, **settings
  )
  return prepare_by(made, tell=tell, step=tell)


def prepare_by(
  settings: preparation.PrepareSettings, *, tell: Tell, step: Tell
) -> "dataset.PreparedData":
  """Prepares; what `prepare` and the command of that name call.

  Args:
    settings: which data, and how.
    tell: takes a line for what should be known.
    step: takes a line for what takes long, as it begins.

  Returns:
    What was written.

  Raises:
    OSError: see `prepare`.
    ValueError: see `prepare`.
  """
  from instructrec.data import preparation as pipeline

  looks = None
  if settings.vocabulary is not None:
    from instructrec.models import tokenizer

    looks = tokenizer.Tokenizer(settings.vocabulary).looks
  return pipeline.prepare(settings, looks=looks, tell=tell, step=step)


def generate(
  data: Path, *, output: Path, tell: Tell = print, **settings: Any
) -> pathlib.Path:
  """Turns prepared data into instructions.

  Args:
    data: the folder that `prepare` wrote.
    output: folder to make.
    tell: takes a line for what should be known.
    **settings: fields of `GenerationSettings`, which are the options of
      `instructrec generate`. `num_workers` is 1 if left out: more are processes
      that import the script, which then needs `if __name__ == "__main__":`.

  Returns:
    The folder.

  Raises:
    FileExistsError: where the output exists.
    FileNotFoundError: where there are no prepared data.
    TypeError: where there is no such setting.
    ValueError: where settings or vocabulary do not fit.
  """
  settings.setdefault("num_workers", 1)
  made = option.make(
    generation.GenerationSettings, data=data, output=output, **settings
  )
  from instructrec.pipelines import instructions

  return instructions.generate(made, tell=tell)


def train(
  instructions: Path,
  *,
  model_dir: Path,
  gin_files: str | Sequence[str] = "gin/quickstart.gin",
  bindings: Mapping[str, Any] | Sequence[str] = (),
  tell: Tell = print,
  **settings: Any,
) -> pathlib.Path:
  """Trains a model, or goes on with one that was stopped.

  Args:
    instructions: the folder that `generate` wrote.
    model_dir: folder of the run.
    gin_files: the recipe, one of ours by its name or your own.
    bindings: what goes over it: `{"TRAIN_STEPS": 100}`, or text as gin has it,
      `["OPTIMIZER = @optimizer.adafactor()"]`.
    tell: takes a line for what should be known.
    **settings: other fields of `TrainingSettings`.

  Returns:
    The folder of the run.

  Raises:
    FileNotFoundError: where gin files or instructions are missing.
    InUseError: where another process trains in the folder.
    TypeError: where there is no such setting.
    ValueError: for bindings that nothing reads, and what does not fit.
  """
  if isinstance(bindings, Mapping):
    bindings = [f"{name} = {value!r}" for name, value in bindings.items()]
  made = option.make(
    training.TrainingSettings,
    tfds_data_dir=instructions,
    model_dir=model_dir,
    gin_files=gin_files,
    bindings=bindings,
    **settings,
  )
  from instructrec.pipelines import train as pipeline

  pipeline.train(made, tell=tell)
  return made.model_dir


def evaluate(
  model_dir: Path, *, tell: Tell = print, **settings: Any
) -> "compare.Report":
  """Reranks the test requests of a run and writes a report.

  Args:
    model_dir: the folder that `train` wrote.
    tell: takes a line for what should be known.
    **settings: fields of `EvaluationSettings`, which are the options of
      `instructrec evaluate`, such as `num_requests=1000`.

  Returns:
    The report: `groups` has means and intervals by task, method and metric,
    `table` a row a request, `path` the folder with the pages.

  Raises:
    FileNotFoundError: where the run or its data are missing.
    TypeError: where there is no such setting.
    ValueError: where settings do not fit the run.
  """
  made = option.make(
    evaluation.EvaluationSettings, model_dir=model_dir, **settings
  )
  from instructrec.evaluation import compare
  from instructrec.pipelines import evaluate as pipeline

  page = pipeline.evaluate(made, command="instructrec.evaluate", tell=tell)
  return compare.load(page.parent)
