"""The network computes what T5X's own `examples/t5` computes.

Runs where google-research/t5x is on the path. Only its two network files are
imported, not the package, so its dependencies need not be there.
"""

import importlib
import importlib.util
import pathlib
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.models.networks import network as seam
from instructrec.models.networks import t5, t5_config

pytestmark = pytest.mark.t5x

SIZES = {
  "vocab_size": 61,
  "emb_dim": 24,
  "num_heads": 3,
  "num_encoder_layers": 2,
  "num_decoder_layers": 3,
  "head_dim": 16,
  "mlp_dim": 40,
  "dropout_rate": 0.0,
}


@pytest.fixture(name="network")
def network_fixture(monkeypatch):
  spec = importlib.util.find_spec("t5x")
  if spec is None or not spec.submodule_search_locations:
    pytest.skip("google-research/t5x is not on PYTHONPATH")
  root = pathlib.Path(next(iter(spec.submodule_search_locations)))
  for name, folder in (
    ("t5x", root),
    ("t5x.examples", root / "examples"),
    ("t5x.examples.t5", root / "examples" / "t5"),
  ):
    # An empty package that finds its submodules but runs no __init__.
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, name, package)
  for name in ("layers", "network"):
    monkeypatch.delitem(sys.modules, f"t5x.examples.t5.{name}", raising=False)
  yield importlib.import_module("t5x.examples.t5.network")
  for name in ("layers", "network"):
    sys.modules.pop(f"t5x.examples.t5.{name}", None)


def _packed():
  rng = np.random.default_rng(0)
  inputs = rng.integers(2, 61, (2, 160)).astype(np.int32)
  targets = rng.integers(2, 61, (2, 140)).astype(np.int32)
  encoder_ids = np.repeat([[1] * 70 + [2] * 60 + [0] * 30], 2, 0)
  decoder_ids = np.repeat([[1] * 50 + [2] * 70 + [0] * 20], 2, 0)
  inputs *= encoder_ids > 0
  targets *= decoder_ids > 0
  shifted = np.roll(targets, 1, axis=1)
  shifted[:, [0, 50]] = 0
  segment_ids = {
    "encoder_segment_ids": encoder_ids.astype(np.int32),
    "decoder_segment_ids": decoder_ids.astype(np.int32),
  }
  return (inputs, shifted, targets), segment_ids


def _ours(tokens, encoder_segment_ids=None, decoder_segment_ids=None):
  """What T5X's network takes as what ours takes."""
  inputs, shifted, targets = map(jnp.asarray, tokens)
  return (
    seam.Prompt(inputs, segment_ids=encoder_segment_ids),
    seam.Targets(shifted, targets, decoder_segment_ids),
  )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
  ("activations", "tied"), [(("gelu", "linear"), False), (("relu",), True)]
)
def test_equals_t5x(network, activations, tied, packed, dtype):
  settings = {
    **SIZES,
    "mlp_activations": activations,
    "logits_via_embedding": tied,
  }
  theirs = network.Transformer(
    network.T5Config(**settings, dtype=jnp.dtype(dtype).type)
  )
  ours = t5.T5(t5_config.T5Config(**settings, dtype=dtype))
  tokens, segment_ids = _packed()
  short = [x[:, :4] for x in tokens]
  rng = jax.random.PRNGKey(0)
  variables = jax.jit(
    lambda rng: theirs.init(rng, *short, enable_dropout=False)
  )(rng)
  own = jax.eval_shape(
    lambda rng: ours.init(rng, *_ours(short), enable_dropout=False), rng
  )
  # Names, shapes and logical axes.
  assert jax.tree.map(jnp.shape, dict(own["params"])) == jax.tree.map(
    jnp.shape, dict(variables["params"])
  )
  assert own["params_axes"] == variables["params_axes"]

  extra = segment_ids if packed else {}
  calls = (
    (theirs, tuple(map(jnp.asarray, tokens)), extra),
    (ours, _ours(tokens, **extra), {}),
  )
  logits = [
    jax.jit(
      lambda p, m=module, a=args, k=kwargs: m.apply(
        {"params": p}, *a, enable_dropout=False, **k
      )
    )(variables["params"])
    for module, args, kwargs in calls
  ]
  real = tokens[2] > 0
  tolerance = 1e-4 if dtype == "float32" else 0.15
  np.testing.assert_allclose(logits[0][real], logits[1][real], atol=tolerance)
