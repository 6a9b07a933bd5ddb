"""Retrievers through the command line, from a log to a report."""

import json

import polars as pl
import pytest
from command_line import call
from typer.testing import CliRunner

from instructrec.cli import main
from instructrec.retrieval import retriever


@pytest.fixture(scope="module")
def work(tmp_path_factory):
  folder = tmp_path_factory.mktemp("retrieve")
  call(
    "prepare",
    "--source=synthetic",
    f"--output={folder / 'prepared'}",
    "--num_users=80",
    "--num_items=40",
    "--min_interactions=1",
    "--max_history=49",
  )
  for method, *options in (
    ("popularity",),
    ("itemknn", "--num_trials=3", "--setting=num_neighbors=10"),
  ):
    call(
      "retrieve",
      "fit",
      f"--data={folder / 'prepared'}",
      f"--method={method}",
      f"--output={folder / method}",
      "--num_validation=50",
      *options,
    )
  return folder


def evaluated(work, output, *options):
  return call(
    "retrieve",
    "evaluate",
    f"--data={work / 'prepared'}",
    f"--retriever={work / 'popularity'}",
    f"--retriever={work / 'itemknn'}",
    f"--output={output}",
    *options,
  )


def test_a_fit_says_what_it_tried(work):
  manifest = retriever.read_manifest(work / "itemknn")
  record = manifest["record"]
  assert manifest["settings"]["num_neighbors"] == 10
  assert [t["settings"]["num_neighbors"] for t in record["trials"]] == [10] * 3
  assert record["num_validation"] == 50
  scores = [t["ndcg_at_10"] for t in record["trials"]]
  chosen = record["trials"][scores.index(max(scores))]["settings"]
  assert chosen == manifest["settings"]


def test_lists_and_the_whole_catalogue_are_in_the_report(work, tmp_path):
  output = evaluated(work, tmp_path / "report", "--num_requests=60")
  assert "frozen candidates (60 requests)" in output
  assert "full catalogue (60 requests)" in output
  per_request = pl.read_parquet(tmp_path / "report" / "per_request.parquet")
  assert set(per_request["method"]) == {"popularity", "itemknn"}
  text = (tmp_path / "report" / "report.md").read_text()
  for word in ("HR@100", "*chance*", "how often the item occurs", "3 trials"):
    assert word in text
  for word in ("position of the target", "coverage", "Gini"):
    assert word in text
  assert (tmp_path / "report" / "report.html").is_file()
  trec = tmp_path / "report" / "trec" / "frozen-candidates"
  assert {path.name for path in trec.iterdir()} == {
    "qrels.gz",
    "popularity.run.gz",
    "itemknn.run.gz",
  }
  again = evaluated(work, tmp_path / "again", "--num_requests=60")
  assert again.split("report:")[0] == output.split("report:")[0]


def test_published_lists_are_evaluated_for_their_users(work, tmp_path):
  requests = pl.read_parquet(work / "prepared" / "requests.parquet").filter(
    split="test"
  )
  ids = pl.read_parquet(work / "prepared" / "items.parquet")["item_id"]
  lines = [
    f"{user}\t{' '.join(ids.sample(25, seed=i))}"
    for i, user in enumerate(requests["user_id"][:12])
  ]
  path = tmp_path / "lists.tsv"
  header = "user_id\tcandidate_item_ids"
  path.write_text("\n".join([header, *lines]) + "\n")
  options = (f"--candidates={path}", "--num_candidates=20")
  output = evaluated(work, tmp_path / "report", *options)
  for group in ("frozen candidates", "lists", "full catalogue"):
    assert f"{group} (12 requests)" in output
  assert "NDCG@20" in output
  found = json.loads((tmp_path / "report" / "report.json").read_text())
  assert str(path) in json.dumps(found)
  with pytest.raises(ValueError, match="pass one of them"):
    evaluated(work, tmp_path / "report", *options, "--num_requests=5")
  namesake = tmp_path / "other" / path.name
  namesake.parent.mkdir()
  namesake.write_text(path.read_text())
  with pytest.raises(ValueError, match="two candidate files are called 'lists"):
    evaluated(work, tmp_path / "report", *options, f"--candidates={namesake}")


