"""The one table of parameters: our name, Hugging Face's, shape and axes.

Hugging Face keeps every matrix transposed, except the token embedding. A
network joins by an `Architecture` in `ARCHITECTURES`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from instructrec.models.checkpoint.architecture import (
  EMBEDDING,
  LOGITS,
  Architecture,
  Parameter,
  split_layer,
)
from instructrec.models.checkpoint.llama_architecture import LLAMA
from instructrec.models.checkpoint.t5_architecture import T5
from instructrec.models.networks import adapters

__all__ = [
  "ARCHITECTURES",
  "EMBEDDING",
  "HEADS",
  "LOGITS",
  "TITLE_MATCHING",
  "VALUE_HEAD",
  "Parameter",
  "architecture",
  "infer_config",
  "is_head",
  "parameters",
  "split_layer",
]

ARCHITECTURES = (T5, LLAMA)
TITLE_MATCHING, VALUE_HEAD = "title_matching", adapters.VALUE_HEAD
HEADS = (TITLE_MATCHING, VALUE_HEAD)
"""What a network of any kind may have beside its own parameters."""


def is_head(name: str, heads: Sequence[str] = HEADS) -> bool:
  """Whether a parameter is of one of `HEADS`, and so in no table here.

  Args:
    name: of the parameter.
    heads: those that are asked about.
  """
  return name.split("/", 1)[0] in heads


def architecture(config: Any) -> Architecture:
  """The kind of network that has these sizes."""
  return next(a for a in ARCHITECTURES if type(config) is a.config_cls)


def parameters(config: Any) -> dict[str, Parameter]:
  """All parameters of a network, unstacked, by our name.

  Args:
    config: the network's sizes.

  Returns:
    The table, in the order of the network.
  """
  return {p.name: p for p in architecture(config).parameters(config)}


def infer_config(
  shapes: Mapping[str, tuple[int, ...]], *, found_in: str
) -> Any:
  """The sizes of a network, from the shapes of its parameters.

  Args:
    shapes: by our name, unstacked.
    found_in: where they come from, for the message.

  Returns:
    The configuration. Other names and shapes than those it needs are not
    checked.

  Raises:
    CheckpointError: where the parameters do not tell the sizes.
  """
  decoder_only = "decoder/layers_0/pre_mlp_layer_norm/scale" in shapes and not (
    any(name.startswith("encoder/") for name in shapes)
  )
  return (LLAMA if decoder_only else T5).infer_config(shapes, found_in)
