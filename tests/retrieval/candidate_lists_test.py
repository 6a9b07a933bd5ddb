"""Candidate lists: what stands in them, and what is refused."""

import dataclasses
import types

import polars as pl
import pytest

from instructrec.data import candidates, dataset, request, splits, synthetic
from instructrec.retrieval import candidate_lists, evaluate, methods


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
  log, items = synthetic.generate(num_users=200, num_items=60, seed=3)
  split = splits.leave_one_out(log)
  table = candidates.sample_candidates(split.requests, items, log)
  return dataset.save(
    tmp_path_factory.mktemp("lists") / "prepared",
    log=log,
    items=items,
    split=dataclasses.replace(split, requests=table),
    record={},
  )


@pytest.fixture(scope="module")
def knn(prepared):
  return methods.create("itemknn", {"num_neighbors": 20}).fit(
    prepared.split.training_log, prepared.catalog
  )


def build(prepared, knn, protocol, **options):
  found = None if protocol in candidate_lists.DRAWN else knn
  options = {"split": "test", "num_candidates": 10, **options}
  return candidate_lists.build(
    prepared,
    protocol=protocol,
    found=found,
    retriever_manifest={"name": "knn"},
    **options,
  )


@pytest.mark.parametrize("protocol", candidate_lists.PROTOCOLS)
@pytest.mark.parametrize("split", ["validation", "test"])
def test_lists_hold_what_their_protocol_says(prepared, knn, protocol, split):
  found = build(prepared, knn, protocol, split=split)
  rows = found.frame.join(
    prepared.requests.read(split).drop("candidates", "target", "user_id"),
    on="request_id",
    maintain_order="left",
  )
  assert rows.height == found.frame.height == 200
  for row in rows.iter_rows(named=True):
    items = row["candidates"]
    assert len(set(items)) == len(items) == 10
    assert not set(items) & set(row["history"])
    if protocol == "retrieved":
      place = items.index(row["target"]) + 1 if row["target"] in items else None
      assert row["retrieved_rank"] == place
      assert row["scores"] == sorted(row["scores"], reverse=True)
    else:
      assert row["target"] in items
      assert not set(items) & set(row["later"] or ())


def test_retrieved_targets_are_the_recall_of_the_whole_catalogue(prepared, knn):
  """HR@K of the lists is what ranking all items gives, ties aside."""
  found = build(prepared, knn, "retrieved", num_candidates=20)
  requests = request.from_frame(prepared.requests.read("test"))
  ranks, _ = evaluate.catalog_ranks(knn, requests)
  surely = (ranks.greater + ranks.equal <= 20).mean()
  maybe = (ranks.greater < 20).mean()
  assert 0 < surely <= found.recall <= maybe < 1


def test_hard_lists_differ_from_the_retrieved_by_the_target_alone(
  prepared, knn
):
  hard = build(prepared, knn, "hard").frame
  plain = build(prepared, knn, "retrieved").frame
  assert hard["retrieved_rank"].equals(plain["retrieved_rank"])
  for a, b in zip(
    hard.iter_rows(named=True), plain.iter_rows(named=True), strict=True
  ):
    assert set(a["candidates"]) - {a["target"]} <= set(b["candidates"])
    scored = dict(zip(b["candidates"], b["scores"], strict=True))
    for item, score in zip(a["candidates"], a["scores"], strict=True):
      assert scored.get(item, score) == score


def test_the_place_of_the_target_says_nothing(prepared, knn):
  for protocol in ("hard", "random", "popularity_matched"):
    frame = build(prepared, knn, protocol).frame
    places = [
      row["candidates"].index(row["target"])
      for row in frame.iter_rows(named=True)
    ]
    # Uniform over 0..9: 4.5, give or take five standard errors.
    mean = sum(places) / len(places)
    assert abs(mean - 4.5) < 5 * (99 / 12 / len(places)) ** 0.5


def test_the_seed_alone_decides_the_order(prepared, knn):
  found = build(prepared, knn, "hard").frame
  assert found.equals(build(prepared, knn, "hard").frame)
  other = build(prepared, knn, "hard", seed=1).frame
  assert other["candidates"].to_list() != found["candidates"].to_list()
  assert other["candidates"].list.sort().equals(found["candidates"].list.sort())
  few = build(prepared, knn, "hard", num_requests=7).frame
  assert few.equals(found.join(few, on="request_id", how="semi"))


def test_a_file_gives_what_was_saved(prepared, knn, tmp_path):
  found = build(prepared, knn, "retrieved")
  found.save(tmp_path / "lists.parquet")
  again = candidate_lists.CandidateLists.load(
    tmp_path / "lists.parquet", prepared
  )
  assert again.frame.equals(found.frame)
  assert again.manifest == found.manifest
  assert again.retriever == "knn"
  assert [p.name for p in tmp_path.iterdir()] == ["lists.parquet"]
  with pytest.raises(FileExistsError, match="overwrite"):
    found.save(tmp_path / "lists.parquet")


def test_lists_of_other_data_are_refused(prepared, knn, tmp_path):
  path = tmp_path / "lists.parquet"
  load = candidate_lists.CandidateLists.load
  with pytest.raises(FileNotFoundError, match="retrieve candidates"):
    load(path, prepared)
  pl.DataFrame({"a": [1]}).write_parquet(path)
  with pytest.raises(ValueError, match=r"lists\.parquet is damaged, or no"):
    load(path, prepared)
  build(prepared, knn, "random").save(path, overwrite=True)
  other = types.SimpleNamespace(fingerprint="sha256:other")
  with pytest.raises(ValueError, match="these are sha256:other"):
    load(path, other)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"protocol": "easy"}, "unknown protocol 'easy'"),
    ({"protocol": "hard", "found": None}, "takes the best of a retriever"),
    ({"protocol": "random"}, "takes no retriever"),
    (
      {"protocol": "popularity_matched"},
      "'popularity_matched' takes no retriever",
    ),
    ({"num_candidates": 1}, "num_candidates is 1"),
    ({"num_candidates": 60}, "k is 60, expected 1 to"),
    ({"split": "dev"}, "no requests of the split 'dev'"),
  ],
)
def test_what_makes_no_lists_is_named(prepared, knn, options, message):
  options = {
    "split": "test",
    "protocol": "retrieved",
    "found": knn,
    "num_candidates": 10,
    **options,
  }
  with pytest.raises(ValueError, match=message):
    candidate_lists.build(prepared, **options)
