"""Our network as Hugging Face's, with the same weights."""

from typing import Any

import numpy as np
import torch
import transformers
from flax import traverse_util

from instructrec.models.checkpoint import names
from instructrec.models.networks import t5_config


def build(
  config: t5_config.T5Config, params: Any
) -> transformers.T5ForConditionalGeneration:
  """`T5ForConditionalGeneration` in float32.

  Args:
    config: of our network.
    params: its parameters.

  Returns:
    The model, in the mode for evaluation.

  Raises:
    ValueError: where one network has weights that the other lacks.
  """
  fields = names.architecture(config).config_to_json(config)
  model = transformers.T5ForConditionalGeneration(
    transformers.T5Config(**fields)
  ).eval()
  # transformers 5 ties the logits to the table whatever its settings say.
  model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
  model.config.scale_decoder_outputs = False
  flat = traverse_util.flatten_dict(params, sep="/")
  weights = {}
  for name, parameter in names.parameters(config).items():
    array = np.array(flat[name])
    weights[parameter.huggingface] = torch.tensor(
      array.T.copy() if parameter.transposed else array
    )
  missing, unexpected = model.load_state_dict(weights, strict=False)
  # The stacks' own names for the shared table.
  missing = [name for name in missing if "embed_tokens" not in name]
  if missing or unexpected:
    raise ValueError(f"weights do not fit: {missing}, {unexpected}")
  return model
