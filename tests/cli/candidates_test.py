"""Candidate lists through the command line."""

import pytest
from command_line import call

from instructrec.data import dataset
from instructrec.retrieval import candidate_lists


def shop(folder, seed=0):
  call(
    "prepare",
    "--source=synthetic",
    f"--output={folder}",
    "--num_users=80",
    "--num_items=40",
    "--min_interactions=1",
    f"--seed={seed}",
  )
  return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
  folder = tmp_path_factory.mktemp("candidates")
  prepared = shop(folder / "prepared")
  call(
    "retrieve",
    "fit",
    f"--data={prepared}",
    "--method=itemknn",
    f"--output={folder / 'knn'}",
  )
  return folder


def test_the_file_names_its_retriever_and_the_command_its_recall(work):
  path = work / "retrieved.parquet"
  output = call(
    "retrieve",
    "candidates",
    f"--data={work / 'prepared'}",
    f"--retriever={work / 'knn'}",
    "--num_candidates=10",
    f"--output={path}",
  )
  found = candidate_lists.CandidateLists.load(
    path, dataset.load(work / "prepared")
  )
  assert f"80 lists of 10 (retrieved, test) written to {path}" in output
  assert f"for {found.recall:.1%} of the requests" in output
  assert found.manifest["retriever"]["method"] == "itemknn"
  assert found.manifest["retriever"]["name"] == "knn"


def test_random_lists_need_no_retriever(work):
  path = work / "random.parquet"
  args = (
    "retrieve",
    "candidates",
    f"--data={work / 'prepared'}",
    "--protocol=random",
    "--num_candidates=10",
    f"--output={path}",
  )
  assert "80 lists of 10 (random, test)" in call(*args)
  with pytest.raises(FileExistsError, match="--overwrite"):
    call(*args)
  with pytest.raises(ValueError, match="takes no retriever"):
    call(*args, f"--retriever={work / 'knn'}", "--overwrite")


def test_windows_that_are_too_narrow_are_said(work):
  path = work / "matched.parquet"
  output = call(
    "retrieve",
    "candidates",
    f"--data={work / 'prepared'}",
    "--protocol=popularity_matched",
    "--num_candidates=10",
    "--window=3",
    f"--output={path}",
  )
  assert "80 lists of 10 (popularity_matched, test)" in output
  # Three ranks on either side have six items.
  assert "note: 80 lists had too few unseen items within 3 ranks" in output
  found = candidate_lists.CandidateLists.load(
    path, dataset.load(work / "prepared")
  )
  assert (found.manifest["window"], found.manifest["num_widened"]) == (3, 80)


def test_a_retriever_of_other_data_is_refused(work, tmp_path):
  other = shop(tmp_path / "other", seed=1)
  with pytest.raises(ValueError, match="was fit on the data"):
    call(
      "retrieve",
      "candidates",
      f"--data={other}",
      f"--retriever={work / 'knn'}",
      f"--output={tmp_path / 'lists.parquet'}",
    )
  assert not (tmp_path / "lists.parquet").exists()
