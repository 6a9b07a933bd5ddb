"""Which tasks of a mixture are evaluated, and on which of their requests."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

from instructrec.pipelines import blocks, registry, token_cache
from instructrec.retrieval import candidate_lists
from instructrec.serving import instruction_folder
from instructrec.training import trained_run


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationTasks:
  """The chosen tasks of a run's evaluation mixture.

  Attributes:
    run: the run, for the mixture and the vocabulary.
    instructions: where the requests are.
    split: whose requests are ranked.
    task_types: such as "sequential_p1_i0", or "sequential" for all that begin
      so; empty for all.
    seed: by which requests are drawn.
  """

  run: trained_run.Run
  instructions: instruction_folder.InstructionFolder
  split: str
  task_types: Sequence[str] = ()
  seed: int = 0

  @functools.cached_property
  def names(self) -> list[str]:
    """Names of the tasks, as SeqIO knows them.

    Raises:
      ValueError: for a task type that the mixture does not have, or a split
        that the requests do not have.
    """
    registry.import_tasks(self.run.data.modules)
    every = token_cache.mixture_rates(self.run.data.eval_mixture)
    # Other wordings may be of some tasks alone; see `generate --eval_template`.
    names = [name for name in every if self._has_split(name, self.split)]
    splits = tuple(self.instructions.prepared.requests.counts)
    if self.split not in splits:
      raise ValueError(f"the requests are of {splits}, not {self.split!r}")
    groups = {self.group(name): name for name in names or every}
    found = {
      wanted: [
        group for group in groups if f"{group}_".startswith(f"{wanted}_")
      ]
      for wanted in self.task_types or groups
    }
    if unknown := sorted(wanted for wanted in found if not found[wanted]):
      raise ValueError(
        f"unknown task types {unknown}; {self.run.data.eval_mixture} has "
        f"{sorted(groups)}"
      )
    chosen = [group for matches in found.values() for group in matches]
    return [groups[group] for group in dict.fromkeys(chosen)]

  @property
  def with_validation(self) -> list[str]:
    """Those of the tasks that have validation requests."""
    return [name for name in self.names if self._has_split(name, "validation")]

  def _has_split(self, name: str, split: str) -> bool:
    return token_cache.has_split(name, split, self.instructions.directory)

  def group(self, name: str) -> str:
    """A task's name without what all names of the mixture share."""
    name = name.removesuffix(registry.RERANK)
    mixture = self.run.data.eval_mixture.removesuffix(registry.RERANK)
    return name.removeprefix(f"{mixture}_")

  @functools.cached_property
  def _titles(self) -> blocks.Titles:
    return blocks.Titles.encode(
      self.instructions.prepared.catalog, self.run.tokenizer
    )

  def blocks(
    self,
    name: str,
    split: str,
    lists: candidate_lists.CandidateLists | None,
    num_requests: int | None,
  ) -> Iterator[blocks.Block]:
    """Requests of a task, some at a time.

    Args:
      name: of the task.
      split: which of its splits.
      lists: candidates to rank, of the requests that have some; None for the
        frozen ones of all.
      num_requests: how many, drawn by seed; None for all.

    Yields:
      The blocks, in the order of the data.
    """
    data = token_cache.load(name, split, self.instructions.directory)
    examples = blocks.select(data, lists, num_requests, self.seed)
    exchange = None if lists is None else blocks.Exchange(lists, self._titles)
    yield from blocks.blocks(
      data, examples, self.instructions.prepared, exchange=exchange
    )
