"""Examples and lengths of a SeqIO task, as training sees them."""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import seqio

from instructrec.models import tokenizer
from instructrec.pipelines import registry, token_cache
from instructrec.serving import instruction_folder
from instructrec.training import ragged, token_dataset


@dataclasses.dataclass(frozen=True)
class Lengths:
  """Lengths in tokens.

  Attributes:
    name: what was measured.
    count: how many.
    mean: their mean.
    percentiles: the 50th, 95th and 99th percentile and the longest.
  """

  name: str
  count: int
  mean: float
  percentiles: tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Example:
  """One example.

  Attributes:
    template_id: the template it was made with.
    inputs: the instruction, decoded from its tokens.
    targets: the response or the candidates, decoded from their tokens.
    input_ids: token ids of the instruction.
    prompt: the instruction without its history, decoded from its tokens; None
      where rows do not tell their items.
  """

  template_id: str
  inputs: str
  targets: tuple[str, ...]
  input_ids: tuple[int, ...]
  prompt: str | None = None


@dataclasses.dataclass(frozen=True)
class Shown:
  """What is to be seen of a mixture or task.

  Attributes:
    rates: effective rate of each task, adding up to 1.
    sizes: examples of each task in the split.
    measured: how many of them lengths and examples are from, by task.
    lengths: of inputs and targets, by task; where rows tell their items, also
      of prompts, and of histories in titles.
    examples: some examples, by task.
  """

  rates: dict[str, float]
  sizes: dict[str, int]
  measured: dict[str, int]
  lengths: dict[str, list[Lengths]]
  examples: dict[str, list[Example]]


def _lengths(name: str, values: np.ndarray) -> Lengths:
  half, most, nearly, longest = np.percentile(values, [50, 95, 99, 100])
  return Lengths(
    name,
    len(values),
    float(values.mean()),
    (int(half), int(most), int(nearly), int(longest)),
  )


def show(
  name: str,
  data_dir: str | os.PathLike[str],
  *,
  split: str = "train",
  num_examples: int = 2,
  num_measured: int | None = 1000,
  seed: int = 0,
  modules: Sequence[str] = ("tasks.instructrec",),
) -> Shown:
  """Reads a mixture or task.

  Args:
    name: the mixture or task.
    data_dir: the TFDS data folder.
    split: which split.
    num_examples: examples of each task, drawn by `seed`.
    num_measured: first examples of each task that are read and measured; None
      for all, which are then kept for training.
    seed: of the draw.
    modules: imported first; they register the tasks.

  Returns:
    What is to be seen.

  Raises:
    ValueError: where nothing is called so, or nothing has the split.
    FileNotFoundError: where the data set is not there.
  """
  path = instruction_folder.vocabulary(data_dir)
  os.environ[tokenizer.ENVIRONMENT_VARIABLE] = str(path)
  registry.import_tasks(modules)
  rates = token_cache.split_rates(name, split, data_dir)
  if not rates:
    raise ValueError(f"no task of {name} has the split {split!r}")
  total = sum(rates.values())
  result = Shown({t: r / total for t, r in rates.items()}, {}, {}, {}, {})
  rng = np.random.default_rng(seed)
  for task in rates:
    if num_measured is None:
      data = token_cache.load(task, split, data_dir)
      result.sizes[task] = len(data)
    else:
      data, result.sizes[task] = token_cache.head(
        task, split, data_dir, num_measured
      )
    result.measured[task] = len(data)
    result.lengths[task] = [
      _lengths("inputs", data.inputs.lengths),
      _lengths(
        "targets" if data.lists is None else "candidates", data.targets.lengths
      ),
    ]
    for field, rows in (("prompts", data.prompts), ("history", data.history)):
      if rows is not None:
        result.lengths[task].append(_lengths(field, rows.lengths))
    chosen = rng.choice(len(data), min(num_examples, len(data)), replace=False)
    feature = seqio.TaskRegistry.get(task).output_features["inputs"]
    result.examples[task] = [
      _example(data, int(index), feature.vocabulary) for index in chosen
    ]
  return result


def _example(
  data: token_dataset.TokenDataset, index: int, words: seqio.Vocabulary
) -> Example:
  def row(of: ragged.Ragged, number: int) -> list[int]:
    return of.tokens[of.offsets[number] : of.offsets[number + 1]].tolist()

  lists = data.lists
  rows = range(index, index + 1)
  if lists is not None:
    rows = range(int(lists[index]), int(lists[index + 1]))
  inputs = row(data.inputs, index)
  return Example(
    template_id=data.columns["template_id"][index],
    inputs=words.decode(inputs),
    targets=tuple(words.decode(row(data.targets, r)) for r in rows),
    input_ids=tuple(inputs),
    prompt=(
      None if data.prompts is None else words.decode(row(data.prompts, index))
    ),
  )
