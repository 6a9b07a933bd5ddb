"""Lists of titles: as a plain walk writes them, and never anything else."""

import dataclasses
import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from instructrec.instructions import title_list
from instructrec.models.generation import (
  catalog_trie,
  leaf_intervals,
  list_policy,
  list_quota,
  title_lists,
)
from instructrec.models.networks import reading

EOS, SEPARATORS, MAX_ITEMS, ROWS, COUNT = 1, (22, 21, 20), 5, 50, 58
WEIGHT, PULL = 0.75, 6.0
"""Of the scores of items, and of what is still to come."""
SMALL = [
  [4, 9, 1],
  [4, 9, 8, 1],
  [4, 1],
  [19, 1],
  [7, 7, 7, 7, 7, 1],
  [7, 7, 7, 3, 1],
]
INPUTS = np.array([[5, 9, 4, 1, 0, 0], [7, 3, 1, 0, 0, 0]], np.int32)


def _policy(**settings):
  return list_policy.ListPolicy(
    separator_ids=SEPARATORS, max_items=MAX_ITEMS, **settings
  )


CLOSED, OPEN = _policy(), _policy(probability="open")
FREE = _policy(probability="open", constrained=False, max_length=20)


@functools.cache
def _write(**settings):
  """Both probabilities, compiled once for all catalogues of about a size."""

  def write(writer, trie, requests, rng=None):
    return [
      title_lists.write_lists(
        writer, trie, requests, policy, rng=rng, **settings
      )
      for policy in (CLOSED, OPEN)
    ]

  return jax.jit(write)


def _titles(catalogs, seed=0):
  """Catalogues of other tokens and orders, and of one shape."""
  titles = [t for t in catalogs.titles(2 * COUNT) if not {*t} & {*SEPARATORS}]
  rng = np.random.default_rng(seed)
  tokens = [0, EOS, *rng.permutation(np.arange(2, min(SEPARATORS))).tolist()]
  order = rng.permutation(COUNT).tolist()
  return [[tokens[token] for token in titles[i]] for i in order]


def _trie(titles, vocab_size=23):
  return catalog_trie.CatalogTrie.build(
    titles, eos_id=EOS, vocab_size=vocab_size
  )


def _requests(rng, rows=ROWS, count=COUNT, *, led=False, pull=None):
  """Of all kinds: short of items, excluded ones twice, quotas that clash."""
  share = rng.choice([0.02, 0.1, 0.5, 1.0], (rows, 1))
  numbers = rng.integers(0, MAX_ITEMS + 1, (3, rows), np.int32)
  free = rng.random(rows) < 0.3
  scores = 4.0 * rng.spawn(1)[0].standard_normal((rows, count))
  return list_policy.ListRequests(
    lengths=numbers[0],
    conditions=leaf_intervals.Conditions(
      allowed=rng.random((rows, count)) < share,
      excluded=rng.integers(0, count + 1, (rows, 4), np.int32),
      item_scores=scores if led else None,
      item_weight=WEIGHT,
    ),
    quota=list_quota.Quota(
      items=rng.random((rows, count)) < 0.4,
      at_least=np.where(free, 0, np.minimum(numbers[1], numbers[0])),
      at_most=np.where(free, MAX_ITEMS, numbers[2]),
      pull=pull,
    ),
  )


def _pool(requests, row):
  """Items that may be listed, by kind, and how many of each."""
  excluded = set(requests.conditions.excluded[row].tolist())
  pool = [
    i
    for i in np.flatnonzero(requests.conditions.allowed[row]).tolist()
    if i + 1 not in excluded
  ]
  kind = requests.quota.items[row]
  ours = [i for i in pool if kind[i]], [i for i in pool if not kind[i]]
  length = int(requests.lengths[row])
  rooms = (
    int(requests.quota.at_most[row]),
    length - int(requests.quota.at_least[row]),
  )
  if requests.quota.pull is not None:
    rooms = length, length
  possible = sum(min(len(p), r) for p, r in zip(ours, rooms, strict=True))
  return ours, list(rooms), min(length, possible)


