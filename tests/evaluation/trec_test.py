import dataclasses
import gzip

import numpy as np
import pytest
import pytrec_eval

from instructrec.evaluation import evaluate, metrics, report, scored_lists, trec


def lists(request_ids, candidates, targets, scores):
  return scored_lists.ScoredLists(
    request_ids=request_ids,
    targets=targets,
    candidates=candidates,
    scores=scores,
  )


def read(folder, tag):
  with gzip.open(folder / "qrels.gz", "rt") as file:
    qrels = pytrec_eval.parse_qrel(file)
  with gzip.open(folder / f"{tag}.run.gz", "rt") as file:
    return qrels, pytrec_eval.parse_run(file)


def lines(path):
  with gzip.open(path, "rt") as file:
    return file.read().splitlines()


def test_pytrec_eval_reads_our_files_and_gets_our_figures(tmp_path):
  rng = np.random.default_rng(0)
  count, width = 200, 12
  lengths = rng.integers(4, width + 1, count)
  ids = [[f"i{x}" for x in rng.choice(500, n, replace=False)] for n in lengths]
  labels = rng.integers(0, lengths)
  where = np.arange(width) < lengths[:, None]
  # Whole numbers, which 32-bit floats hold: nothing ties.
  scores = {
    name: rng.permuted(np.tile(np.arange(width) - 5.0, (count, 1)), axis=1)
    for name in ("trained model", "b/c")
  }
  request_ids = [f"test-u{i}-7" for i in range(count)]
  result = evaluate.from_scores(
    "sequential p1",
    scores,
    labels,
    request_ids=request_ids,
    where=where,
    num_resamples=20,
  )
  targets = [row[i] for row, i in zip(ids, labels, strict=True)]
  result = dataclasses.replace(
    result, lists=[lists(request_ids, ids, targets, scores)]
  )
  context = report.Context("t", [], {}, {}, {}, {}, "", [], [])
  report.write(tmp_path, [result], context)
  folder = tmp_path / "trec" / "sequential-p1"
  assert {path.name for path in folder.iterdir()} == {
    "qrels.gz",
    "trained-model.run.gz",
    "b-c.run.gz",
  }
  for method, tag in (("trained model", "trained-model"), ("b/c", "b-c")):
    qrels, run = read(folder, tag)
    found = pytrec_eval.RelevanceEvaluator(
      qrels, {"ndcg_cut.3,5,10", "recip_rank", "success.1,3,5,10"}
    ).evaluate(run)
    names = {f"NDCG@{k}": f"ndcg_cut_{k}" for k in metrics.NDCG_AT}
    names |= {f"HR@{k}": f"success_{k}" for k in metrics.HIT_RATE_AT}
    names["MRR"] = "recip_rank"
    for ours, theirs in names.items():
      np.testing.assert_allclose(
        result.per_request[method][ours],
        [found[r][theirs] for r in request_ids],
        rtol=0,
        atol=1e-12,
      )


def test_a_run_by_hand(tmp_path):
  nan = float("nan")
  scores = {"m": np.array([[0.5, 2.0, nan, 9.0], [1.0, 1.0, -np.inf, 3.25]])}
  candidates = [["a", "b", "c"], ["a", "b", "c", "d"]]
  trec.write(tmp_path, [lists(["r 1", "r%2"], candidates, ["b", "d"], scores)])
  assert lines(tmp_path / "qrels.gz") == ["r%201 0 b 1", "r%252 0 d 1"]
  # A score past the end of a list is none; of equal ones the first is ahead.
  assert lines(tmp_path / "m.run.gz") == [
    "r%201 Q0 b 1 2.0 m",
    "r%201 Q0 a 2 0.5 m",
    "r%201 Q0 c 3 -inf m",
    "r%252 Q0 d 1 3.25 m",
    "r%252 Q0 a 2 1.0 m",
    "r%252 Q0 b 3 1.0 m",
    "r%252 Q0 c 4 -inf m",
  ]


def test_ids_are_one_word_each_and_stay_apart(tmp_path):
  ids = ["a b", "a%20b", "a\tb", "a\u00a0b", "ab"]
  trec.write(tmp_path, [lists(["q"], [ids], ["ab"], {"x": np.zeros((1, 5))})])
  found = [line.split() for line in lines(tmp_path / "x.run.gz")]
  assert {len(words) for words in found} == {6}
  assert len({words[2] for words in found}) == 5
  with pytest.raises(ValueError, match="id 1 of 2 is empty"):
    trec.write(tmp_path, [lists(["q", ""], [["a"]] * 2, ["a"] * 2, {})])


def test_methods_of_like_names_have_files_of_their_own(tmp_path):
  scores = {"a b": np.zeros((1, 2)), "a-b": np.ones((1, 2))}
  trec.write(tmp_path, [lists(["q"], [["a", "b"]], ["a"], scores)])
  assert lines(tmp_path / "a-b.run.gz")[0] == "q Q0 a 1 0.0 a-b"
  assert lines(tmp_path / "a-b-2.run.gz")[0] == "q Q0 a 1 1.0 a-b-2"


def test_the_same_lists_give_the_same_bytes(tmp_path):
  some = lists(["q"], [["a", "b"]], ["a"], {"m": np.zeros((1, 2))})
  for name in ("one", "two"):
    trec.write(tmp_path / name, [some])
  for name in ("qrels.gz", "m.run.gz"):
    one, two = ((tmp_path / n / name).read_bytes() for n in ("one", "two"))
    assert one == two


def test_parts_make_the_files_of_the_whole(tmp_path):
  rng = np.random.default_rng(1)
  lengths = rng.integers(2, 9, 40)
  whole = lists(
    [f"q{i}" for i in range(40)],
    [[f"i{i}" for i in range(length)] for length in lengths],
    ["i0"] * 40,
    {"a": rng.normal(size=(40, 8)), "b": rng.integers(0, 3, (40, 8)) * 1.0},
  )
  parts = [
    whole.take(np.isin(np.arange(40), rows))
    for rows in np.array_split(np.arange(40), 7)
  ]
  trec.write(tmp_path / "whole", [whole])
  trec.write(tmp_path / "parts", iter(parts))
  for name in ("qrels.gz", "a.run.gz", "b.run.gz"):
    assert lines(tmp_path / "parts" / name) == lines(tmp_path / "whole" / name)
  assert len(lines(tmp_path / "parts" / "a.run.gz")) == lengths.sum()


def test_what_fails_leaves_no_file_that_looks_complete(tmp_path):
  good = lists(["q"], [["a", "b"]], ["a"], {"m": np.zeros((1, 2))})
  bad = lists(["r"], [["a", "b"]], ["a"], {"m": np.zeros((1, 3))})
  with pytest.raises(ValueError, match=r"shape \(1, 3\), expected \(1, 2\)"):
    trec.write(tmp_path, [good, bad])
  assert not list(tmp_path.glob("*.gz"))
