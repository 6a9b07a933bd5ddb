"""What every network must do: `network.Network`, held to its word.

A network joins by lying in `instructrec/models/networks/` and having small
settings in SMALL.
"""

import dataclasses
import functools
import importlib
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from instructrec.models import networks
from instructrec.models.networks import (
  llama_config,
  network,
  rotary,
  t5_config,
)
from instructrec.models.scoring import candidate_tree, features

VOCAB = 31
SMALL = {
  "T5": t5_config.T5Config(
    vocab_size=VOCAB,
    emb_dim=16,
    num_heads=2,
    num_encoder_layers=1,
    num_decoder_layers=1,
    # Heads that do not add up to emb_dim find mixed-up axes.
    head_dim=6,
    mlp_dim=24,
  ),
  "Llama": llama_config.LlamaConfig(
    vocab_size=VOCAB,
    emb_dim=16,
    num_heads=4,
    num_kv_heads=2,
    num_decoder_layers=1,
    head_dim=6,
    mlp_dim=24,
    rope_scaling=rotary.Llama3Scaling(original_max_length=16),
  ),
}
# Logical axes that T5X's and our rules lay out on a mesh.
AXES = {"embed", "heads", "joined_kv", "layers", "mlp", "vocab"} | {
  "relpos_buckets"
}

RNG = np.random.default_rng(11)
PROMPTS = np.array([[5, 9, 4, 1, 0, 0], [7, 3, 12, 30, 8, 1]], np.int32)
# Three answers to each prompt.
TARGETS = RNG.integers(2, VOCAB, (6, 5)).astype(np.int32)
TARGETS[[1, 5], 3:] = 0


def _networks():
  """Every Flax module in `networks` that reads and extends prefixes."""
  found = {}
  for info in pkgutil.iter_modules(networks.__path__, networks.__name__ + "."):
    for name, cls in vars(importlib.import_module(info.name)).items():
      if (
        isinstance(cls, type)
        and issubclass(cls, nn.Module)
        and cls.__module__ == info.name
        and {"read", "extend_prefixes"} <= set(dir(cls))
      ):
        found[name] = cls
  return found


NETWORKS = _networks()


@dataclasses.dataclass(frozen=True)
class Setup:
  """A network with drawn parameters."""

  module: network.Network
  params: dict

  def apply(self, method, *args, **kwargs):
    return _applied(self.module, method, tuple(sorted(kwargs.items())))(
      {"params": self.params}, *args
    )

  def read(self, prompts):
    return self.apply("read", _prompt(prompts), enable_dropout=False)

  def features(self, prompts, targets):
    return self.apply(
      "features", self.read(prompts), _targets(targets), enable_dropout=False
    )

  def logits(self, prompts, targets):
    return self.apply("logits", self.features(prompts, targets))


@functools.cache
def _applied(module, method, settings):
  return jax.jit(
    functools.partial(module.apply, method=method, **dict(settings))
  )


def _prompt(tokens):
  return network.Prompt(jnp.asarray(tokens))


def _targets(tokens):
  tokens = np.asarray(tokens)
  return network.Targets(
    jnp.asarray(features.shift_right(tokens)), jnp.asarray(tokens)
  )


@functools.cache
def _setup(name, **settings):
  config = dataclasses.replace(SMALL[name], **settings)
  module = NETWORKS[name](config)
  ones = np.ones((1, 2), np.int32)
  init = functools.partial(module.init, enable_dropout=False)
  variables = jax.jit(lambda rng: init(rng, _prompt(ones), _targets(ones)))(
    jax.random.key(3)
  )
  # Norms begin at one; unequal ones tell layers and axes apart.
  params = jax.tree.map(
    lambda x: x * RNG.uniform(0.7, 1.4, x.shape).astype(np.float32),
    variables["params"],
  )
  return Setup(module, params)


@pytest.fixture(scope="module", params=sorted(NETWORKS), name="name")
def name_fixture(request):
  return request.param


@pytest.fixture(scope="module", name="setup")
def setup_fixture(name):
  return _setup(name)


