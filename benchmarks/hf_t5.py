"""Our network as Hugging Face's, with the same weights, and its scores."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from flax import traverse_util
from transformers import modeling_outputs

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


def dictionary_trie(titles: Iterable[Sequence[int]]) -> dict[int, Any]:
  """Titles in tokens as dictionaries in each other, for what may follow."""
  root: dict[int, Any] = {}
  for title in titles:
    node = root
    for token in title:
      node = node.setdefault(token, {})
  return root


def naive_scores(
  model: transformers.T5ForConditionalGeneration,
  inputs: torch.Tensor,
  targets: torch.Tensor,
) -> torch.Tensor:
  """Log-likelihoods of candidates, the instruction read for each of them.

  Args:
    model: the network.
    inputs: instruction tokens, [1, inputs].
    targets: candidate tokens, [candidates, length], 0 where padded.

  Returns:
    Nats, [candidates].
  """
  logits = model(
    input_ids=inputs.repeat(len(targets), 1),
    decoder_input_ids=_shifted(targets),
    use_cache=False,
  ).logits
  return _sums(logits, targets)


def reused_scores(
  model: transformers.T5ForConditionalGeneration,
  inputs: torch.Tensor,
  targets: torch.Tensor,
) -> torch.Tensor:
  """`naive_scores` by one encoder pass; its output is expanded, not copied."""
  encoded = model.encoder(input_ids=inputs).last_hidden_state
  logits = model(
    encoder_outputs=modeling_outputs.BaseModelOutput(
      encoded.expand(len(targets), -1, -1)
    ),
    decoder_input_ids=_shifted(targets),
    use_cache=False,
  ).logits
  return _sums(logits, targets)


def _shifted(targets: torch.Tensor) -> torch.Tensor:
  return torch.nn.functional.pad(targets[:, :-1], (1, 0))


def _sums(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
  log_probs = logits.log_softmax(-1)
  found = log_probs.gather(-1, targets[..., None])[..., 0]
  return (found * (targets != 0)).sum(-1)
