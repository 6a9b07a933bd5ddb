"""Our network as one of T5X's own, which takes the same parameters."""

import dataclasses
from typing import Any

import seqio
from t5x import models

from instructrec.models.networks import t5_config


def build(
  network: Any,
  config: t5_config.T5Config,
  *,
  optimizer_def: Any = None,
  **settings: Any,
) -> models.EncoderDecoderModel:
  """T5X's model over one of its example networks.

  Args:
    network: the example's module, such as `t5x.examples.t5.network`.
    config: of our network.
    optimizer_def: of `EncoderDecoderModel`.
    **settings: likewise.

  Returns:
    The model; its vocabularies are not those of any data.
  """
  sizes = {
    field.name: getattr(config, field.name)
    for field in dataclasses.fields(network.T5Config)
    if hasattr(config, field.name)
  }
  vocabulary = seqio.ByteVocabulary()  # Never asked.
  return models.EncoderDecoderModel(
    module=network.Transformer(config=network.T5Config(**sizes)),
    input_vocabulary=vocabulary,
    output_vocabulary=vocabulary,
    optimizer_def=optimizer_def,
    **settings,
  )