@pytest.fixture(scope="module", name="logits")
def logits_fixture(setup):
  return np.asarray(setup.logits(PROMPTS, TARGETS))


def _assert_close(ours, theirs, atol=1e-5):
  where = np.asarray(TARGETS != 0)
  np.testing.assert_allclose(ours[where], theirs[where], atol=atol)


def test_every_network_has_small_settings():
  assert set(NETWORKS) == set(SMALL)


def test_it_satisfies_the_protocol(setup):
  assert isinstance(setup.module, network.Network)


def test_position_t_depends_on_the_prompt_and_on_what_stands_before(setup):
  table = setup.params["token_embedder"]["embedding"]
  answer, position = np.arange(2, 7)[None], 2
  prompt = np.arange(10, 16)[None]

  def of_features(table):
    # Not the logits: with a tied head they depend on every row.
    params = {**setup.params, "token_embedder": {"embedding": table}}
    apply = functools.partial(
      setup.module.apply, {"params": params}, enable_dropout=False
    )
    memory = apply(_prompt(prompt), method="read")
    found = apply(memory, _targets(answer), method="features")
    return (found[0, position] * jnp.arange(found.shape[-1])).sum()

  gradient = np.abs(jax.jit(jax.grad(of_features))(table)).sum(axis=-1)
  seen = set(np.flatnonzero(gradient > 0).tolist()) - {network.PAD_ID}
  assert seen == {*answer[0, :position].tolist(), *prompt[0].tolist()}


def test_padding_changes_nothing(setup, logits):
  padded = setup.logits(
    np.pad(PROMPTS, [(0, 0), (0, 5)]), np.pad(TARGETS, [(0, 0), (0, 4)])
  )
  _assert_close(padded[:, :5], logits)
  # A whole row of padding is finite, too.
  assert np.isfinite(setup.logits(0 * PROMPTS, 0 * TARGETS)).all()


def test_rows_do_not_see_each_other(setup, logits):
  alone = setup.logits(PROMPTS[1:], TARGETS[3:])
  where = TARGETS[3:] != 0
  np.testing.assert_allclose(alone[where], logits[3:][where], atol=1e-5)


def test_answers_of_one_prompt_equal_a_prompt_each(setup, logits):
  _assert_close(setup.logits(np.repeat(PROMPTS, 3, axis=0), TARGETS), logits)


def test_nothing_of_a_prompt_exists_once_an_answer(setup):
  """No array of the program is as long as a prompt and as many as answers."""
  prompts = jnp.asarray(np.resize(PROMPTS, (2, 29)))
  targets = _targets(np.ones((2 * 7, 5), np.int32))
  text = (
    jax.jit(
      lambda memory: setup.module.apply(
        {"params": setup.params},
        memory,
        targets,
        method="features",
        enable_dropout=False,
      )
    )
    .lower(setup.read(prompts))
    .as_text()
  )
  assert "tensor<2x29x" in text
  assert "tensor<14x29x" not in text


def test_the_call_reads_once_and_gives_the_same_logits(setup, logits):
  called = setup.apply(
    "__call__", _prompt(PROMPTS), _targets(TARGETS), enable_dropout=False
  )
  _assert_close(called, logits)


def test_logits_are_the_product_of_their_factors(setup, logits):
  found = setup.features(PROMPTS, TARGETS)
  rows, kernel = setup.apply("logit_factors", found)
  assert rows.dtype == kernel.dtype == jnp.float32
  _assert_close(np.asarray(rows @ kernel), logits)


def test_trees_equal_whole_targets(setup, logits):
  lists = TARGETS.reshape(2, 3, 5).copy()
  lists[0, 1, :2] = lists[0, 0, :2]
  lists[1, 2, :3] = lists[1, 1, :3]
  whole = setup.logits(PROMPTS, lists.reshape(6, 5)).reshape(2, 3, 5, -1)
  tree = candidate_tree.to_features(PROMPTS, lists, 15)
  arrays = {key: jnp.asarray(value) for key, value in tree.items()}
  found = setup.apply(
    "tree_features", setup.read(PROMPTS), network.Tree.of(arrays)
  )
  nodes = np.asarray(setup.apply("logits", found))
  rows = np.arange(2)[:, None, None]
  at_nodes = nodes[rows, tree["decoder_target_nodes"]]
  where = lists != 0
  np.testing.assert_allclose(at_nodes[where], whole[where], atol=1e-5)