def _plain(titles, ours, rooms, length, logits_after, lead=None, due=None):
  """One greedy list, by dictionaries, with both probabilities of its items.

  With `lead`, what speaks for items below a token counts for the token, and
  with `due` also how many of each kind are still to come, of so many places.
  """
  tokens, items, closed, open_ = [], [], [], []
  pools = [set(own) for own in ours]
  while len(items) < length:
    coming = min(length - len(items) - 1, len(SEPARATORS))
    end = SEPARATORS[coming - 1] if coming else EOS
    pool = [i for k in (0, 1) if rooms[k] > 0 for i in pools[k]]
    own = None if lead is None else lead.copy()
    for k in (0, 1) if due is not None else ():
      wanting, places = due[k], due[2]
      own[list(pools[k])] += PULL * min(max(wanting, 0), places) / places
    prefix, sums = [], np.zeros(2)
    while True:
      children = {}
      for i in pool:
        title = [*titles[i][:-1], end]
        if titles[i][: len(prefix)] == prefix:
          children.setdefault(title[len(prefix)], []).append(i)
      logits = np.asarray(logits_after(tokens), np.float64)
      ids = sorted(children)
      keys = {token: logits[token] for token in ids}
      if own is not None:
        for below in ids:
          keys[below] += np.logaddexp.reduce(own[children[below]])
      token = max(ids, key=lambda t: keys[t])
      sums += logits[token] - np.array(
        [np.logaddexp.reduce(logits[ids]), np.logaddexp.reduce(logits)]
      )
      tokens.append(token)
      prefix.append(token)
      if token == end:
        break
    (item,) = (i for i in pool if titles[i][:-1] == prefix[:-1])
    kind = 0 if item in pools[0] else 1
    pools[kind].discard(item)
    rooms[kind] -= 1
    if due is not None:
      due[kind] -= 1
      due[2] -= 1
    items.append(item + 1)
    closed.append(sums[0])
    open_.append(sums[1])
  return tokens, items, closed, open_


@pytest.mark.parametrize(
  ("seed", "led", "pull"),
  [(0, False, None), (1, False, None), (0, True, None), (1, True, PULL)],
)
def test_greedy_lists_are_those_of_a_plain_walk(catalogs, seed, led, pull):
  titles, table = _titles(catalogs, seed), catalogs.table(ROWS, seed)
  requests = _requests(np.random.default_rng(seed), led=led, pull=pull)
  found = _write()(catalogs.writer(table), _trie(titles), requests)
  seen = set()
  for row in range(ROWS):
    logits = np.asarray(table[row], np.float64)
    length = int(requests.lengths[row])
    low, high = requests.quota.at_least[row], requests.quota.at_most[row]
    tokens, items, *expected = _plain(
      titles,
      *_pool(requests, row),
      lambda before, logits=logits: logits[before[-1] if before else 0],
      WEIGHT * requests.conditions.item_scores[row] if led else None,
      None if pull is None else [int(low), length - int(high), length],
    )
    for lists, log_probs in zip(found, expected, strict=True):
      written = np.trim_zeros(lists.tokens[row, 0], "b").tolist()
      assert written == tokens
      assert lists.items[row, 0, : len(items)].tolist() == items
      assert not lists.items[row, 0, len(items) :].any()
      assert lists.num_items[row, 0] == len(items)
      assert bool(lists.ended[row, 0]) == bool(items)
      np.testing.assert_allclose(
        lists.log_probs[row, 0, : len(items)], log_probs, atol=1e-4
      )
      np.testing.assert_allclose(
        lists.token_log_probs[row].sum(), sum(log_probs), atol=1e-4
      )
    seen.add((int(requests.lengths[row]), len(items)))
  # Rows are of many kinds: met, in part, not at all.
  assert any(count == length > 1 for length, count in seen)
  assert any(0 < count < length for length, count in seen)
  assert any(count == 0 < length for length, count in seen)


