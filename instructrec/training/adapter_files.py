"""Finds adapters where they lie: in a run, in PEFT's form, beside a network."""

import os
from collections.abc import Sequence
from typing import Any

from instructrec import checkpoint_steps
from instructrec.models.checkpoint import adapted, opening, peft_form, tensors
from instructrec.training import own_checkpoints, run_dir
from instructrec.training.adapted_network import AdaptedNetwork

_Path = str | os.PathLike[str]


def open_adapted(
  source: _Path,
  step: checkpoint_steps.Step = checkpoint_steps.BEST,
  *,
  base: str | None = None,
  config: Any = None,
  modules: Sequence[str] = (),
) -> tuple[AdaptedNetwork, Any]:
  """Opens adapters and their network.

  Args:
    source: a run, its checkpoints or one of them; a folder of PEFT; or a
      checkpoint that holds both.
    step: which of a folder of checkpoints.
    base: the network's checkpoint; None for where the source says it is.
    config: of the network, with its adapters where the source is no run and
      none of PEFT.
    modules: that a run's settings may name, see `run_dir.load`.

  Returns:
    Both, and the network's settings; these are None where its checkpoint has
    to tell.

  Raises:
    CheckpointError: where they do not belong together, or it is not known what
      they are.
    FileNotFoundError: where one of them is gone.
  """
  if peft_form.is_adapter(source):
    return _of_peft(source, base, config)
  if (run := run_dir.holding(source, modules=modules)) is not None:
    own = run.parameters
    assert isinstance(own, own_checkpoints.OwnCheckpoints)
    if own.lora is None:
      raise tensors.CheckpointError(f"the run in {source} has no adapters")
    if step == checkpoint_steps.BEST:
      named = opening.step_of(source)
      step = checkpoint_steps.BEST if named is None else named
    return own.adapted(step, base), run.model.network_config
  found = opening.open_checkpoint(source, step)
  if config is None or config.adapter is None:
    raise tensors.CheckpointError(
      f"{source} is neither a run nor a folder of PEFT, and does not say what "
      "its adapters are; name the gin files of its network and of these "
      "(--gin_file=gin/models/..., --gin_file=gin/overrides/lora.gin)"
    )
  network = adapted.network_of(found)
  if base is not None:
    network = opening.open_checkpoint(base)
  return AdaptedNetwork(found, config.adapter, network), config


def _of_peft(
  source: _Path, base: str | None, config: Any
) -> tuple[AdaptedNetwork, Any]:
  named = base or peft_form.settings(source).get(peft_form.BASE)
  if named is None:
    raise tensors.CheckpointError(
      f"{source} does not say which network it is for; name its checkpoint "
      "(--base)"
    )
  try:
    network = opening.open_checkpoint(named)
  except FileNotFoundError as error:
    raise FileNotFoundError(
      f"{source} is for the network {named}, which is no checkpoint here; "
      "download it and name its folder (--base)"
    ) from error
  config = opening.check(network, config)
  factors, lora = peft_form.read(source, config)
  return AdaptedNetwork(factors, lora, network), config


def write_peft(network: AdaptedNetwork, config: Any, output: _Path) -> None:
  """Writes adapters for PEFT.

  Args:
    network: from `open_adapted`.
    config: likewise; None where the network has to tell.
    output: folder to make.

  Raises:
    CheckpointError: where PEFT has no such adapters.
    FileExistsError: where the folder exists.
  """
  peft_form.write(
    output,
    network.factors.params,
    network.lora,
    opening.check(network.base, config),
    base=network.base.path,
  )
