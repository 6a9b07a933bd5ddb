"""A finished run with all that ranking needs: parameters, items, wordings."""

import dataclasses
import functools
import pathlib
from typing import Any, Self

from instructrec import checkpoint_steps
from instructrec.data import catalog as catalog_lib
from instructrec.data import dataset
from instructrec.instructions import templates
from instructrec.retrieval import run_weights
from instructrec.serving import (
  catalog_ranker,
  instruction_folder,
  model_parts,
)
from instructrec.settings import run as run_settings
from instructrec.training import run_opening, trained_run


@dataclasses.dataclass(frozen=True, eq=False)
class OpenedRun:
  """What a model folder and its data hold.

  Attributes:
    run: the run.
    params: its parameters.
    prepared: the items, and what was taken in training.
    template_set: instructions in the words of the data's domain.
    item_folder: where the table of the items is that are ranked; None for the
      run's own copy.
    batch_size: requests scored at once, where the decoder scores.
    checkpoint: which parameters these are, in words.
    step: of these parameters; None where they are not the run's own.
  """

  run: trained_run.Run
  params: Any
  prepared: dataset.PreparedData
  template_set: templates.TemplateSet
  item_folder: pathlib.Path | None = None
  batch_size: int = 32
  checkpoint: str = ""
  step: int | None = None

  @classmethod
  def open(
    cls,
    settings: run_settings.RunSettings,
  ) -> Self:
    """Opens a run, with the instructions and data that it was trained on.

    Args:
      settings: which run, and where its parts lie.

    Returns:
      The run.

    Raises:
      FileNotFoundError: where run, checkpoint, instructions or data are gone.
      NotAllowedError: where the settings name other modules.
      ValueError: where instructions or data are others.
    """
    run = run_opening.open_run(settings)
    instructions = instruction_folder.InstructionFolder.of_run(
      run, tfds_data_dir=settings.tfds_data_dir, data=settings.data
    )
    step, given = checkpoint_steps.parse(settings.step), settings.checkpoint
    if given is None:
      params, chosen = run.params(step)
      name, own = str(chosen), chosen.step
    else:
      params, name, own = run.params_from(given, step), given, None
    opened = cls.over(run, params, instructions)
    return dataclasses.replace(opened, checkpoint=name, step=own)

  @classmethod
  def over(
    cls,
    run: trained_run.Run,
    params: Any,
    instructions: instruction_folder.InstructionFolder,
    batch_size: int = 32,
  ) -> Self:
    """A run over the items and in the words of instructions.

    Args:
      run: the run.
      params: its parameters.
      instructions: those that it was trained on, or others.
      batch_size: requests scored at once, where the decoder scores.

    Returns:
      The run.
    """
    return cls(
      run,
      params,
      instructions.prepared,
      instructions.template_set,
      instructions.directory,
      batch_size,
    )

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
      item_folder=self.item_folder,
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

  @property
  def weights_warning(self) -> str | None:
    """That the score weights were fitted with other parameters, if so."""
    if not self.ranks_catalogs or not self.checkpoint:
      return None
    fitted = self.catalog_ranker.weights.checkpoint_step
    if fitted is None or fitted == self.step:
      return None
    return (
      f"the score weights of the run were fitted with checkpoint_{fitted}, and "
      f"what ranks is {self.checkpoint}: its parts may weigh too much or too "
      "little"
    )