def test_no_model_breaks_what_was_asked(catalogs):
  """1,000 requests of a model that answers with anything, numbers or not."""
  titles, rng = _titles(catalogs), np.random.default_rng(4)
  trie = _trie(titles)
  for seed in range(1000 // ROWS):
    table = np.array(30 * catalogs.table(ROWS, seed))
    kind = rng.integers(0, 8, table.shape)
    for number, value in enumerate((np.inf, -np.inf, np.nan)):
      table[kind == number] = value
    # Half of them led by matches.
    requests = _requests(rng, led=bool(seed % 2))
    found = _write()(catalogs.writer(jnp.asarray(table)), trie, requests)
    for lists in found:
      for row, items in enumerate(np.asarray(lists.items)[:, 0].tolist()):
        ours, rooms, length = _pool(requests, row)
        items = [item - 1 for item in items if item]
        assert len(items) == length == lists.num_items[row, 0]
        assert len(set(items)) == length
        assert set(items) <= {*ours[0], *ours[1]}
        for own, room in zip(ours, rooms, strict=True):
          assert len(set(items) & set(own)) <= max(room, 0)
        expected = title_list.join_tokens(
          [titles[item] for item in items],
          separator_ids=SEPARATORS,
          eos_id=EOS,
        )
        tokens = np.trim_zeros(lists.tokens[row, 0], "b").tolist()
        assert tokens == (expected if items else [])


def test_other_rows_do_not_matter(catalogs):
  titles, table = _titles(catalogs), catalogs.table(ROWS, 6)
  rng = np.random.default_rng(6)
  requests = _requests(rng)
  trie, order = _trie(titles), rng.integers(0, ROWS, ROWS)
  found = _write()(catalogs.writer(table), trie, requests)
  moved = jax.tree.map(lambda x: x[order] if np.ndim(x) else x, requests)
  again = _write()(catalogs.writer(table[order]), trie, moved)
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(again),
                        strict=True):  # fmt: skip
    np.testing.assert_array_equal(np.asarray(one)[order], other)


def test_a_reloaded_catalogue_compiles_nothing(catalogs):
  titles, table = _titles(catalogs, 0), catalogs.table(ROWS)
  requests = _requests(np.random.default_rng(0))
  write = _write()
  write(catalogs.writer(table), _trie(titles), requests)
  compiled = write._cache_size()
  alone = next(i for i, title in enumerate(titles) if len(title) > 8)
  changed = [
    *titles[:alone],
    *titles[alone + 1 :],
    [*titles[alone][::-1][1:], 1],
  ]
  found = write(catalogs.writer(table), _trie(changed), requests)
  assert write._cache_size() == compiled
  assert (found[0].items == COUNT).any()  # The new item is listed.


def test_lists_are_drawn_as_often_as_they_are_likely(catalogs):
  """20,000 lists of two: their shares are their closed probabilities."""
  titles, count = SMALL[:4], 20_000
  writer = catalogs.writer(catalogs.table(1, 3, 1.0))
  write = _write(num_lists=count, temperature=1.0)
  asked = list_policy.ListRequests(lengths=np.array([2], np.int32))
  closed, open_ = write(writer, _trie(titles), asked, jax.random.key(0))
  np.testing.assert_array_equal(closed.items, open_.items)
  pairs, first, counts = np.unique(
    np.asarray(closed.items)[0, :, :2],
    axis=0,
    return_index=True,
    return_counts=True,
  )
  probabilities = np.exp(np.asarray(closed.log_probs)[0, first].sum(axis=1))
  assert len(pairs) == 4 * 3
  assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)
  deviation = np.sqrt(probabilities * (1 - probabilities) / count)
  assert (np.abs(counts / count - probabilities) < 4 * deviation).all()


@flax.struct.dataclass
class Scripted:
  """A network that says what stands in a script, row by row.

  Attributes:
    script: [prompts, length].
  """

  script: Any

  def start_decoding(self, *, sequences_per_prompt, max_length):
    return None, jnp.zeros((), jnp.int32)

  def decode_step(self, tokens, cache, memory):
    return 50.0 * jax.nn.one_hot(self.script[:, cache], 23), cache + 1


