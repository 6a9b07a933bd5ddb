"""A run as a retriever: the state after a history ranks the catalogue.

A request that comes with a wish is ranked under it.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np
from jaxtyping import Float

from instructrec import checkpoint_steps
from instructrec.data import catalog, dataset, interaction, request
from instructrec.retrieval import retriever
from instructrec.serving import instruction_folder, opened_run
from instructrec.training import run_dir


@dataclasses.dataclass(eq=False)
class RunRetriever(retriever.Retriever):
  """Exact: one product of states and title vectors, and popularity.

  It is trained by `train` and kept in its own folder, so that it is neither
  fitted nor saved as other retrievers are.

  Attributes:
    opened: the run, with titles that are matched.
  """

  opened: opened_run.OpenedRun

  name = "state vector"
  description = (
    "state of the trained model after the history times title vectors, with "
    "popularity by the run's weights"
  )

  def __post_init__(self) -> None:
    """Takes the run's catalogue.

    Raises:
      ValueError: where the run ranks by likelihoods.
    """
    if not self.opened.ranks_catalogs:
      raise ValueError(
        f"the run in {self.opened.run.directory} matches no titles; train one "
        "with gin/objectives/next_item.gin"
      )
    self._set_items(self.opened.catalog.item_ids)

  def _scores(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests items"]:
    return self.opened.catalog_ranker.score_catalog(
      [r.history for r in requests], [r.intention for r in requests]
    )

  def _fit(
    self,
    training_log: interaction.InteractionLog,
    items: catalog.Catalog,
    validation: Sequence[request.RankingRequest],
  ) -> NoReturn:
    raise TypeError("a run is trained with `instructrec train`, not fitted")

  def _save(self, folder: pathlib.Path) -> NoReturn:
    raise TypeError("a run is kept in its model folder, and not saved again")

  def _load(self, folder: pathlib.Path) -> NoReturn:
    raise TypeError("a run is opened with OpenedRun.open")


def open_all(
  folders: Sequence[pathlib.Path],
  prepared: dataset.PreparedData,
  *,
  tfds_data_dir: pathlib.Path | None = None,
  step: checkpoint_steps.Step = checkpoint_steps.BEST,
  modules: Sequence[str] = (),
  tell: Callable[[str], None] = print,
) -> dict[str, RunRetriever]:
  """Opens runs that were trained on the same data.

  Args:
    folders: what `instructrec train` wrote.
    prepared: the data.
    tfds_data_dir: where the instructions of the runs are, if they have moved.
    step: which checkpoint of each.
    modules: Python modules that their settings may name beside ours.
    tell: shows a line.

  Returns:
    The runs as retrievers, by the names of their folders.

  Raises:
    FileNotFoundError: where a folder holds no run, or its instructions are
      gone.
    ValueError: where a run was trained on other data, or matches no titles.
  """
  found = {}
  for folder in folders:
    run = run_dir.load(folder, modules=modules)
    where = instruction_folder.find(run, tfds_data_dir)
    manifest = instruction_folder.read_manifest(where)
    if manifest["prepared_fingerprint"] != prepared.fingerprint:
      raise ValueError(
        f"the run {folder} was trained on data with the fingerprint "
        f"{manifest['prepared_fingerprint']}, these have "
        f"{prepared.fingerprint}; pass the --data that it was made from"
      )
    params, chosen = run.params(step)
    tell(f"ranks by {chosen} of {folder}")
    opened = opened_run.OpenedRun.over(
      run,
      params,
      instruction_folder.InstructionFolder(where, manifest, prepared),
    )
    found[folder.resolve().name] = RunRetriever(opened)
  return found
