"""What a kind of network is to checkpoints: its names, shapes and settings."""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from instructrec.models.checkpoint import tensors

EMBEDDING = "token_embedder/embedding"
LOGITS = "decoder/logits_dense/kernel"
_LAYER = re.compile(r"^(encoder|decoder)/layers_(\d{1,9})/(.+)$")


@dataclasses.dataclass(frozen=True)
class Parameter:
  """One parameter of a network.

  Attributes:
    name: its path in our tree.
    huggingface: its name in a Hugging Face state dict.
    shape: its shape in our tree.
    axes: logical names of its axes.
  """

  name: str
  huggingface: str
  shape: tuple[int, ...]
  axes: tuple[str, ...]

  @property
  def transposed(self) -> bool:
    """Whether Hugging Face has the axes the other way round."""
    return len(self.shape) == 2 and self.name != EMBEDDING


def split_layer(name: str) -> tuple[str, int, str] | None:
  """Stack, number and rest of a layer's parameter; None for others."""
  match = _LAYER.match(name)
  return match and (match[1], int(match[2]), match[3])


@dataclasses.dataclass(frozen=True)
class Architecture:
  """A kind of network, as checkpoints know it.

  Attributes:
    name: of the kind.
    config_cls: its sizes and numerics.
    parameters: all of a network's, unstacked and in its order.
    describe: a network of given sizes, in words.
    infer_config: the sizes, from the shapes of parameters by our unstacked
      name; also takes where they come from, for its error.
    model_types: what config.json calls it.
    config_from_json: the sizes, from the fields of config.json; also takes
      whether the logits are those of the token embedding, and where the fields
      come from.
    config_to_json: the fields of config.json, but for the type of numbers.
    tied: whether the logits are those of the token embedding where config.json
      does not say.
    table: Hugging Face's name of the token embedding.
    copies: its names that old files give copies of the table.
    never_read: Hugging Face's names that old files have for nothing.
    task_type: what PEFT calls what it does.
  """

  name: str
  config_cls: type
  parameters: Callable[[Any], Iterator[Parameter]]
  describe: Callable[[Any], str]
  infer_config: Callable[[Mapping[str, tuple[int, ...]], str], Any]
  model_types: tuple[str, ...]
  config_from_json: Callable[[Mapping[str, Any], bool, str], Any]
  config_to_json: Callable[[Any], dict[str, Any]]
  tied: bool
  table: str
  copies: tuple[str, ...]
  never_read: re.Pattern[str]
  task_type: str


def require(
  fields: Mapping[str, Any],
  expected: Mapping[str, tuple[Any, ...]],
  found_in: str,
) -> None:
  """Refuses settings that a network of ours does not have.

  Args:
    fields: of config.json.
    expected: values by field; a field that is left out has the first.
    found_in: where the fields come from, for the message.

  Raises:
    CheckpointError: naming the field.
  """
  for field, values in expected.items():
    found = fields.get(field, values[0])
    if found not in values:
      raise tensors.CheckpointError(
        f"{found_in}: {field} is {found!r}, expected one of {list(values)}"
      )
