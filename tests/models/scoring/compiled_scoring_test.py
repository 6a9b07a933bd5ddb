"""What XLA makes of scoring: a request's keys and values stand there once."""

import dataclasses
import math

import jax
import numpy as np
import pytest

from instructrec.models.networks import t5_config
from instructrec.models.scoring import candidate_tree, features
from instructrec.preflight import cost, hlo, network_flops

BATCH, CANDIDATES, INPUTS, TARGETS, NODES = 2, 6, 48, 7, 40
# Heads are so wide that nothing is larger than the keys of all requests, let
# alone than keys for each candidate.
CONFIG = t5_config.T5Config(
  vocab_size=50,
  emb_dim=24,
  num_heads=2,
  head_dim=64,
  mlp_dim=40,
  num_encoder_layers=1,
  num_decoder_layers=2,
)
# [batch, inputs, heads, kv]
KEYS = BATCH * INPUTS * CONFIG.joined_dim


def tree(inputs, targets):
  targets[..., :3] = targets[:, :1, :3]  # All begin alike.
  return candidate_tree.to_features(inputs, targets, NODES)


def one_example_a_candidate(inputs, targets):
  return features.to_features(
    np.repeat(inputs, CANDIDATES, axis=0), targets.reshape(-1, TARGETS)
  )


# How a batch is made, and what `forward_flops` takes for it.
SHARED = {
  "tree": (tree, {"rows": BATCH, "targets_length": NODES}),
  "padded lists": (
    features.to_features,
    {"rows": BATCH, "candidates": CANDIDATES, "targets_length": TARGETS},
  ),
}


def compiled(make_setup, make_features, *, scan_layers):
  rng = np.random.default_rng(0)
  inputs = rng.integers(2, 50, (BATCH, INPUTS)).astype(np.int32)
  targets = rng.integers(2, 50, (BATCH, CANDIDATES, TARGETS)).astype(np.int32)
  batch = make_features(inputs, targets)
  setup = make_setup(dataclasses.replace(CONFIG, scan_layers=scan_layers))
  score = jax.jit(setup.model.score_batch).lower(setup.params, batch)
  return hlo.Program.parse(score.compile().as_text())


def instructions(program):
  """All of them; those inside of fusions too, which need no memory."""
  for run in program.runs():
    yield from run.computation.instructions.values()


def size(instruction):
  return max((math.prod(s.dims) for s in instruction.shapes), default=0)


@pytest.mark.parametrize("scan_layers", [False, True])
@pytest.mark.parametrize("form", SHARED)
def test_keys_and_values_are_made_once_and_never_copied(
  make_setup, form, scan_layers
):
  make_features, sizes = SHARED[form]
  program = compiled(make_setup, make_features, scan_layers=scan_layers)
  largest = max(instructions(program), key=size)
  assert size(largest) < CANDIDATES * KEYS, largest
  copies = [
    found
    for found in instructions(program)
    if found.opcode in ("broadcast", "gather", "concatenate", "pad")
    and size(found) >= KEYS
  ]
  assert not copies
  # Had they been projected more than once, the work would say so.
  found = cost.analyze(program, 1)
  if not found.opaque:
    expected = network_flops.forward_flops(
      CONFIG, inputs_length=INPUTS, **sizes
    )
    assert found.flops == expected


def test_keys_and_values_for_each_candidate_would_be_seen(make_setup):
  """The other form, to know that the test above can fail."""
  program = compiled(make_setup, one_example_a_candidate, scan_layers=False)
  assert max(map(size, instructions(program))) >= CANDIDATES * KEYS
  found = cost.analyze(program, 1)
  if not found.opaque:
    once = network_flops.forward_flops(
      CONFIG, inputs_length=INPUTS, **SHARED["padded lists"][1]
    )
    assert found.flops > 2 * once
