"""A finished run with all that ranking needs: parameters, items, wordings."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any, Self

from instructrec.data import catalog as catalog_lib
from instructrec.data import dataset
from instructrec.instructions import instruction_folder, templates
from instructrec.retrieval import run_weights
from instructrec.serving import catalog_ranker, model_parts
from instructrec.training import run_dir


@dataclasses.dataclass(frozen=True, eq=False)
class OpenedRun:
  """What a model folder and its data hold.

  Attributes:
    run: the run.
    params: its parameters.
    prepared: the items, and what was taken in training.
    template_set: instructions in the words of the data's domain.
    batch_size: requests scored at once, where the decoder scores.
  """

  run: run_dir.Run
  params: Any
  prepared: dataset.PreparedData
  template_set: templates.TemplateSet
  batch_size: int = 32

  @classmethod
  def open(
    cls,
    model_dir: str | os.PathLike[str],
    *,
    checkpoint: str | None = None,
    modules: Sequence[str] = (),
  ) -> Self:
    """Opens a run.

    Args:
      model_dir: the folder that `train` wrote.
      checkpoint: where the parameters are, if not in the run.
      modules: Python modules that the run's settings may name beside ours.

    Returns:
      The run.

    Raises:
      FileNotFoundError: where run, checkpoint or data are missing.
      NotAllowedError: where the settings name other modules.
    """
    run = run_dir.load(model_dir, modules=modules)
    instructions = instruction_folder.InstructionFolder.open(
      run.record["tfds_data_dir"]
    )
    if checkpoint is None:
      params, _ = run.params()
    else:
      params = run.params_from(checkpoint)
    return cls(run, params, instructions.prepared, instructions.template_set)

  @property
  def catalog(self) -> catalog_lib.Catalog:
    """What can be ranked."""
    return self.prepared.catalog

  @functools.cached_property
  def parts(self) -> model_parts.ModelParts:
    """What the model says of candidates."""
    return model_parts.ModelParts(
      self.run,
      self.params,
      self.prepared,
      self.template_set,
      batch_size=self.batch_size,
    )

  @property
  def ranks_catalogs(self) -> bool:
    """Whether `catalog_ranker` is there: titles are matched."""
    return self.parts.matcher is not None and self.parts.swaps_wishes

  @functools.cached_property
  def catalog_ranker(self) -> catalog_ranker.CatalogRanker:
    """Ranks the catalogue by the weights that lie with the run."""
    weights = run_weights.RunWeights.load(
      self.run.directory, self.parts.untuned
    )
    return catalog_ranker.CatalogRanker(self.parts, weights)