def test_lists_without_a_catalogue_are_read_along():
  """What is no title, twice there, empty, too long, or cut.

  Separators end a title whatever they say.
  """
  (sep, two, _), end = SEPARATORS, EOS
  lists = {
    (4, 9, sep, 7, 7, 7, 3, end): ([1, 6], True),
    (4, 9, sep, 4, 9, two, 4, end): ([1, 1, 3], True),
    (4, 9, 8, 8, sep, 19, end): ([list_policy.INVALID, 4], True),
    (9, sep, 4, 9, end): ([list_policy.INVALID, 1], True),
    (7, 7, end): ([list_policy.INVALID], True),
    (sep, 4, sep, end): ([list_policy.BLANK, 3, list_policy.BLANK], True),
    (end,): ([], True),
    (sep, end): ([list_policy.BLANK, list_policy.BLANK], True),
    (4, sep, 4, sep, 4, sep, 4, sep, 19, sep, 19): ([3, 3, 3, 3, 4], False),
    (*(9,) * 18, sep, 4): ([list_policy.INVALID, 3], False),
    (*(9,) * 19, sep): ([list_policy.INVALID, list_policy.BLANK], False),
    (*(9,) * 20,): ([list_policy.INVALID], False),
  }
  script = np.full((len(lists), 20), 5)
  for row, tokens in zip(script, lists, strict=True):
    row[: len(tokens)] = tokens
  asked = list_policy.ListRequests(lengths=np.zeros(len(lists), np.int32))
  found = jax.jit(
    lambda script: title_lists.write_lists(
      Scripted(script), _trie(SMALL), asked, FREE
    )
  )(script)
  for row, (tokens, (items, ended)) in enumerate(lists.items()):
    assert found.items[row, 0, : len(items)].tolist() == items
    assert not found.items[row, 0, len(items) :].any()
    assert found.num_items[row, 0] == len(items)
    assert bool(found.ended[row, 0]) == ended
    written = np.trim_zeros(found.tokens[row, 0], "b").tolist()
    assert written == list(tokens)[: len(written)]


@pytest.fixture(scope="module", name="network", params=["t5", "llama"])
def network_fixture(request, make_setup, tiny_config, tiny_llama_config):
  """Sharper than an untrained one; all ways of writing in one program."""
  config = {"t5": tiny_config, "llama": tiny_llama_config}[request.param]
  if request.param == "llama":
    config = dataclasses.replace(config, eos_id=EOS)
  setup = make_setup(config)
  params = jax.tree.map(lambda x: 2.0 * x, setup.params)

  def write(params, inputs, trie, requests, rng):
    found = {}
    asked = reading.Reading(
      setup.model.module, params, {"encoder_input_tokens": inputs}
    )
    for policy in (CLOSED, OPEN, FREE):
      lists = title_lists.write_lists(
        asked, trie, requests, policy,
        num_lists=2, temperature=1.0, rng=rng,
      )  # fmt: skip
      again = title_lists.token_log_probs(
        asked, trie, requests, policy, lists.tokens
      )
      found[policy] = lists, again
    greedy = title_lists.write_lists(asked, trie, requests, CLOSED)
    return [found[policy] for policy in (CLOSED, OPEN, FREE)], greedy

  return setup, params, jax.jit(write)


def _network_requests():
  return list_policy.ListRequests(
    lengths=np.array([5, 3], np.int32),
    conditions=leaf_intervals.Conditions(
      allowed=np.ones((2, len(SMALL)), bool),
      excluded=np.array([[3], [0]], np.int32),
    ),
    quota=list_quota.Quota(
      items=np.arange(len(SMALL))[None] < np.array([[3], [3]]),
      at_least=np.array([0, 2], np.int32),
      at_most=np.array([1, 3], np.int32),
    ),
  )


def test_written_and_given_lists_are_equally_likely(network):
  _, params, write = network
  found, _ = write(
    params, INPUTS, _trie(SMALL, 31), _network_requests(), jax.random.key(1)
  )
  for lists, again in found:
    written = np.asarray(lists.tokens) > 0
    assert written.any()
    np.testing.assert_allclose(
      lists.token_log_probs, again, atol=1e-5, rtol=1e-5
    )
    assert not np.asarray(again)[~written].any()
  closed, open_ = found[0][0], found[1][0]
  np.testing.assert_array_equal(closed.tokens, open_.tokens)
  assert (closed.log_probs >= open_.log_probs - 1e-5).all()