def _steps(setup, count):
  """Logits of every position of TARGETS, one at a time, and the last cache."""
  memory, cache = setup.apply(
    "start_decoding",
    setup.read(PROMPTS),
    sequences_per_prompt=count,
    max_length=5,
  )
  found = []
  for tokens in features.shift_right(TARGETS).T:
    logits, cache = setup.apply("decode_step", tokens, cache, memory)
    found.append(logits)
  return np.stack(found, axis=1), cache, memory


def test_steps_equal_whole_targets(setup, logits):
  found, cache, memory = _steps(setup, 3)
  _assert_close(found, logits)
  assert int(cache.position) == cache.length == 5
  # The memory has the batch of the prompts, not of the sequences.
  for leaf in jax.tree.leaves(memory):
    assert leaf.shape[0] == 2


def test_blocks_equal_whole_targets(setup, logits):
  """Of one, three and one token, behind each other, with room for many."""
  memory, cache = setup.apply(
    "start_decoding",
    setup.read(PROMPTS),
    sequences_per_prompt=3,
    max_length=40,
  )
  tokens = features.shift_right(TARGETS)
  found = []
  for first, end in ((0, 1), (1, 4), (4, 5)):
    block, cache = setup.apply(
      "decode_block", tokens[:, first:end], cache, memory
    )
    found.append(setup.apply("logits", block))
  _assert_close(np.concatenate(found, axis=1), logits)
  assert int(cache.position) == 5


def test_selected_sequences_go_on_as_themselves(setup):
  memory, cache = setup.apply(
    "start_decoding",
    setup.read(PROMPTS[:1]),
    sequences_per_prompt=3,
    max_length=5,
  )
  for tokens in features.shift_right(TARGETS[:3]).T[:3]:
    _, cache = setup.apply("decode_step", tokens, cache, memory)
  order = np.array([2, 0, 0])
  chosen = np.concatenate([TARGETS[order, :2], TARGETS[:3, 2:]], axis=1)
  logits, _ = setup.apply(
    "decode_step", chosen[:, 2], cache.select(order), memory
  )
  whole = setup.logits(PROMPTS[:1], np.maximum(chosen, 1))
  np.testing.assert_allclose(logits, whole[:, 3], atol=1e-5)


def test_prefixes_equal_whole_targets(setup, logits):
  """The beginnings of three answers, in a cache that has to grow."""
  answers = TARGETS[:3]
  memory, cache = setup.apply(
    "start_decoding",
    setup.read(PROMPTS[:1]),
    sequences_per_prompt=1,
    max_length=4,
  )
  slots = np.zeros((3, 5), np.int32)
  for depth in range(5):
    tokens = features.shift_right(answers)[:, depth]
    if depth == 0:
      tokens, paths = tokens[:1], slots[:1]
    else:
      slots[:, depth] = 1 + 3 * (depth - 1) + np.arange(3)
      paths = slots
    if int(cache.position) + len(tokens) > cache.length:
      cache = cache.widen(6)
    found, cache = setup.apply(
      "extend_prefixes",
      tokens,
      paths,
      np.full(len(tokens), depth, np.int32),
      cache,
      memory,
    )
    where = answers[:, depth] != 0
    np.testing.assert_allclose(
      np.broadcast_to(found, (3, VOCAB))[where],
      logits[:3, depth][where],
      atol=1e-5,
    )


