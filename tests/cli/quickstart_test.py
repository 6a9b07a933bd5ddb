"""`instructrec quickstart`, small, and what can be done with its run."""

import json
import re

import polars as pl
import pytest
from command_line import call

from instructrec.retrieval import run_weights

pytestmark = pytest.mark.tf
_SEARCH = "personalized_search_p1_i1"
_PLAIN = "sequential_p1_i0"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """The run's folder and what the command printed."""
  folder = tmp_path_factory.mktemp("quickstart")
  # From a folder without gin files: the installed ones are found.
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    output = call(
      "quickstart",
      "--output=run",
      "--num_users=60",
      "--num_items=80",
      "--train_steps=2",
      "--num_requests=5",
    )
  return folder / "run", output


@pytest.fixture(scope="module")
def run(made):
  return made[0]


def results(report):
  record = json.loads((report / "report.json").read_text())
  return {result["group"]: result for result in record["results"]}


def test_it_goes_from_logs_to_a_report(made):
  run, output = made
  for step in ("1/6 prepare", "2/6", "3/6", "4/6", "5/6", "6/6 rank"):
    assert step in output
  assert (run / "report/report.md").is_file()
  assert "\nunderstood: " in output
  items = pl.read_parquet(run / "prepared/items.parquet")
  assert f"\n{items.height - 2} candidates:" in output


def test_a_wish_has_rows_of_its_own(run):
  found = results(run / "report")
  assert len(found) > 3
  baselines = {"bm25", "itemknn", "sasrec"}
  always = {"trained model", "untrained model", "popularity", "random"}
  always |= baselines | {
    "trained model + bm25 + itemknn + sasrec",
    "bm25 + itemknn + sasrec + popularity",
  }
  assert set(found[_PLAIN]["methods"]) == always
  assert set(found[_SEARCH]["methods"]) == always | {
    "trained model, no wish",
    "trained model, somebody else's wish",
    "wish as a filter",
  }
  for name, group in found.items():
    text = group["descriptions"]["trained model"]
    assert "fitted on" in text, name
    assert " match" in text, name
    assert " likelihood" not in text, name


def test_the_weights_lie_beside_the_run(run):
  record = json.loads((run / "model" / run_weights.FILE).read_text())
  assert record["checkpoint_step"] == 2
  weights = {kind: one["weights"] for kind, one in record["weights"].items()}
  plain = {"match", "popularity"}
  assert set(weights) == set(run_weights.KINDS)
  assert set(weights[run_weights.WITHOUT_WISH]) == plain
  read = {"wanted", "unwanted", "plain", "unread"}
  assert set(weights[run_weights.WITH_WISH]) == plain | read


def test_the_report_tells_what_parts_add_and_how_wishes_are_followed(run):
  text = (run / "report/report.md").read_text()
  for group in (_PLAIN, _SEARCH):
    assert f"### {group}: what each part of the score adds" in text
  assert "without match" in text
  assert "wanted alone" in text
  assert "Following" in text
  assert "](following.svg)" in text
  assert (run / "report/following.svg").stat().st_size > 0


def test_an_evaluation_that_fits_nothing_takes_the_stored_weights(
  run, tmp_path
):
  before = (run / "model" / run_weights.FILE).read_bytes()
  call(
    "evaluate",
    f"--model_dir={run / 'model'}",
    f"--task_type={_SEARCH}",
    "--num_requests=5",
    "--num_validation=0",
    "--num_histories=0",
    "--score_normalization=sum",
    f"--output={tmp_path / 'report'}",
  )
  assert (run / "model" / run_weights.FILE).read_bytes() == before
  first, again = (
    results(f)[_SEARCH] for f in (run / "report", tmp_path / "report")
  )
  # Likelihoods are scores of their own only where they are asked for.
  assert set(again["methods"]) - set(first["methods"]) == {"likelihood"}
  # Only the first has the retrievers that the quickstart fits, and their sums.
  both = set(first["methods"]) & set(again["methods"])
  assert {"trained model", "popularity"} <= both
  for name in both:
    assert again["methods"][name] == first["methods"][name], name
    assert again["descriptions"][name] == first["descriptions"][name], name
  text = (tmp_path / "report/report.md").read_text()
  assert "what each part of the score adds" not in text
  assert not (tmp_path / "report/following.svg").exists()


def test_ranking_says_what_it_understood_and_why(run):
  table = pl.read_parquet(run / "prepared/items.parquet")
  items = table["title"].to_list()
  command = ("rank", f"--model_dir={run / 'model'}", f"--history={items[0]}")
  lines = call(*command, "--wish=a puzzle, but no Oakline", "--top=3")
  assert "understood: puzzles, no Oakline" in lines
  assert "note: what the wish asks binds: no Oakline" in lines
  assert "fitted on" in lines
  others = table[1:].filter(pl.col("brand") != "Oakline").height
  assert f"\n{others} candidates:" in lines
  places = re.findall(r"^ +\d\. .*$", lines, re.MULTILINE)
  assert [line.split(".")[0].strip() for line in places] == ["1", "2", "3"]
  for line in places:
    assert "match " in line
    assert "wanted " in line
    assert items[0] not in line
  plain = call(*command, *(f"--candidate={title}" for title in items[1:3]))
  assert "understood" not in plain
  assert "2 candidates:" in plain
  assert "wanted" not in plain


def test_the_run_is_a_retriever_beside_others(run, tmp_path):
  data = f"--data={run / 'prepared'}"
  knn = tmp_path / "knn"
  call("retrieve", "fit", data, "--method=itemknn", f"--output={knn}")
  evaluate = ("retrieve", "evaluate", data, f"--retriever={knn}")
  call(
    *evaluate,
    f"--model_dir={run / 'model'}",
    "--num_requests=5",
    f"--output={tmp_path / 'report'}",
  )
  for found in results(tmp_path / "report").values():
    assert set(found["methods"]) == {"knn", "model"}
  other = tmp_path / "other"
  call(
    "prepare",
    "--source=synthetic",
    f"--output={other}",
    "--num_users=60",
    "--num_items=80",
    "--seed=1",
  )
  with pytest.raises(ValueError, match="pass the --data that it was made from"):
    call(
      "retrieve",
      "evaluate",
      f"--data={other}",
      f"--model_dir={run / 'model'}",
      f"--output={tmp_path / 'none'}",
    )
