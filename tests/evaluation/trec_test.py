import gzip

import numpy as np
import pytest
import pytrec_eval

from instructrec.evaluation import evaluate, facts, metrics, report, trec


def lists(candidates, targets):
  count = len(targets)
  return facts.Facts(
    targets=targets,
    candidates=candidates,
    target_counts=np.zeros(count, int),
    history_lengths=np.zeros(count, int),
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
    known=lists(ids, [row[i] for row, i in zip(ids, labels, strict=True)]),
    num_resamples=20,
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
  known = lists([["a", "b", "c"], ["a", "b", "c", "d"]], ["b", "d"])
  trec.write(tmp_path, ["r 1", "r%2"], known, scores)
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
  trec.write(tmp_path, ["q"], lists([ids], ["ab"]), {"x": np.zeros((1, 5))})
  found = [line.split() for line in lines(tmp_path / "x.run.gz")]
  assert {len(words) for words in found} == {6}
  assert len({words[2] for words in found}) == 5
  with pytest.raises(ValueError, match="id 1 of 2 is empty"):
    trec.write(tmp_path, ["q", ""], lists([["a"]] * 2, ["a"] * 2), {})


def test_methods_of_like_names_have_files_of_their_own(tmp_path):
  known = lists([["a", "b"]], ["a"])
  scores = {"a b": np.zeros((1, 2)), "a-b": np.ones((1, 2))}
  trec.write(tmp_path, ["q"], known, scores)
  assert lines(tmp_path / "a-b.run.gz")[0] == "q Q0 a 1 0.0 a-b"
  assert lines(tmp_path / "a-b-2.run.gz")[0] == "q Q0 a 1 1.0 a-b-2"


def test_the_same_lists_give_the_same_bytes(tmp_path):
  known = lists([["a", "b"]], ["a"])
  for name in ("one", "two"):
    trec.write(tmp_path / name, ["q"], known, {"m": np.zeros((1, 2))})
  for name in ("qrels.gz", "m.run.gz"):
    one, two = ((tmp_path / n / name).read_bytes() for n in ("one", "two"))
    assert one == two


def test_lists_and_scores_of_their_shape_are_needed(tmp_path):
  with pytest.raises(ValueError, match="no candidate lists"):
    trec.write(tmp_path, ["q"], lists(None, ["a"]), {})
  known = lists([["a", "b"]], ["a"])
  with pytest.raises(ValueError, match=r"shape \(1, 3\), expected \(1, 2\)"):
    trec.write(tmp_path, ["q"], known, {"m": np.zeros((1, 3))})