def test_networks_write_the_lists_of_a_plain_walk(network, logits_of):
  setup, params, write = network
  requests = _network_requests()
  _, greedy = write(
    params, INPUTS, _trie(SMALL, 31), requests, jax.random.key(1)
  )
  tokens = np.asarray(greedy.tokens)[:, 0]
  logits = logits_of(setup.model.module, params, INPUTS, tokens)
  for row in range(2):
    expected, items, log_probs, _ = _plain(
      SMALL,
      *_pool(requests, row),
      lambda before, row=row: logits[row, len(before)],
    )
    assert len(items) == (4, 3)[row]  # The first has no room for five.
    assert np.trim_zeros(tokens[row], "b").tolist() == expected
    assert greedy.items[row, 0, : len(items)].tolist() == items
    np.testing.assert_allclose(
      greedy.log_probs[row, 0, : len(items)], log_probs, atol=1e-5
    )


def test_lists_that_are_never_written_have_no_probability(tiny):
  """Two titles, without the third; none of the second kind but one."""
  sep, end = SEPARATORS[0], EOS
  given = {
    (19, sep, 7, 7, 7, 3, end): True,
    (7, 7, 7, 3, sep, 4, 9, end): True,
    (19, SEPARATORS[1], 7, 7, 7, 3, end): False,
    (19, sep, 19, end): False,
    (19, sep, 4, end): False,
    (4, 9, sep, 4, 9, 8, end): False,
    (19, 4, end): False,
    (5, sep, 19, end): False,
    (19, end): False,
    (19, sep, 7, 7, 7, 3, sep): False,
    (19, sep, 7, 7, 7, 3, end, end): False,
  }
  asked = list_policy.ListRequests(
    lengths=np.array([2], np.int32),
    conditions=leaf_intervals.Conditions(excluded=np.array([[3]], np.int32)),
    quota=list_quota.Quota(
      items=np.arange(len(SMALL))[None] < 3,
      at_least=np.array([0], np.int32),
      at_most=np.array([1], np.int32),
    ),
  )
  tokens = np.array([[(*list_, *(0,) * (9 - len(list_))) for list_ in given]])

  @jax.jit
  def score(params, tokens):
    batch = {"encoder_input_tokens": INPUTS[:1]}
    asking = reading.Reading(tiny.model.module, params, batch)
    return title_lists.token_log_probs(
      asking, _trie(SMALL, 31), asked, CLOSED, tokens
    )

  found = score(tiny.params, tokens)[0].sum(axis=-1)
  assert np.isfinite(found).tolist() == list(given.values())


@pytest.mark.slow
def test_padding_of_prompts_changes_nothing(network):
  _, params, write = network
  requests = _network_requests()
  trie, rng = _trie(SMALL, 31), jax.random.key(1)
  padded, greedy = write(params, INPUTS, trie, requests, rng)
  width = np.pad(INPUTS, ((0, 0), (0, 3)))
  wider, also_greedy = write(params, width, trie, requests, rng)
  for one, other in zip(
    jax.tree.leaves((padded, greedy)),
    jax.tree.leaves((wider, also_greedy)),
    strict=True,
  ):
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.slow
def test_devices_that_share_the_requests_change_nothing(catalogs):
  devices = jax.devices()
  if ROWS % len(devices) or len(devices) == 1:
    pytest.skip(f"{len(devices)} devices do not share {ROWS} requests")
  mesh = jax.sharding.Mesh(devices, "data")
  sharding = jax.sharding.NamedSharding(
    mesh, jax.sharding.PartitionSpec("data")
  )
  titles, table = _titles(catalogs), catalogs.table(ROWS)
  requests = _requests(np.random.default_rng(0))
  trie = _trie(titles)
  found = _write()(catalogs.writer(table), trie, requests)

  def shared(x):
    return jax.device_put(x, sharding) if np.ndim(x) else x

  again = _write()(
    jax.tree.map(shared, catalogs.writer(table)),
    trie,
    jax.tree.map(shared, requests),
  )
  for one, other in zip(
    jax.tree.leaves(found), jax.tree.leaves(again), strict=True
  ):
    np.testing.assert_allclose(one, other, atol=1e-5)
