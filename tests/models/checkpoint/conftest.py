"""Random networks as checkpoints, shared by the tests of this folder."""

import numpy as np
import pytest

from instructrec.models.checkpoint import names, tensors
from instructrec.models.networks import t5_config

FLAN = t5_config.T5Config(
  vocab_size=47,
  emb_dim=24,
  num_heads=3,
  # Heads that do not add up to emb_dim find mixed-up axes.
  head_dim=6,
  num_encoder_layers=2,
  # More than ten layers: 10 sorts before 2.
  num_decoder_layers=11,
  mlp_dim=40,
)


def random_arrays(cfg, dtype="float32", seed=0):
  rng = np.random.default_rng(seed)
  return {
    name: rng.standard_normal(p.shape, np.float32).astype(tensors.DTYPES[dtype])
    for name, p in names.parameters(cfg).items()
  }


def as_checkpoint(arrays, cfg=None, step=0):
  return tensors.Checkpoint(
    path="memory",
    form="instructrec",
    step=step,
    params={n: tensors.from_array(a, n) for n, a in arrays.items()},
    left={},
    config=cfg,
  )


def read_all(checkpoint):
  return {name: t.read() for name, t in checkpoint.params.items()}


# The import mode keeps tests from importing this file; fixtures hand over.
@pytest.fixture(scope="session", name="flan")
def flan_fixture():
  return FLAN


@pytest.fixture(scope="session", name="random_arrays")
def random_arrays_fixture():
  return random_arrays


@pytest.fixture(scope="session", name="as_checkpoint")
def as_checkpoint_fixture():
  return as_checkpoint


@pytest.fixture(scope="session", name="read_all")
def read_all_fixture():
  return read_all
