"""FLOPs of the matrix products that a network needs, by its sizes.

Two a weight and token, and 4 * heads * head_dim for each pair of positions that
attend to each other, masked or not; as "model FLOPs" are counted in Appendix B
of PaLM (Chowdhery et al., 2022).
"""

from typing import Any

from instructrec.models.networks import (
  llama_config,
  network_config,
  t5_config,
)


def prompt_flops(
  network: network_config.NetworkConfig, *, rows: int, inputs_length: int
) -> float:
  """FLOPs of reading prompts once.

  Args:
    network: the sizes.
    rows: prompts.
    inputs_length: positions of a prompt.

  Returns:
    FLOPs of all rows together.
  """
  tokens = rows * inputs_length
  if isinstance(network, t5_config.T5Config):
    layers = network.num_encoder_layers
    weights = layers * (4 * _projection(network) + network.mlp_parameters)
    pairs = layers * tokens * inputs_length
  else:
    llama = _llama(network)
    # Of the last layer answers ask the keys and values alone.
    layers = llama.num_decoder_layers - 1
    weights = layers * _llama_layer(llama) + _grouped(llama)
    pairs = layers * tokens * inputs_length
  return 2.0 * tokens * weights + 4.0 * network.joined_dim * pairs


def answer_flops(
  network: network_config.NetworkConfig,
  *,
  rows: int,
  inputs_length: int,
  targets_length: int,
  candidates: int = 1,
) -> float:
  """As `prompt_flops`, of answers to prompts that are read, and their logits.

  Args:
    network: the sizes.
    rows: prompts.
    inputs_length: positions of a prompt.
    targets_length: positions of an answer.
    candidates: answers to a prompt.

  Returns:
    FLOPs of all rows together.
  """
  inputs, answers = rows * inputs_length, rows * candidates * targets_length
  layers = network.num_decoder_layers
  if isinstance(network, t5_config.T5Config):
    # An input token passes the keys and values of the attention to it; a target
    # token self-attention, the queries and outputs of that attention, and the
    # logits.
    input_weights = layers * 2 * _projection(network)
    layer = 6 * _projection(network) + network.mlp_parameters
  else:
    input_weights = 0
    layer = _llama_layer(_llama(network))
  weights = layers * layer + network.emb_dim * network.vocab_size
  pairs = layers * answers * (targets_length + inputs_length)
  return (
    2.0 * (inputs * input_weights + answers * weights)
    + 4.0 * network.joined_dim * pairs
  )


def row_flops(
  network: network_config.NetworkConfig, *, rows: int, length: int
) -> float:
  """As `prompt_flops`, of rows of prompt and answer, with all logits."""
  llama, tokens = _llama(network), rows * length
  layers = llama.num_decoder_layers
  weights = layers * _llama_layer(llama) + llama.emb_dim * llama.vocab_size
  pairs = layers * tokens * length
  return 2.0 * tokens * weights + 4.0 * llama.joined_dim * pairs


def forward_flops(
  network: network_config.NetworkConfig,
  *,
  rows: int,
  inputs_length: int,
  targets_length: int,
  candidates: int = 1,
) -> float:
  """As `prompt_flops` and `answer_flops` together."""
  read = prompt_flops(network, rows=rows, inputs_length=inputs_length)
  return read + answer_flops(
    network,
    rows=rows,
    inputs_length=inputs_length,
    targets_length=targets_length,
    candidates=candidates,
  )


def _projection(network: network_config.NetworkConfig) -> int:
  return network.emb_dim * network.joined_dim


def _grouped(network: llama_config.LlamaConfig) -> int:
  """Weights of keys and values."""
  return 2 * network.emb_dim * network.kv_dim


def _llama_layer(network: llama_config.LlamaConfig) -> int:
  return 2 * _projection(network) + _grouped(network) + network.mlp_parameters


def _llama(network: Any) -> llama_config.LlamaConfig:
  if not isinstance(network, llama_config.LlamaConfig):
    raise TypeError(
      f"the FLOPs of a {type(network).__name__} are not known; expected the "
      "sizes of a T5 or of a LLaMA-style network"
    )
  return network
