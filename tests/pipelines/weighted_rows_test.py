"""Rows whose scores are sums of parts with learnt weights."""

import dataclasses
import json

import numpy as np
import pytest

from instructrec.pipelines import weighted_rows
from instructrec.retrieval import run_weights
from instructrec.retrieval.methods import item_knn
from instructrec.retrieval.run_weights import WITH_WISH, WITHOUT_WISH
from instructrec.serving.wish_prompts import Wish

READ = {"wanted", "unwanted", "plain", "unread"}


@pytest.fixture(scope="module")
def plain(matching):
  """The same requests without their wishes."""
  return matching.under([""] * len(matching.block.requests))


@pytest.fixture(scope="module")
def knn(matching):
  return item_knn.ItemKNN(num_neighbors=20).fit(
    matching.prepared.split.training_log, matching.prepared.catalog
  )


def rows_of(matching, *trained, **retrievers):
  return weighted_rows.WeightedRows(
    matching.parts(*trained), "model", retrievers
  )


@pytest.fixture(scope="module")
def fitted(matching, knn):
  """On requests with wishes; those without one are the same, unasked."""
  found = rows_of(matching, knn=knn)
  found.fit({"task": iter([matching.block])})
  return found


def test_weights_are_fitted_apart_for_requests_with_and_without_a_wish(
  fitted, matching
):
  weights = fitted.weights.by_kind
  catalogs = {run_weights.catalog_kind(k) for k in (WITH_WISH, WITHOUT_WISH)}
  assert set(weights) == {WITH_WISH, WITHOUT_WISH} | catalogs
  without = {"likelihood", "prior", "match", "popularity"}
  assert set(weights[WITHOUT_WISH].names) == without
  assert set(weights[WITH_WISH].names) == without | READ
  # Whole catalogues are ranked without likelihoods.
  of_catalog = weights[run_weights.catalog_kind(WITH_WISH)]
  assert set(of_catalog.names) == {"match", "popularity"} | READ
  count = len(matching.block.requests)
  for kind, found in weights.items():
    # All again, with somebody else's wish and with idle words.
    again = 2 * count if kind.startswith(WITH_WISH) else 0
    assert found.log.num_requests == count + again, kind
    assert found.log.nats_after <= found.log.nats_before


def test_the_models_row_is_the_weighted_sum(fitted, matching):
  scores, text = fitted.model(matching.block)
  own = fitted.parts.of_block(matching.block, Wish.OWN)
  weights = fitted.weights.by_kind[WITH_WISH].weights
  np.testing.assert_allclose(
    scores, sum(weights[name] * own[name] for name in weights), rtol=1e-6
  )
  assert "fitted on 36 validation requests" in text


def test_other_wishes_the_filter_and_fusions_stand_beside(
  fitted, matching, knn
):
  block = matching.block
  rows = {name: (scores, text) for name, scores, text in fitted.beside(block)}
  assert list(rows) == [
    "model, no wish",
    "model, somebody else's wish",
    "wish as a filter",
    "model + knn",
    "knn + popularity",
  ]
  for wish, kind in ((Wish.NONE, WITHOUT_WISH), (Wish.OTHER, WITH_WISH)):
    found = fitted.parts.of_block(block, wish)
    np.testing.assert_allclose(
      rows[f"model, {wish}"][0],
      fitted.weights.combine(kind, found, block.where),
      rtol=1e-6,
    )
  own = fitted.parts.of_block(block, Wish.OWN)
  np.testing.assert_allclose(
    rows["wish as a filter"][0], own["wanted"] - own["unwanted"]
  )
  # Fusions are other sums, of the same scores of the retriever.
  _, text = rows["knn + popularity"]
  assert "match" not in text
  assert "retriever:knn" in text
  assert "match" in rows["model + knn"][1]
  fitted.ablation("task")


def test_the_scores_that_lists_carry_are_fused_as_those_of_a_retriever(
  fitted, matching, knn
):
  """The retriever of the lists is given by its scores, not by its folder."""
  block = dataclasses.replace(
    matching.block, retriever_scores=knn.score(matching.block.requests)
  )
  carried = rows_of(matching)
  carried = dataclasses.replace(carried, lists_retriever="knn")
  carried.fit({"task": iter([block])})
  expected = {name: scores for name, scores, _ in fitted.beside(block)}
  found = {name: scores for name, scores, _ in carried.beside(block)}
  assert list(found) == list(expected)
  for name in ("model + knn", "knn + popularity"):
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
  # One that is given as well is no further part.
  both = dataclasses.replace(fitted, lists_retriever="knn")
  assert both._retriever_names == fitted._retriever_names
  fitted.ablation("task")


def test_no_wish_ranks_as_requests_without_one(fitted, matching, plain):
  rows = {name: scores for name, scores, _ in fitted.beside(matching.block)}
  scores, text = fitted.model(plain)
  np.testing.assert_allclose(
    rows["model, no wish"], scores, rtol=1e-4, atol=1e-4
  )
  assert "wanted" not in text
  names = [name for name, *_ in fitted.beside(plain)]
  assert names == ["model + knn", "knn + popularity"]
  fitted.ablation("task")


