"""Beams over a catalogue: exact where they can be, and never off the trie."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from instructrec.models.generation import (
  catalog_beam,
  catalog_decoder,
  catalog_trie,
  leaf_intervals,
)

# Titles that begin others, and ones that share nothing.
PREFIXES = [
  [4, 9, 1],
  [4, 9, 8, 1],
  [4, 1],
  [30, 1],
  [7, 7, 7, 7, 7, 1],
  [7, 7, 7, 3, 1],
  [4, 9, 8, 5, 2, 1],
  # Longer than a block that is read at once.
  [4, 9, 8, 5, 2, 3, 3, 3, 6, 3, 3, 3, 3, 3, 3, 1],
]
ALONE = [[5, 4, 3, 1]]
INPUTS = np.array([[5, 9, 4, 1, 0, 0], [7, 3, 1, 0, 0, 0]], np.int32)
PROBABILITIES = ("open", "closed")


@functools.cache
def _search(num_beams, num_decodes, normalization="sum", probability="open"):
  """Compiled once for all catalogues of about a size."""

  def search(writer, trie, wishes):
    return catalog_beam.beam_search(
      writer,
      trie,
      batch_size=len(writer.table),
      num_beams=num_beams,
      num_decodes=num_decodes,
      normalization=normalization,
      probability=probability,
      conditions=leaf_intervals.Conditions(**wishes),
    )

  return jax.jit(search)


def _trie(titles, catalogs):
  return catalog_trie.CatalogTrie.build(
    titles, eos_id=catalogs.eos, vocab_size=catalogs.vocab
  )


def _assert_best(found, expected, atol=1e-4):
  """The items found are those of the highest scores, best first."""
  items, scores = np.asarray(found.items), np.asarray(found.scores)
  for row, every in enumerate(expected):
    count = min(np.isfinite(every).sum(), items.shape[1])
    assert found.num_found[row] == count
    assert (items[row, count:] == 0).all()
    assert (scores[row, count:] == -np.inf).all()
    kept = items[row, :count]
    assert len(set(kept.tolist())) == count
    best = np.sort(every)[::-1][:count]
    np.testing.assert_allclose(scores[row, :count], best, atol=atol, rtol=5e-6)
    np.testing.assert_allclose(every[kept - 1], best, atol=atol, rtol=5e-6)


def _lengths(titles):
  return np.array([len(title) for title in titles])


@pytest.mark.parametrize("probability", PROBABILITIES)
def test_as_many_beams_as_items_are_brute_force(catalogs, probability):
  """5,000 titles, and whatever may be said of them."""
  count = 5000
  titles, table = catalogs.titles(count), catalogs.table(2)
  rng = np.random.default_rng(2)
  allowed = rng.random((2, count)) < 0.4
  excluded = rng.integers(0, count + 1, (2, 6))
  scores = 3 * rng.normal(size=(2, count)).astype(np.float32)
  keep = allowed.copy()
  for row in range(2):
    keep[row, excluded[row][excluded[row] > 0] - 1] = False
  log_probs = catalogs.log_probs(table, titles, probability, keep)
  search = _search(count, count, "mean", probability)
  found = search(
    catalogs.writer(table),
    _trie(titles, catalogs),
    {
      "allowed": allowed,
      "excluded": excluded,
      "item_scores": scores,
      "item_weight": 0.5,
    },
  )
  _assert_best(found, log_probs / _lengths(titles) + 0.5 * scores)


def _reference(log_probs_of, titles, num_beams):
  """Beam search over prefixes, one Python set at a time."""
  beams, done = {(): 0.0}, {}
  while beams:
    grown = {}
    for prefix, log_prob in beams.items():
      following = {t[len(prefix)] for t in titles if t[: len(prefix)] == prefix}
      for token in following:
        grown[(*prefix, token)] = log_prob + log_probs_of(prefix, token)
    done |= {p: value for p, value in grown.items() if p[-1] == 1}
    going = sorted(set(grown) - set(done), key=grown.__getitem__)[::-1]
    beams = {prefix: grown[prefix] for prefix in going[:num_beams]}
  return sorted(done, key=done.__getitem__)[::-1][:num_beams]


def test_few_beams_are_those_of_a_plain_search(catalogs):
  """Also where steps are computed as small ones: see `_NARROW`."""
  titles, table = catalogs.titles(400), catalogs.table(3, scale=1.0)
  trie = _trie(titles, catalogs)
  assert trie.width(1) > 16  # One beam has steps of both sizes.
  log_probs = jax.nn.log_softmax(table)
  for num_beams in (1, 4):
    found = _search(num_beams, num_beams)(catalogs.writer(table), trie, {})
    for row in range(3):
      expected = _reference(
        lambda prefix, token: log_probs[row, (0, *prefix)[-1], token],  # noqa: B023
        [tuple(title) for title in titles],
        num_beams,
      )
      items = np.asarray(found.items)[row].tolist()
      assert [tuple(titles[item - 1]) for item in items] == expected


def test_beams_that_only_spell_are_kept_beside_wide_ones(catalogs):
  """Four likely beginnings of eight items each, and twelve items alone.

  All sixteen beams have 44 children, more than any sixteen nodes of a depth.
  """
  titles = [[2 + a, 10 + b, 1] for a in range(4) for b in range(8)]
  titles += [[6 + a, 20, 1] for a in range(12)]
  table = np.full((1, catalogs.vocab, catalogs.vocab), -20.0, np.float32)
  table[0, 0, 2:18] = np.log([0.1] * 4 + [0.05] * 12)
  table[0, 2:6, 10:18] = np.log(1 / 8)
  table[0, 6:18, 20] = 0.0
  table[0, 6:, catalogs.eos] = 0.0
  table += np.random.default_rng(7).normal(0, 0.01, table.shape)
  trie = _trie(titles, catalogs)
  assert trie.width(16) < 44 <= trie.capacity
  found = _search(16, 12)(catalogs.writer(table), trie, {})
  expected = catalogs.log_probs(table, titles, "open")
  _assert_best(found, expected)
  # What comes first was written last.
  assert found.items.min() > 32


def test_a_filter_is_a_catalogue_of_what_is_allowed(catalogs):
  """Whatever way it is said, and with few beams."""
  titles, table = catalogs.titles(60), catalogs.table(2)
  rng = np.random.default_rng(3)
  out = np.stack([rng.permutation(60)[:25] for _ in range(2)])
  allowed = np.ones((2, 60), bool)
  allowed[np.arange(2)[:, None], out] = False
  search = _search(4, 4, "sum", "closed")
  trie, writer = _trie(titles, catalogs), catalogs.writer(table)
  one = search(writer, trie, {"allowed": allowed})
  # In any order, and said twice.
  other = search(writer, trie, {"excluded": np.append(out, out, 1) + 1})
  for row in range(2):
    kept = np.flatnonzero(allowed[row])
    alone = search(writer, _trie([titles[i] for i in kept], catalogs), {})
    items = kept[np.asarray(alone.items)[row] - 1] + 1
    for found in (one, other):
      np.testing.assert_array_equal(np.asarray(found.items)[row], items)
      np.testing.assert_allclose(
        found.log_probs[row], alone.log_probs[row], atol=1e-5
      )


def test_fewer_come_back_where_fewer_are_allowed(catalogs):
  titles, table = catalogs.titles(60), catalogs.table(4)
  allowed = np.zeros((4, 60), bool)
  for row, count in enumerate((0, 1, 3, 60)):
    allowed[row, 7 : 7 + count] = True
  found = _search(4, 4)(
    catalogs.writer(table), _trie(titles, catalogs), {"allowed": allowed}
  )
  expected = np.where(
    allowed, catalogs.log_probs(table, titles, "open"), -np.inf
  )
  _assert_best(
    jax.tree.map(lambda x: x[:3], found._replace(num_steps=[])), expected[:3]
  )
  assert found.num_found.tolist() == [0, 1, 3, 4]


def test_no_model_leaves_the_catalogue_or_repeats_an_item(catalogs):
  """10,000 requests with filters of a model that answers with anything."""
  titles = catalogs.titles(300)
  trie = _trie(titles, catalogs)
  rng = np.random.default_rng(4)
  search = _search(8, 6, "mean", "open"), _search(8, 6, "sum", "closed")
  for seed in range(10):
    allowed = rng.random((1000, 300)) < rng.choice([0.01, 0.1, 1.0], (1000, 1))
    writer = catalogs.writer(catalogs.table(1000), jax.random.key(seed))
    found = search[seed % 2](writer, trie, {"allowed": allowed})
    items = np.asarray(found.items)
    counts = (items > 0).sum(axis=1)
    np.testing.assert_array_equal(counts, np.minimum(allowed.sum(axis=1), 6))
    np.testing.assert_array_equal(counts, found.num_found)
    rows, places = np.nonzero(items)
    assert allowed[rows, items[rows, places] - 1].all()
    ordered = np.sort(items, axis=1)
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] > 0)
    assert not repeated.any()


def test_scores_of_items_lead_prefixes(catalogs):
  """One beam finds an item that its first token speaks against."""
  titles = [[2, 3, 1], [2, 4, 1], [5, 6, 1], [5, 7, 1]]
  table = np.zeros((1, catalogs.vocab, catalogs.vocab), np.float32)
  table[0, 0, 2] = 5.0
  trie, writer = _trie(titles, catalogs), catalogs.writer(table)
  scores = np.array([[0.0, 0.0, 1.0, 9.0]], np.float32)
  search = _search(1, 1)
  found = search(writer, trie, {"item_scores": scores, "item_weight": 1.0})
  assert found.items.tolist() == [[4]]
  expected = catalogs.log_probs(table, titles, "open")[0, 3]
  assert float(found.log_probs[0, 0]) == pytest.approx(expected, abs=1e-5)
  assert float(found.scores[0, 0]) == pytest.approx(expected + 9, abs=1e-5)
  found = search(writer, trie, {"item_scores": scores, "item_weight": 0.0})
  assert found.items.tolist() in ([[1]], [[2]])


def test_other_rows_do_not_matter(catalogs):
  """Neither which they are, nor how long they take."""
  titles, table = catalogs.titles(400), catalogs.table(6)
  trie, search = _trie(titles, catalogs), _search(4, 4)
  allowed = np.random.default_rng(5).random((6, 400)) < 0.5
  allowed[3] = False
  allowed[3, 17] = True
  wanted = {"allowed": allowed}
  found = search(catalogs.writer(table), trie, wanted)
  order = np.array([3, 3, 5, 0, 1, 3])
  again = search(
    catalogs.writer(table[order]), trie, {"allowed": allowed[order]}
  )
  np.testing.assert_array_equal(found.items[order], again.items)
  np.testing.assert_allclose(
    np.asarray(found.scores)[order], again.scores, atol=1e-5
  )


def test_a_new_item_is_found_by_the_program_that_was_there(catalogs):
  """Tables are made anew, and nothing is compiled or trained."""
  titles, table = catalogs.titles(400), np.array(catalogs.table(2))
  # The likeliest title there can be is not in the catalogue yet.
  new = [20, 21, 22, 19, 1]
  for before, token in zip([0, *new], new, strict=False):
    table[:, before] -= 10.0
    table[:, before, token] = 10.0
  assert new not in titles
  search = _search(4, 4, "mean")
  search(catalogs.writer(table), _trie(titles, catalogs), {})
  compiled = search._cache_size()
  trie = _trie([*titles, new], catalogs)
  again = search(catalogs.writer(table), trie, {})
  assert search._cache_size() == compiled
  assert again.items[:, 0].tolist() == [401, 401]
  assert trie.sequences(again.items)[0, 0, :5].tolist() == new


@pytest.fixture(scope="module", name="network", params=["t5", "llama"])
def network_fixture(request, make_setup, tiny_config, tiny_llama_config):
  """Sharper than an untrained one, with both probabilities in one program."""
  config = {"t5": tiny_config, "llama": tiny_llama_config}[request.param]
  if request.param == "llama":
    config = dataclasses.replace(config, eos_id=1)
  setup = make_setup(config)
  params = jax.tree.map(lambda x: 2.0 * x, setup.params)
  setup = dataclasses.replace(setup, params=params)

  @functools.cache
  def search(num_beams):
    models = [
      setup.with_settings(
        decoder=catalog_decoder.CatalogDecoder(
          num_beams=num_beams, num_decodes=num_beams, probability=name
        )
      )
      for name in PROBABILITIES
    ]

    def both(params, inputs, trie):
      batch = {"encoder_input_tokens": inputs}
      return [model.predict_items(params, batch, trie) for model in models]

    return jax.jit(both)

  return setup, search


def _scored(setup, titles, inputs):
  """Log-likelihoods by `score_batch`, of single tokens as well."""
  width = max(map(len, titles))
  targets = np.zeros((len(inputs), len(titles), width), np.int32)
  for row, title in enumerate(titles):
    targets[:, row, : len(title)] = title
  shifted = np.roll(targets, 1, axis=-1)
  shifted[..., 0] = 0
  batch = {
    "encoder_input_tokens": inputs,
    "decoder_input_tokens": shifted,
    "decoder_target_tokens": targets,
    "decoder_loss_weights": targets > 0,
  }
  score = jax.jit(setup.model.score_batch)
  return np.asarray(score(setup.params, batch))


def _check_network(network, titles, logits_of):
  setup, search = network
  trie = catalog_trie.CatalogTrie.build(titles, eos_id=1, vocab_size=31)
  found = search(max(len(titles), 8))(setup.params, INPUTS, trie)
  expected = _scored(setup, titles, INPUTS)
  # The scores are those of candidates.
  _assert_best(found[0], expected, atol=1e-5)

  width = max(map(len, titles))
  rows = np.zeros((2 * len(titles), width), np.int32)
  for row in range(len(rows)):
    title = titles[row % len(titles)]
    rows[row, : len(title)] = title
  logits = np.asarray(
    logits_of(setup.model.module, setup.params, INPUTS, rows), np.float64
  ).reshape(2, len(titles), width, -1)
  children = {}
  for title in titles:
    for t, token in enumerate(title):
      children.setdefault(tuple(title[:t]), set()).add(token)
  closed = np.zeros((2, len(titles)))
  for i, title in enumerate(titles):
    for t, token in enumerate(title):
      among = logits[:, i, t, sorted(children[tuple(title[:t])])]
      closed[:, i] += logits[:, i, t, token] - np.logaddexp.reduce(among, 1)
  np.testing.assert_allclose(np.exp(closed).sum(axis=1), 1.0, atol=1e-5)
  _assert_best(found[1], closed, atol=1e-5 * max(1, np.abs(closed).max() / 10))


@pytest.mark.parametrize("titles", [PREFIXES, ALONE], ids=["prefixes", "alone"])
def test_networks_are_searched_exactly(network, titles, logits_of):
  _check_network(network, titles, logits_of)


@pytest.mark.slow
def test_five_thousand_titles_are_searched_exactly(
  network, catalogs, logits_of
):
  _check_network(network, catalogs.titles(5000), logits_of)


@pytest.mark.slow
def test_padding_of_prompts_changes_nothing(network):
  setup, search = network
  trie = catalog_trie.CatalogTrie.build(PREFIXES, eos_id=1, vocab_size=31)
  padded = search(8)(setup.params, INPUTS, trie)
  for row, width in enumerate((4, 3)):
    alone = search(8)(setup.params, INPUTS[row : row + 1, :width], trie)
    for one, other in zip(alone, padded, strict=True):
      np.testing.assert_array_equal(one.items[0], other.items[row])
      np.testing.assert_allclose(
        one.scores[0], other.scores[row], atol=1e-5, rtol=5e-6
      )


def test_more_decodes_than_beams_are_refused(catalogs):
  trie = _trie(ALONE, catalogs)
  with pytest.raises(ValueError, match="num_decodes is 5 with num_beams 4"):
    _search(4, 5)(catalogs.writer(catalogs.table(1)), trie, {})
  with pytest.raises(ValueError, match="probability is 'shut'; expected one"):
    _search(4, 4, "sum", "shut")(catalogs.writer(catalogs.table(1)), trie, {})


def test_what_is_said_of_too_many_items_is_refused(catalogs):
  trie = _trie(ALONE, catalogs)
  assert trie.capacity == 8
  with pytest.raises(ValueError, match=r"said of 9 items.*room for 8"):
    _search(4, 4)(
      catalogs.writer(catalogs.table(1)),
      trie,
      {"allowed": np.ones((1, 9), bool)},
    )
