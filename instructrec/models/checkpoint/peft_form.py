"""PEFT's form of adapters: adapter_config.json and adapter_model.safetensors.

PEFT names modules as Hugging Face does and has both factors transposed. What is
written is what `peft.PeftModel.from_pretrained` reads; PEFT is not needed.
"""

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from instructrec import checksums
from instructrec.models.checkpoint import (
  adapted,
  architecture,
  huggingface,
  names,
  storage,
)
from instructrec.models.checkpoint.tensors import (
  Checkpoint,
  CheckpointError,
  Tensor,
  nearest,
)
from instructrec.models.networks import adapters, network_config

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE = "base_model_name_or_path"
_PREFIX = "base_model.model."
_FACTOR = re.compile(r"(.+)\.lora_(A|B)\.weight")
# Forms of LoRA that compute something else; the first value is ours.
_PLAIN: dict[str, tuple[Any, ...]] = {
  "peft_type": ("LORA",),
  "bias": ("none",),
  "lora_bias": (False, None),
  "use_dora": (False, None),
  "use_rslora": (False, None),
  "use_qalora": (False, None),
  "use_bdlora": (None, False),
  "fan_in_fan_out": (False,),
  "modules_to_save": (None, []),
  "rank_pattern": ({}, None),
  "alpha_pattern": ({}, None),
  "target_parameters": (None, []),
  "trainable_token_indices": (None,),
  "layer_replication": (None,),
  "alora_invocation_tokens": (None,),
}


def is_adapter(folder: str | os.PathLike[str]) -> bool:
  """Whether a folder has PEFT's form."""
  return "://" not in os.fspath(folder) and (
    (storage.local(folder) / CONFIG).is_file()
  )


def settings(folder: str | os.PathLike[str]) -> dict[str, Any]:
  """The fields of adapter_config.json.

  Args:
    folder: that PEFT or `write` made.

  Raises:
    CheckpointError: where it cannot be read, or is of another kind of adapter.
    FileNotFoundError: where there is none.
  """
  file = storage.local(folder) / CONFIG
  fields = huggingface.read_json(file)
  architecture.require(fields, _PLAIN, str(file))
  return fields


def read(
  folder: str | os.PathLike[str], config: network_config.NetworkConfig
) -> tuple[Checkpoint, adapters.LoRA]:
  """Opens the folder of an adapter.

  Args:
    folder: that `save_pretrained` or a download made.
    config: of the network that it is for.

  Returns:
    The factors by our names, and the settings; their `targets` match the
    modules that have some.

  Raises:
    CheckpointError: where it is for another network, or computes what ours do
      not.
    FileNotFoundError: where a file is missing.
  """
  path = storage.local(folder)
  if (path / checksums.FILE).exists():
    checksums.verify(path, "copy the folder again", [CONFIG, WEIGHTS])
  fields = settings(path)
  known = _modules(config)
  params, left, unknown = {}, {}, []
  for name, tensor in huggingface.open_file(path / WEIGHTS).items():
    own = name.removeprefix(_PREFIX)
    match = _FACTOR.fullmatch(own)
    if own.endswith(".base_layer.weight"):
      left[name] = "the network's own, which PEFT copies"
    elif match is None or match[1] not in known:
      module = match[1] if match else own
      unknown.append(f"{name}{nearest(module, known)}")
    else:
      factor = adapters.A if match[2] == "A" else adapters.B
      params[f"{known[match[1]]}/{factor}"] = tensor.transposed()
  if unknown:
    kind = names.architecture(config)
    raise CheckpointError(
      f"{path} holds {len(unknown)} factors that {kind.describe(config)} has "
      f"no matrix for: {', '.join(unknown[:5])}"
      f"{' ...' if len(unknown) > 5 else ''}"
    )
  targets = sorted(
    {re.escape(adapters.without_number(m)) for m in adapted.pairs(params)}
  )
  try:
    lora = adapters.LoRA(
      targets="|".join(targets),
      rank=fields["r"],
      alpha=fields["lora_alpha"],
      dropout_rate=fields.get("lora_dropout", 0.0),
    )
  except (KeyError, TypeError, ValueError) as error:
    raise CheckpointError(f"{path / CONFIG}: {error!r}") from error
  found = Checkpoint(str(path), "peft", 0, params, left, config=config)
  return found, lora


def write(
  folder: str | os.PathLike[str],
  params: Mapping[str, Tensor],
  lora: adapters.LoRA,
  config: network_config.NetworkConfig,
  *,
  base: str | None = None,
) -> None:
  """Writes an adapter as PEFT does.

  Args:
    folder: must not exist yet.
    params: factors by our unstacked name; others are left out.
    lora: their settings.
    config: of the network.
    base: where that lies, for whoever reads the folder.

  Raises:
    CheckpointError: where the token table has an adapter.
    FileExistsError: where the folder exists.
  """
  known = _modules(config)
  theirs = {ours: name for name, ours in known.items()}
  changes = adapted.pairs(params)
  if unknown := sorted(changes.keys() - theirs.keys()):
    raise CheckpointError(
      f"{', '.join(unknown[:5])} cannot be written for PEFT, whose adapters "
      "of token tables change one of the table's uses alone; merge them "
      "(`instructrec checkpoint merge`)"
    )
  factors = {}
  for module, pair in changes.items():
    for letter, tensor in zip("AB", pair, strict=True):
      name = f"{_PREFIX}{theirs[module]}.lora_{letter}.weight"
      factors[name] = tensor.transposed()
  kind = names.architecture(config)
  fields = {name: values[0] for name, values in _PLAIN.items()} | {
    BASE: base,
    "inference_mode": True,
    "init_lora_weights": True,
    "lora_alpha": lora.alpha,
    "lora_dropout": lora.dropout_rate,
    "r": lora.rank,
    "target_modules": _targets({theirs[m] for m in changes}, set(known)),
    "task_type": kind.task_type,
  }
  with storage.whole_folder(storage.local(folder)) as temporary:
    huggingface.write_file(temporary / WEIGHTS, dict(sorted(factors.items())))
    text = json.dumps(fields, indent=2, sort_keys=True)
    (temporary / CONFIG).write_text(text)


def _modules(config: network_config.NetworkConfig) -> dict[str, str]:
  """Our path of every matrix that may have an adapter, by Hugging Face's."""
  return {
    known.huggingface.removesuffix(".weight"): known.name.removesuffix(
      "/kernel"
    )
    for known in names.parameters(config).values()
    if known.name.endswith("/kernel")
  }


def _targets(modules: set[str], known: set[str]) -> list[str]:
  """The last names of modules, where these mean them and no others."""
  last = {module.rpartition(".")[2] for module in modules}
  meant = {module for module in known if module.rpartition(".")[2] in last}
  return sorted(last if meant == modules else modules)