def test_a_retriever_of_other_data_is_refused(work, tmp_path):
  """What it was fit on may hold the test targets of these."""
  call(
    "prepare",
    "--source=synthetic",
    f"--output={tmp_path / 'other'}",
    "--num_users=80",
    "--num_items=40",
    "--seed=1",
  )
  with pytest.raises(ValueError, match="was fit on the data"):
    call(
      "retrieve",
      "evaluate",
      f"--data={tmp_path / 'other'}",
      f"--retriever={work / 'popularity'}",
      f"--output={tmp_path / 'report'}",
    )


@pytest.mark.parametrize(
  ("options", "error", "message"),
  [
    (["--method=oracle"], ValueError, "unknown method 'oracle'"),
    (["--method=bm25", "--setting=k2=1"], ValueError, "has no setting"),
    (["--method=bm25", "--num_trials=0"], ValueError, "num_trials is 0"),
  ],
)
def test_what_cannot_be_fit_leaves_nothing(
  work, tmp_path, options, error, message
):
  with pytest.raises(error, match=message):
    call(
      "retrieve",
      "fit",
      f"--data={work / 'prepared'}",
      f"--output={tmp_path / 'out'}",
      *options,
    )
  assert not list(tmp_path.iterdir())


def test_a_setting_is_an_assignment(work, tmp_path):
  result = CliRunner().invoke(
    main.app,
    [
      "retrieve",
      "fit",
      f"--data={work / 'prepared'}",
      f"--output={tmp_path / 'out'}",
      "--method=bm25",
      "--setting=k1",
    ],
  )
  assert result.exit_code == 2
  assert "NAME=VALUE" in result.output


@pytest.mark.parametrize(
  "command",
  [
    ["retrieve", "evaluate", "--data=none", "--retriever=none", "--output=x"],
    pytest.param(["evaluate", "--model_dir=none"], marks=pytest.mark.tf),
  ],
  ids=["retrieve", "evaluate"],
)
def test_files_that_are_no_lists_are_refused_before_data_are_loaded(
  command, tmp_path
):
  path = tmp_path / "ml-1m.random"
  path.write_text("user,items\n5077,1116 884\n")
  with pytest.raises(ValueError, match=r"ml-1m.random, line 1: found 'user,it"):
    call(*command, f"--candidates={path}")


def test_metrics_may_be_asked_for(work, tmp_path):
  out = evaluated(
    work, tmp_path, "--metrics=HR@20,Recall@50", "--metrics=MAP@5"
  )
  wanted = ["HR@20", "Recall@50", "MAP@5"]
  record = json.loads((tmp_path / "report.json").read_text())
  for result in record["results"]:
    assert result["compared"] == wanted
    assert list(result["chance"]) == [*wanted, "HR@1", "NDCG@10"]
  assert "| method | HR@20 | Recall@50 | MAP@5 | HR@1 | NDCG@10 |" in out
  page = (tmp_path / "report.md").read_text()
  assert "| difference | HR@20 | Recall@50 | MAP@5 |" in page
  with pytest.raises(ValueError, match=r"'Recal@5'; the nearest is Recall@5\."):
    evaluated(work, tmp_path / "no", "--metrics=Recal@5")
  assert not (tmp_path / "no").exists()


def test_a_cut_off_past_the_list_is_said(work, tmp_path):
  evaluated(work, tmp_path, "--metrics=NDCG@30,Recall@30")
  page = (tmp_path / "report.md").read_text()
  first, _, second = page.partition("\n## full catalogue\n")
  assert "Recall@30 is 1 for every method: no list has more" in first
  assert "NDCG@30: no list has more than" in first
  assert "no list has more than" not in second
