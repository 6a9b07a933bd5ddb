"""A small network and batches, shared by the tests of the models."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models import ranking_model
from instructrec.models.networks import (
  llama,
  llama_config,
  network,
  network_config,
  t5,
  t5_config,
)
from instructrec.models.scoring import features

TINY = t5_config.T5Config(
  vocab_size=31,
  emb_dim=16,
  num_heads=2,
  # One layer compiles fast; depth is covered by the parity tests.
  num_encoder_layers=1,
  num_decoder_layers=1,
  # Heads that do not add up to emb_dim find mixed-up axes.
  head_dim=6,
  mlp_dim=24,
  dropout_rate=0.1,
)
TINY_LLAMA = llama_config.LlamaConfig(
  vocab_size=31,
  emb_dim=16,
  num_heads=4,
  num_kv_heads=2,
  num_decoder_layers=1,
  head_dim=6,
  mlp_dim=24,
)
NETWORKS = {t5_config.T5Config: t5.T5, llama_config.LlamaConfig: llama.Llama}
SHAPES = {
  "encoder_input_tokens": (2, 8),
  "decoder_input_tokens": (2, 5),
  "decoder_target_tokens": (2, 5),
  "decoder_loss_weights": (2, 5),
}


@dataclasses.dataclass(frozen=True)
class Setup:
  """A model with its parameters."""

  model: ranking_model.NetworkRankingModel
  params: Any
  params_axes: Any

  def with_settings(self, **settings: Any) -> ranking_model.NetworkRankingModel:
    """Another model over the same module."""
    return ranking_model.NetworkRankingModel(self.model.module, **settings)


def make_setup(
  cfg: network_config.NetworkConfig = TINY, **settings: Any
) -> Setup:
  module = NETWORKS[type(cfg)](cfg)
  model = ranking_model.NetworkRankingModel(module, **settings)
  variables = jax.jit(
    lambda rng: model.get_initial_variables(rng, SHAPES)["params"]
  )(jax.random.PRNGKey(0))
  axes = jax.eval_shape(
    lambda rng: model.get_initial_variables(rng, SHAPES), jax.random.PRNGKey(0)
  )["params_axes"]
  return Setup(model, variables, axes)


def make_batch(
  inputs: list[list[int]],
  targets: list[Any],
  *,
  input_length: int = 8,
  target_length: int = 5,
) -> dict[str, np.ndarray]:
  """A padded batch; `targets` holds one list of tokens, or of lists, a row."""

  def pad(tokens: list[int], length: int) -> list[int]:
    return tokens + [0] * (length - len(tokens))

  if targets and targets[0] and isinstance(targets[0][0], list):
    most = max(len(row) for row in targets)
    rows: list[Any] = [
      [
        pad(candidate, target_length)
        for candidate in row + [[]] * (most - len(row))
      ]
      for row in targets
    ]
  else:
    rows = [pad(row, target_length) for row in targets]
  target = np.array(rows, np.int32)
  shifted = np.zeros_like(target)
  shifted[..., 1:] = target[..., :-1]
  return {
    "encoder_input_tokens": np.array(
      [pad(row, input_length) for row in inputs], np.int32
    ),
    "decoder_input_tokens": shifted,
    "decoder_target_tokens": target,
    "decoder_loss_weights": (target > 0).astype(np.int32),
  }


@functools.cache
def _logits_fn(module: network.Network) -> Callable[..., Any]:
  return jax.jit(functools.partial(module.apply, enable_dropout=False))


def logits_of(
  module: network.Network,
  params: Any,
  inputs: Any,
  targets: Any,
  *,
  inputs_segments: Any = None,
  targets_segments: Any = None,
) -> Any:
  """Logits of whole targets given their prompts, compiled once a shape."""
  targets = jnp.asarray(targets)
  prompt = network.Prompt(jnp.asarray(inputs), segment_ids=inputs_segments)
  shifted = jnp.asarray(features.shift_right(np.asarray(targets)))
  if targets_segments is not None:
    ids = np.asarray(targets_segments)
    starts = np.diff(ids, axis=1, prepend=0) != 0
    shifted = jnp.where(starts, network.PAD_ID, shifted)
  return _logits_fn(module)(
    {"params": params},
    prompt,
    network.Targets(shifted, targets, targets_segments),
  )


@pytest.fixture(scope="session")
def tiny() -> Setup:
  return make_setup()


# The import mode keeps tests from importing this file; fixtures hand over.
@pytest.fixture(scope="session", name="make_setup")
def make_setup_fixture():
  return make_setup


@pytest.fixture(scope="session", name="make_batch")
def make_batch_fixture():
  return make_batch


@pytest.fixture(scope="session", name="logits_of")
def logits_of_fixture():
  return logits_of


@pytest.fixture(scope="session", name="tiny_config")
def tiny_config_fixture() -> t5_config.T5Config:
  return TINY


@pytest.fixture(scope="session", name="tiny_llama_config")
def tiny_llama_config_fixture() -> llama_config.LlamaConfig:
  return TINY_LLAMA