def test_intervals_of_the_ablation_draw_users(fitted, matching):
  """Requests that are there twice say no more than once."""
  block = matching.block
  twice = dataclasses.replace(
    block,
    requests=[*block.requests, *block.requests],
    examples=np.tile(block.examples, 2),
    labels=np.tile(block.labels, 2),
    where=np.tile(block.where, (2, 1)),
  )
  tables = []
  for each in (block, twice):
    assert list(fitted.beside(each))
    tables += fitted.ablation("task")[1]
  once, again = tables
  assert again.num_requests == 2 * once.num_requests
  assert again.num_users == once.num_users
  for row, other in zip(once.rows, again.rows, strict=True):
    for metric, figure in row.metrics.items():
      assert other.metrics[metric].low == pytest.approx(figure.low), metric
      assert other.metrics[metric].high == pytest.approx(figure.high), metric


def test_the_ablation_is_of_lists_that_have_their_target(fitted, matching):
  block = matching.block
  labels = block.labels.copy()
  labels[1:] = -1
  some = dataclasses.replace(block, labels=labels)
  assert list(fitted.beside(some))
  _, (table,) = fitted.ablation("task")
  assert table.num_requests == 1
  none = dataclasses.replace(block, labels=np.full_like(labels, -1))
  assert list(fitted.beside(none))
  assert fitted.ablation("task") == ([], [])


def test_the_ablation_tells_what_parts_add_and_forgets(fitted, matching):
  assert fitted.ablation("task") == ([], [])
  list(fitted.beside(matching.block))
  lines, (table,) = fitted.ablation("task")
  assert lines[0] == f"### {table.name}"
  assert table.name == "task: what each part of the score adds"
  text = "\n".join(lines)
  own = (*READ, "likelihood", "prior", "match", "popularity")
  # Of the fusion, whose parts the retriever is among.
  for name in (*own, "retriever:knn"):
    assert f"without {name}" in text
    assert f"{name} alone" in text
    assert table.row(f"without {name}").differences
  assert "retriever:knn" in lines[2]
  assert fitted.ablation("task") == ([], [])


def test_weights_stay_with_the_run(fitted, matching, tmp_path):
  fitted.save(tmp_path, 7)
  record = json.loads((tmp_path / run_weights.FILE).read_text())
  assert record["checkpoint_step"] == 7
  again = rows_of(matching)
  again.load(tmp_path, "test")
  np.testing.assert_allclose(
    again.model(matching.block)[0], fitted.model(matching.block)[0], rtol=1e-6
  )
  # What stands beside needs no fit, but fusions and ablations do.
  names = [name for name, *_ in again.beside(matching.block)]
  assert names == [
    "model, no wish",
    "model, somebody else's wish",
    "wish as a filter",
  ]
  assert again.ablation("task") == ([], [])


def test_no_request_is_ranked_by_weights_that_know_it(
  fitted, matching, tmp_path
):
  fitted.save(tmp_path, 7)
  found = rows_of(matching)
  why = found.load(tmp_path, "validation")
  assert "fitted on the split 'validation'" in why
  assert "as in training, not fitted" in found.model(matching.block)[1]
  assert found.load(tmp_path, "test") is None
  assert "fitted on" in found.model(matching.block)[1]


@pytest.mark.parametrize(("step", "kept"), [(7, True), (8, False)])
def test_requests_of_another_kind_keep_their_weights(
  matching, plain, tmp_path, step, kept
):
  """`rank` knows wishes after an evaluation of requests without any, too."""
  both = rows_of(matching, "match")
  both.fit({"task": iter([matching.block])})
  both.save(tmp_path, 7)
  some = rows_of(matching, "match")
  some.fit({"task": iter([plain])})
  fitted = dict(some.weights.by_kind)
  assert set(fitted) == {WITHOUT_WISH}
  some.save(tmp_path, step)
  found = run_weights.RunWeights.load(tmp_path, {})
  expected = {**both.weights.by_kind, **fitted} if kept else fitted
  assert found.by_kind == expected
  assert found.checkpoint_step == step


def test_weights_of_catalogues_go_with_those_of_their_kind(
  fitted, matching, tmp_path
):
  """A kind that is fitted anew without likelihoods ranks catalogues itself."""
  fitted.save(tmp_path, 7)
  anew = rows_of(matching, "match")
  anew.fit({"task": iter([matching.block])})
  anew.save(tmp_path, 7)
  found = run_weights.RunWeights.load(tmp_path, {}).by_kind
  assert set(found) == {WITH_WISH, WITHOUT_WISH}


def test_a_damaged_file_is_written_anew(fitted, tmp_path):
  (tmp_path / run_weights.FILE).write_text("{")
  fitted.save(tmp_path, 3)
  assert run_weights.RunWeights.load(tmp_path, {}).checkpoint_step == 3


def test_untuned_matches_count_as_in_training(matching, plain):
  rows = rows_of(matching, "match")
  assert rows.is_weighted
  scores, text = rows.model(plain)
  found = rows.parts.of_block(plain, Wish.OWN)
  weight = rows.parts.matcher.popularity_weight
  np.testing.assert_allclose(
    scores, found["match"] + weight * found["popularity"], rtol=1e-6
  )
  assert "as in training, not fitted" in text


def test_a_likelihood_alone_has_nothing_beside_it(matching):
  rows = rows_of(matching, "likelihood")
  assert not rows.is_weighted
  assert list(rows.beside(matching.block)) == []
  scores, _ = rows.model(matching.block)
  np.testing.assert_array_equal(
    scores, rows.parts.of_block(matching.block, Wish.OWN)["likelihood"]
  )
  rows.fit({"task": iter([matching.block])})
  assert rows.is_weighted
  # Likelihoods of whole catalogues are unknown, so they have no weights.
  assert set(rows.weights.by_kind) == {WITH_WISH, WITHOUT_WISH}
