"""A network that is a table, shared by the tests of catalogues."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

VOCAB, EOS = 23, 1


@flax.struct.dataclass
class Position:
  """A cache of a network that looks at one token alone."""

  position: Any

  def select(self, sequences):
    return self


@flax.struct.dataclass
class TableWriter:
  """Logits of the next token by prompt and newest token.

  Attributes:
    table: [prompts, tokens before, tokens].
    hostile: None, or a key: logits are then drawn anew each step, some of them
      infinite, and some no number.
  """

  table: Any
  hostile: Any = None

  def start_decoding(self, *, sequences_per_prompt, max_length):
    rows = jnp.repeat(jnp.arange(len(self.table)), sequences_per_prompt)
    return rows, Position(jnp.zeros((), jnp.int32))

  def decode_step(self, tokens, cache, memory):
    features, cache = self.decode_block(tokens[:, None], cache, memory)
    return self.logits(features)[:, 0], cache

  def decode_block(self, tokens, cache, memory):
    found = self.table[memory[:, None], tokens]
    if self.hostile is not None:
      key = jax.random.fold_in(self.hostile, cache.position)
      found = 30 * jax.random.normal(key, found.shape)
      kind = jax.random.randint(jax.random.fold_in(key, 1), found.shape, 0, 8)
      for number, value in enumerate((jnp.inf, -jnp.inf, jnp.nan)):
        found = jnp.where(kind == number, value, found)
    return found, Position(cache.position + tokens.shape[1])

  def logits(self, features):
    return features


def draw_titles(count, seed=0, longest=9):
  """Distinct titles, many of which begin alike or begin another."""
  rng = np.random.default_rng(seed)
  found = {}
  while len(found) < count:
    lengths = rng.integers(1, longest, 4 * count)
    # Small tokens are frequent.
    tokens = 2 + (rng.random((4 * count, longest)) ** 2 * (VOCAB - 2))
    for row, length in zip(tokens.astype(int).tolist(), lengths, strict=True):
      found[(*row[:length], EOS)] = None
  return [list(title) for title in found][:count]


def draw_table(prompts, seed=0, scale=2.0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(
    scale * rng.normal(size=(prompts, VOCAB, VOCAB)), jnp.float32
  )


def log_probs_of(table, titles, probability, allowed=None):
  """Of each title by each prompt, token by token, in NumPy.

  Args:
    table: of a TableWriter.
    titles: of the catalogue.
    probability: "open" or "closed".
    allowed: [prompts, titles]; None for all.
  """
  table = np.asarray(table, np.float64)
  found = np.zeros((len(table), len(titles)))
  for row, logits in enumerate(table):
    keep = np.arange(len(titles))
    if allowed is not None:
      keep = np.flatnonzero(allowed[row])
    children = {}
    for i in keep:
      for t, token in enumerate(titles[i]):
        children.setdefault(tuple(titles[i][:t]), set()).add(token)
    for i, title in enumerate(titles):
      if allowed is not None and not allowed[row, i]:
        found[row, i] = -np.inf
        continue
      before = 0
      for t, token in enumerate(title):
        among = logits[before]
        if probability == "closed":
          among = among[sorted(children[tuple(title[:t])])]
        found[row, i] += logits[before, token] - np.logaddexp.reduce(among)
        before = token
  return found


@pytest.fixture(scope="session", name="catalogs")
def catalogs_fixture():
  """What this file has: the import mode keeps tests from importing it."""

  class Catalogs:
    vocab, eos = VOCAB, EOS
    writer = TableWriter
    titles = staticmethod(draw_titles)
    table = staticmethod(draw_table)
    log_probs = staticmethod(log_probs_of)

  return Catalogs
