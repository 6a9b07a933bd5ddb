"""Ranks gathered in blocks, of lists that may lack their target."""

import gc
import gzip
import tracemalloc
import types
import weakref

import numpy as np
import polars as pl
import pytest

from instructrec.data import interaction, request
from instructrec.evaluation import metrics, trec

RNG = np.random.default_rng(1)
LOG = interaction.InteractionLog(
  pl.DataFrame({"user_id": ["u"], "item_id": ["i0"], "order": [0]})
)

pytestmark = pytest.mark.tf


@pytest.fixture
def rank_table():
  from instructrec.pipelines import rank_table

  return rank_table


def block(labels, counts, first=0):
  """What a table reads of a block."""
  labels, counts = np.asarray(labels), np.asarray(counts)
  return types.SimpleNamespace(
    requests=[
      request.RankingRequest(
        f"r{first + i}",
        "u",
        ("i0",),
        tuple(f"i{j}" for j in range(count)),
        f"i{label}" if label >= 0 else "elsewhere",
      )
      for i, (label, count) in enumerate(zip(labels, counts, strict=True))
    ],
    labels=labels,
    where=np.arange(counts.max()) < counts[:, None],
  )


def filled(rank_table, labels, counts, scores, parts):
  table = rank_table.RankTable(1000, LOG, seed=0)
  for part in np.array_split(np.arange(len(labels)), parts):
    width = counts[part].max()
    some = block(labels[part], counts[part], part[0])
    for name, values in scores.items():
      table.add(some, name, values[part, :width], f"is {name}")
    table.end(some)
  return table


@pytest.mark.parametrize("parts", [1, 4])
def test_blocks_do_not_change_the_figures(rank_table, parts):
  counts = RNG.integers(5, 13, 40)
  labels = RNG.integers(0, counts)
  scores = {"a": RNG.normal(size=(40, 12)), "constant": np.zeros((40, 12))}
  scores["a"][3, 0] = np.nan
  table = filled(rank_table, labels, counts, scores, parts)
  (found,) = table.overall("g")
  where = np.arange(12) < counts[:, None]
  expected = metrics.per_request(scores["a"], labels, where=where)
  for name, values in expected.items():
    np.testing.assert_array_equal(found.per_request["a"][name], values)
    # A constant scorer gets chance level exactly.
    mean = found.methods["constant"][name].mean
    assert mean == pytest.approx(found.chance[name], abs=1e-12)
  assert found.request_ids == [f"r{i}" for i in range(40)]
  assert found.num_nan == {"a": 1, "constant": 0}


def test_a_missing_target_is_ranked_behind_the_whole_catalogue(rank_table):
  labels = np.array([0, -1, 2, -1])
  counts = np.full(4, 20)
  scores = {"best": np.eye(20)[labels], "constant": np.zeros((4, 20))}
  table = filled(rank_table, labels, counts, scores, 2)
  every, some = table.by_retrieval("g", "best")
  assert (every.group, some.group) == (
    "g, all requests",
    "g, target retrieved",
  )
  assert every.expected_ranks["best"].tolist() == [1, 1000, 1, 1000]
  assert some.expected_ranks["best"].tolist() == [1, 1]
  assert every.methods["best"]["NDCG@20"].mean == 0.5
  assert every.methods["best"]["MRR"].mean == pytest.approx(0.5 + 0.5 / 1000)
  for name, value in every.chance.items():
    assert every.methods["constant"][name].mean == pytest.approx(value)
  assert some.chance == metrics.chance(
    20, metrics.default_names((1, 3, 5, 10, 20), (3, 5, 10, 20))
  )
  assert "2 of 4 requests was retrieved" in every.descriptions["best"]
  assert "exceeds 0.5000" in every.descriptions["best"]


def test_where_no_target_was_retrieved_there_is_no_second_result(rank_table):
  counts, labels = np.full(3, 5), np.full(3, -1)
  scores = {"a": RNG.normal(size=(3, 5))}
  table = filled(rank_table, labels, counts, scores, 1)
  (every,) = table.by_retrieval("g", "a")
  assert every.chance["HR@5"] == every.methods["a"]["HR@5"].mean == 0


def test_a_table_without_blocks_has_no_result(rank_table):
  assert rank_table.RankTable(9, LOG, seed=0).overall("g") == []
  assert rank_table.RankTable(9, LOG, seed=0).by_retrieval("g", "a") == []


def test_two_methods_of_one_name_are_refused(rank_table):
  table = rank_table.RankTable(9, LOG, seed=0)
  some = block([0, 1], [5, 5])
  table.add(some, "a", np.zeros((2, 5)), "")
  with pytest.raises(ValueError, match="two methods are called 'a'"):
    table.add(some, "a", np.zeros((2, 5)), "")


def test_blocks_do_not_change_the_lists(rank_table, tmp_path):
  counts = RNG.integers(20, 31, 40)
  labels = RNG.integers(-1, counts)
  scores = {"a": RNG.normal(size=(40, 30)), "tied": np.ones((40, 30))}
  scores["a"][3, 0] = np.nan
  found = {}
  for parts in (1, 7):
    table = filled(rank_table, labels, counts, scores, parts)
    for name, result in zip(
      ("every", "some"), table.by_retrieval("g", "a"), strict=True
    ):
      folder = tmp_path / f"{parts} {name}"
      trec.write(folder, result.lists)
      found[parts, name] = {
        path.name: gzip.decompress(path.read_bytes())
        for path in folder.iterdir()
      }
  assert found[1, "every"] == found[7, "every"]
  assert found[1, "some"] == found[7, "some"]
  assert set(found[1, "some"]) == {"qrels.gz", "a.run.gz", "tied.run.gz"}
  for name, rows in (("every", counts), ("some", counts[labels >= 0])):
    lines = found[7, name]["a.run.gz"].splitlines()
    assert len(lines) == rows.sum()
    assert len(found[7, name]["qrels.gz"].splitlines()) == len(rows)


def test_what_is_kept_of_a_request_does_not_grow_with_its_list(rank_table):
  """Scores are let go, and bytes a request are those of short lists."""

  def kept(count):
    table = rank_table.RankTable(10**6, LOG, seed=0)
    alive = []
    tracemalloc.start()
    for number in range(4):
      some = block(np.zeros(50, int), np.full(50, count), 50 * number)
      for name in ("a", "b"):
        scores = RNG.normal(size=(50, count))
        alive.append(weakref.ref(scores))
        table.add(some, name, scores, "")
      table.end(some)
      del some, scores
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not any(ref() is not None for ref in alive)
    return size

  kept(5)  # What is imported and made at the first call.
  # One score more a request and method would be 8 x 2 x 200 x 195 = 0.6 MB.
  assert kept(200) < kept(5) + 100_000


def test_the_training_log_is_counted_once(rank_table):
  class Frame(dict):
    reads = 0

    def __getitem__(self, name):
      Frame.reads += 1
      return super().__getitem__(name)

  log = interaction.InteractionLog(LOG.frame)
  log.frame = Frame(item_id=["i0", "i0", "i1"])
  table = rank_table.RankTable(1000, log, seed=0)
  for first in (0, 2):
    some = block([0, 1], [5, 5], first)
    table.add(some, "a", np.zeros((2, 5)), "")
    table.end(some)
  assert Frame.reads == 1
  (found,) = table.overall("g")
  assert found.known.target_counts.tolist() == [2, 1, 2, 1]