@pytest.mark.parametrize("scan", [False, True])
def test_every_parameter_has_logical_axes(name, scan):
  module = NETWORKS[name](dataclasses.replace(SMALL[name], scan_layers=scan))
  ones = np.ones((1, 2), np.int32)
  variables = jax.eval_shape(
    lambda rng: module.init(
      rng, _prompt(ones), _targets(ones), enable_dropout=False
    ),
    jax.random.key(0),
  )
  axes = {
    jax.tree_util.keystr(path): leaf.names
    for path, leaf in jax.tree_util.tree_leaves_with_path(
      variables["params_axes"], is_leaf=lambda x: hasattr(x, "names")
    )
  }
  params = jax.tree_util.tree_leaves_with_path(variables["params"])
  assert len(axes) == len(params)
  for path, leaf in params:
    names = axes[f"{jax.tree_util.keystr(path)[:-2]}_axes']"]
    assert len(names) == leaf.ndim
    assert set(names) <= AXES
    assert leaf.dtype == jnp.float32


def _loss_and_gradient(module):
  """Of the sum of the target's log-probabilities, with dropout."""

  def loss(params, rng):
    rngs = {"dropout": rng}
    logits = module.apply(
      {"params": params}, _prompt(PROMPTS), _targets(TARGETS), rngs=rngs
    )
    log_probs = jax.nn.log_softmax(logits)
    wanted = jnp.take_along_axis(log_probs, TARGETS[..., None], axis=-1)
    return jnp.where(TARGETS != 0, wanted[..., 0], 0.0).sum()

  return jax.jit(jax.value_and_grad(loss))


def test_remat_changes_neither_names_nor_loss_nor_gradient(name, setup):
  outcomes = [
    _loss_and_gradient(
      NETWORKS[name](
        dataclasses.replace(SMALL[name], remat_policy=policy, dropout_rate=0.1)
      )
    )(setup.params, jax.random.key(3))
    for policy in ("none", "full")
  ]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4, rtol=1e-3),
    *outcomes,
  )


def test_dropout_is_random_but_reproducible(name, setup):
  module = NETWORKS[name](dataclasses.replace(SMALL[name], dropout_rate=0.3))
  apply = jax.jit(module.apply)

  def run(seed):
    return apply(
      {"params": setup.params},
      _prompt(PROMPTS),
      _targets(TARGETS),
      rngs={"dropout": jax.random.key(seed)},
    )

  assert np.abs(run(0) - run(1)).max() > 1e-3
  np.testing.assert_array_equal(run(0), run(0))


def test_bfloat16_runs_near_float32(name, setup, logits):
  config = dataclasses.replace(SMALL[name], dtype="bfloat16")
  half = dataclasses.replace(setup, module=NETWORKS[name](config))
  found = half.logits(PROMPTS, TARGETS)
  assert found.dtype == jnp.float32
  _assert_close(found, logits, atol=0.3)


def test_too_many_or_few_answers_are_named(setup):
  with pytest.raises(ValueError, match="5 sequences against 2 prompts"):
    setup.logits(PROMPTS, TARGETS[:5])


def test_rows_that_hold_prompts_are_read_or_refused(setup, logits):
  """A row of prompt and answer, or of two such, gives what they give apart."""
  rows = [
    np.concatenate([prompt[prompt != 0], answer[answer != 0]])
    for prompt, answer in zip(
      np.repeat(PROMPTS, 3, axis=0), TARGETS, strict=True
    )
  ]
  parts = [0, 4, 5]
  joined = network.Targets(
    *(
      jnp.asarray(np.pad(np.concatenate(tokens), (0, 3))[None], jnp.int32)
      for tokens in (
        [rows[i][:-1] for i in parts],
        [rows[i][1:] for i in parts],
        [np.full(len(rows[i]) - 1, n + 1) for n, i in enumerate(parts)],
      )
    )
  )
  if not setup.module.reads_rows:
    with pytest.raises(ValueError, match="the batch has no encoder_input"):
      setup.apply("features", None, joined, enable_dropout=False)
    return
  found = setup.apply("features", None, joined, enable_dropout=False)
  found = np.asarray(setup.apply("logits", found))[0]
  end = 0
  for part in parts:
    length = int((TARGETS[part] != 0).sum())
    end += len(rows[part]) - 1
    np.testing.assert_allclose(
      found[end - length : end], logits[part, :length], atol=1e-5
    )
