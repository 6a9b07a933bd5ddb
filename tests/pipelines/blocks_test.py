"""Requests of a task in blocks, with their own lists and with others."""

import dataclasses
import itertools

import numpy as np
import polars as pl
import pytest

from instructrec.data import dataset
from instructrec.models import tokenizer
from instructrec.retrieval import candidate_lists, methods
from instructrec.training import ragged as ragged_lib
from instructrec.training import token_dataset

pytestmark = pytest.mark.tf


def ragged(rows):
  offsets = np.concatenate([[0], [len(row) for row in rows]]).cumsum()
  return ragged_lib.Ragged(np.concatenate(rows).astype(np.int32), offsets)


def title(place):
  """Tokens that no other item has, of several lengths."""
  return [*[3] * (place % 4), place + 4, tokenizer.EOS_ID]


@pytest.fixture(scope="module")
def prepared(prepared_dir):
  return dataset.load(prepared_dir)


@pytest.fixture(scope="module")
def titles(prepared):
  from instructrec.pipelines import blocks

  rows = [title(place) for place in range(len(prepared.catalog))]
  return blocks.Titles(prepared.catalog, ragged(rows))


@pytest.fixture(scope="module")
def data(prepared):
  """A task over the test requests, in another order than theirs."""
  rows = prepared.requests.read("test")[::-1]
  lists = rows["candidates"].to_list()
  return token_dataset.TokenDataset(
    "toy",
    ragged([[n + 5, 1] for n in range(rows.height)]),
    ragged([title(prepared.catalog.index(i)) for ids in lists for i in ids]),
    np.concatenate([[0], [len(ids) for ids in lists]]).cumsum(),
    rows.select(
      "request_id",
      "user_id",
      pl.lit(0).alias("label"),
      pl.lit("T2").alias("task_form"),
      pl.lit("").alias("wish_text"),
    ).with_columns(pl.Series("candidate_ids", lists)),
    {},
  )


@pytest.fixture(scope="module")
def retrieved(prepared):
  knn = methods.create("itemknn", {}).fit(
    prepared.split.training_log, prepared.catalog
  )
  return candidate_lists.build(
    prepared,
    "test",
    "retrieved",
    found=knn,
    retriever_manifest={"name": "knn"},
    num_candidates=8,
    num_requests=25,
  )


def test_lists_of_the_task_are_read_as_they_are(prepared, data):
  from instructrec.pipelines import blocks

  (block,) = blocks.blocks(data, np.arange(len(data)), prepared)
  assert block.tokens is data
  assert block.retriever_scores is None
  expected = prepared.requests.read("test")[::-1]
  assert [r.target for r in block.requests] == expected["target"].to_list()
  assert block.labels.tolist() == expected["label"].to_list()
  assert [list(r.history) for r in block.requests] == (
    expected["history"].to_list()
  )
  assert block.where.all()


def test_requests_carry_the_wishes_of_their_instructions(prepared, data):
  from instructrec.pipelines import blocks

  wishes = ["" if row % 3 else f"wish {row}" for row in range(len(data))]
  wished = data.with_wishes(data.inputs, wishes)
  chosen = np.array([4, 3, 0])
  (block,) = blocks.blocks(wished, chosen, prepared)
  assert [r.intention for r in block.requests] == [None, "wish 3", "wish 0"]


def test_other_lists_bring_their_titles_and_scores(
  prepared, data, titles, retrieved
):
  from instructrec.pipelines import blocks

  examples = blocks.select(data, retrieved, None, 0)
  assert len(examples) == 25
  exchange = blocks.Exchange(retrieved, titles)
  rows = {r["request_id"]: r for r in retrieved.frame.iter_rows(named=True)}
  (block,) = blocks.blocks(data, examples, prepared, exchange=exchange)
  tokens = block.tokens
  for i, (r, example) in enumerate(zip(block.requests, examples, strict=True)):
    row = rows[r.request_id]
    assert list(r.candidates) == row["candidates"]
    assert block.retriever_scores[i].tolist() == row["scores"]
    place = row["retrieved_rank"]
    assert block.labels[i] == (-1 if place is None else place - 1)
    # The instruction stays.
    start = tokens.inputs.offsets[block.examples[i]]
    assert tokens.inputs.tokens[start] == example + 5
    first, last = tokens.lists[i : i + 2]
    found = [
      tokens.targets.tokens[a:b].tolist()
      for a, b in itertools.pairwise(tokens.targets.offsets[first : last + 1])
    ]
    assert found == [title(prepared.catalog.index(c)) for c in r.candidates]
  assert (block.labels < 0).any()
  assert (block.labels >= 0).any()


def test_an_instruction_that_names_its_candidates_takes_no_other_list(
  prepared, data, titles, retrieved
):
  """It names the target, which other lists are to hide among others."""
  from instructrec.pipelines import blocks

  named = dataclasses.replace(
    data, columns=data.columns.with_columns(pl.lit("T3").alias("task_form"))
  )
  examples = blocks.select(named, retrieved, None, 0)
  exchange = blocks.Exchange(retrieved, titles)
  with pytest.raises(ValueError, match="names its frozen candidates"):
    next(blocks.blocks(named, examples, prepared, exchange=exchange))
  next(blocks.blocks(named, examples, prepared))


def test_blocks_hold_as_many_requests_as_told(
  prepared, data, titles, retrieved
):
  """What lies in memory grows with the block, not with the requests."""
  from instructrec.pipelines import blocks

  examples = blocks.select(data, retrieved, None, 0)
  exchange = blocks.Exchange(retrieved, titles)

  def parts(size):
    return list(
      blocks.blocks(data, examples, prepared, exchange=exchange, size=size)
    )

  (whole,) = parts(100)
  small = parts(7)
  assert [len(part.requests) for part in small] == [7, 7, 7, 4]
  assert [len(part.tokens) for part in small] == [7, 7, 7, 4]
  joined = [r for part in small for r in part.requests]
  assert joined == whole.requests
  np.testing.assert_array_equal(
    np.concatenate([part.tokens.targets.tokens for part in small]),
    whole.tokens.targets.tokens,
  )


def test_requests_that_the_data_lack_are_named(prepared, data):
  from instructrec.pipelines import blocks

  ids = pl.Series("request_id", [f"x{n}" for n in range(len(data))])
  other = token_dataset.TokenDataset(
    "toy",
    data.inputs,
    data.targets,
    data.lists,
    data.columns.with_columns(ids),
    {},
  )
  with pytest.raises(ValueError, match="request 'x0' of the instructions"):
    next(blocks.blocks(other, np.arange(3), prepared))
