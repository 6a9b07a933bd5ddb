"""The main job through the command line, small, in one process."""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import polars as pl
import pytest
from command_line import result_of

import instructrec
from instructrec import checksums
from instructrec.cli import main, train
from instructrec.evaluation import published

_ROOT = pathlib.Path(main.__file__).parent.parent.parent
_EVALUATED = {
  "sequential_p1_i0",
  "sequential_p1p2_i0",
  "product_search_p0_i2",
  "personalized_search_p1_i1",
  "personalized_search_p1_i2",
}


@pytest.fixture(scope="module")
def report(work):
  # Plain likelihoods: weights of its parts would stay with the shared run.
  result = result_of(
    "evaluate",
    f"--model_dir={work / 'model'}",
    "--num_requests=9",
    "--num_validation=0",
  )
  assert result.exit_code == 0, result.output
  return work / "model" / "report"


@pytest.mark.tf
def test_training_leaves_config_logs_and_checkpoints(work):
  model = work / "model"
  rows = [json.loads(x) for x in (model / "metrics.jsonl").open()]
  assert [r["step"] for r in rows if r["split"] == "train"] == [2, 4, 6]
  assert [r["step"] for r in rows if r["split"] == "validation"] == [3, 6]
  assert (model / "checkpoints" / "checkpoint_6").is_dir()
  assert "TRAIN_STEPS = 6" in (model / "config.gin").read_text()
  record = json.loads((model / "run.json").read_text())
  assert record["environment"]["packages"]["jax"]
  assert list((model / "tensorboard").glob("events*"))


@pytest.mark.tf
def test_generation_counts_its_rows(work):
  manifest = json.loads((work / "instructions/manifest.json").read_text())
  requests = pl.read_parquet(work / "prepared/requests.parquet")
  heldout = requests.filter(pl.col("split") == "test").height
  for task in _EVALUATED:
    assert manifest["rows"][task]["test"] == heldout
  train = requests.height - 2 * heldout
  written = sum(rows.get("train", 0) for rows in manifest["rows"].values())
  texts = manifest["rows"]["fine_grained"]["train"]
  # A row a task type; of one request in five a pair of opposite wishes; and of
  # each user up to two of the whole sequence, where none was drawn.
  users = requests["user_id"].n_unique()
  more = written - texts - 3 * train
  assert 0.2 * train < more < 0.6 * train + 2 * users


@pytest.mark.tf
def test_the_report_has_every_method_and_the_chance_level(report):
  record = json.loads((report / "report.json").read_text())
  groups = {result["group"]: result for result in record["results"]}
  assert set(groups) == _EVALUATED
  methods = {"trained model", "untrained model", "popularity", "random"}
  for result in groups.values():
    assert set(result["methods"]) == methods
    assert result["chance"]["HR@1"] == pytest.approx(0.1)
    assert result["num_requests"] == 9
  text = (report / "report.md").read_text()
  for picture in (*report.glob("*.svg"),):
    assert f"]({picture.name})" in text
  for kind in ("metrics", "strata"):
    assert len(list(report.glob(f"{kind}-*.svg"))) == len(_EVALUATED)
  rows = pl.read_parquet(report / "per_request.parquet")
  assert rows.height == len(_EVALUATED) * 4 * 9
  for name in ("target", "candidates", "target_position", "history_length"):
    assert not rows[name].null_count()
  assert rows["history_length"].min() > 0
  runs = list((report / "trec").glob("*/*.run.gz"))
  assert len(runs) == len(_EVALUATED) * 4


@pytest.mark.tf
def test_show_prints_examples_and_lengths(work):
  result = result_of(
    "show",
    "--name=instructrec_v1_sequential_cot",
    f"--tfds_data_dir={work / 'instructions'}",
    "--num_examples=2",
  )
  assert result.exit_code == 0, result.output
  assert "sequential_cot" in result.output
  assert "lengths in tokens" in result.output
  assert result.output.count("template seq_think_first") == 2


@pytest.mark.tf
def test_ranking_prints_the_best_candidates(work):
  items = pl.read_parquet(work / "prepared/items.parquet")["title"].to_list()
  result = result_of(
    "rank",
    f"--model_dir={work / 'model'}",
    f"--history={items[0]}",
    "--wish=something with pirates",
    f"--candidate={items[1]}",
    f"--candidate={items[2]}",
  )
  assert result.exit_code == 0, result.output
  assert "something with pirates" in result.output
  assert "2 candidates" in result.output
  assert items[1] in result.output
  assert items[2] in result.output


@pytest.mark.tf
def test_recommending_filters_and_says_why(work):
  items = pl.read_parquet(work / "prepared/items.parquet")
  titles = items["title"].to_list()
  run = f"--model_dir={work / 'model'}"
  asked = (f"--history={titles[0]}", f"--history={titles[1]}")
  filters = ("--only=Puzzles", "--max_price=40", f"--exclude={titles[2]}")
  result = result_of(
    "recommend", run, *asked, *filters, "--k=2", "--reasons", "--json"
  )
  assert result.exit_code == 0, result.output
  found = json.loads(result.stdout)
  assert found["num_candidates"] < len(titles) - 2
  assert len(found["places"]) == 2
  for place in found["places"]:
    (item,) = items.filter(item_id=place["item_id"]).to_dicts()
    assert "Puzzles" in item["categories"]
    assert item["price"] <= 40
    why = place["reasons"]
    assert {e["words"] for e in why["effects"]} == set(titles[:2])
    assert [c["meets"] for c in why["constraints"]] == [True, True, True]
  shown = result_of("recommend", run, *asked, *filters, "--k=2")
  for place in found["places"]:
    price = items.filter(item_id=place["item_id"])["price"].item()
    assert f"[{place['item_id']}]  {price:.2f}" in shown.output
  # What is left of the history is another request.
  effect = next(e for e in why["effects"] if e["words"] == titles[0])
  other = result_of(
    "rank",
    run,
    f"--history={titles[1]}",
    f"--candidate={place['title']}",
    "--json",
  )
  (alone,) = json.loads(other.stdout)["places"]
  assert effect["without"] == pytest.approx(alone["score"], abs=1e-4)


@pytest.mark.tf
def test_requests_of_a_file_are_answered_into_a_file(work, tmp_path):
  asked, output = tmp_path / "asked.jsonl", tmp_path / "answers.jsonl"
  asked.write_text('{"wish": "a kite", "k": 1}\n{"wish": 7}\n')
  options = (f"--model_dir={work / 'model'}", f"--input={asked}")
  result = result_of(
    "recommend", *options, f"--output={output}", "--on_bad_row=skip"
  )
  assert result.exit_code == 0, result.output
  assert f"wrote {output}: 2 requests" in result.output
  assert "line 2: wish is 7, expected text" in result.output
  first, second = map(json.loads, output.read_text().splitlines())
  assert len(first["places"]) == 1
  assert second == {"line": 2, "error": "wish is 7, expected text"}


@pytest.mark.tf
def test_ranking_with_a_saved_run_loads_no_tensorflow(work):
  """In a fresh process, from the commands to the scores."""
  items = pl.read_parquet(work / "prepared/items.parquet")["title"].to_list()
  command = ["rank", f"--model_dir={work / 'model'}", f"--history={items[0]}"]
  some = [*command, *(f"--candidate={title}" for title in items[1:3])]
  code = (
    "import sys\n"
    "from instructrec.cli import main\n"
    f"main.app({some!r}, standalone_mode=False)\n"
    f"main.app({command!r}, standalone_mode=False)\n"
    "heavy = {'tensorflow', 'seqio', 'tensorflow_datasets', 'torch'}\n"
    "found = heavy & set(sys.modules)\n"
    "sys.exit(f'loaded {found}' if found else 0)\n"
  )
  result = subprocess.run(
    [sys.executable, "-c", code],
    env={**os.environ, "PYTHONPATH": str(_ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  assert result.stdout.count("log-likelihood in nats") == 2


@pytest.mark.tf
def test_a_model_is_evaluated_on_wordings_it_never_saw(work, tmp_path):
  unseen = tmp_path / "unseen"
  made = result_of(
    "generate",
    f"--data={work / 'prepared'}",
    f"--output={unseen}",
    f"--vocabulary={work / 'model/vocabulary/sentencepiece.model'}",
    "--eval_template=seq_continue_story",
    "--num_workers=1",
  )
  assert made.exit_code == 0, made.output
  manifest = json.loads((unseen / "manifest.json").read_text())
  tested = [name for name, rows in manifest["rows"].items() if "test" in rows]
  assert tested == ["fine_grained", "sequential_p1_i0"]
  # Without --task_type: the tasks that these instructions have.
  result_of(
    "evaluate",
    f"--model_dir={work / 'model'}",
    f"--tfds_data_dir={unseen}",
    f"--output={tmp_path / 'all'}",
    f"--publish={tmp_path / 'unseen_wordings.json'}",
    "--num_requests=5",
    "--num_validation=0",
  )
  assert "trained on other" in (tmp_path / "all/report.md").read_text()
  figures = published.Published.load(tmp_path / "unseen_wordings.json")
  assert "popularity" in [row.name for row in figures.tables[0].rows]
  record = json.loads((tmp_path / "all/report.json").read_text())
  assert [r["group"] for r in record["results"]] == ["sequential_p1_i0"]
  foreign = tmp_path / "foreign"
  result_of(
    "generate",
    f"--data={work / 'prepared'}",
    f"--output={foreign}",
    "--vocab_size=450",
    "--num_workers=1",
  )
  with pytest.raises(ValueError, match="generate the instructions with"):
    result_of(
      "evaluate", f"--model_dir={work / 'model'}", f"--tfds_data_dir={foreign}"
    )


@pytest.mark.tf
@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["rank", "--history=No such title"], "no item is called"),
    (["rank"], "needs a history, a sentence, or both"),
    (["evaluate", "--split=holdout"], "not 'holdout'"),
    (["evaluate", "--task_type=hats"], r"unknown task types \['hats'\]"),
    (["evaluate", "--step=5"], r"no checkpoint_5; complete ones: \[3, 6\]"),
  ],
)
def test_mistakes_name_what_is_wrong(work, args, message):
  with pytest.raises((ValueError, OSError), match=message):
    result_of(args[0], f"--model_dir={work / 'model'}", *args[1:])


@pytest.mark.tf
@pytest.mark.parametrize(
  ("extra", "message"),
  [
    ("--gin.TRAIN_STEP=3", r"no macro 'TRAIN_STEP' \(did you mean TRAIN_STEPS"),
    ("--gin.VOCAB_SIZE=64", "set --gin.VOCAB_SIZE to at least"),
  ],
)
def test_wrong_bindings_stop_a_run_before_it_starts(
  work, tmp_path, extra, message, train_args
):
  with pytest.raises(ValueError, match=message):
    result_of(
      *train_args,
      extra,
      f"--tfds_data_dir={work / 'instructions'}",
      f"--model_dir={tmp_path / 'model'}",
    )
  assert not (tmp_path / "model").exists()


@pytest.mark.tf
def test_instructions_of_data_that_were_prepared_anew_are_refused(
  work, tmp_path
):
  """Their targets, and what the baselines are fit on, may be others."""
  again = tmp_path / "instructions"
  shutil.copytree(work / "instructions", again)
  manifest = json.loads((again / "manifest.json").read_text())
  manifest["prepared_fingerprint"] = "sha256:0"
  (again / "manifest.json").write_text(json.dumps(manifest))
  checksums.write(again, ["manifest.json"])
  with pytest.raises(ValueError, match="expected sha256:0: they were prepared"):
    result_of(
      "evaluate", f"--model_dir={work / 'model'}", f"--tfds_data_dir={again}"
    )


def test_existing_output_is_not_replaced_unasked(work):
  with pytest.raises(FileExistsError, match="pass --overwrite"):
    result_of("prepare", "--source=synthetic", f"--output={work / 'prepared'}")
  with pytest.raises(FileExistsError, match="pass --overwrite"):
    result_of(
      "generate",
      f"--data={work / 'prepared'}",
      f"--output={work / 'instructions'}",
    )


@pytest.mark.parametrize(
  "args",
  [
    ["prepare", "--source=synthetic", "--output=x", "--max_history=0"],
    ["prepare", "--source=synthetic", "--output=x", "--seed=-1"],
    ["generate", "--data=x", "--output=y", "--max_history=0"],
    ["evaluate", "--model_dir=x", "--batch_size=0"],
    ["retrieve", "candidates", "--data=x", "--output=y", "--num_candidates=1"],
    ["rank", "--model_dir=x", "--top=0"],
    ["quickstart", "--num_items=64"],
  ],
)
def test_numbers_that_make_no_sense_are_refused(args):
  result = result_of(*args)
  assert result.exit_code == 2
  option = args[-1].split("=")[0]
  assert f"Invalid value for '{option}'" in result.output


@pytest.mark.tf
def test_beam_is_asked_for_where_it_is_missing(work, tmp_path, monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match=r"pip install 'instructrec\[beam\]'"):
    result_of(
      "generate",
      f"--data={work / 'prepared'}",
      f"--output={tmp_path / 'out'}",
      "--runner=beam",
    )


def test_other_arguments_of_train_are_refused():
  assert train.split_gin_args(["--gin.A=1", "--gin.b.C='x'"]) == [
    "A=1",
    "b.C='x'",
  ]
  with pytest.raises(Exception, match="unknown argument '--steps=3'"):
    train.split_gin_args(["--steps=3"])


@pytest.mark.parametrize("source", ["table", "recbole", "movielens", "amazon"])
def test_raw_sources_ask_for_their_files(source, tmp_path):
  with pytest.raises(ValueError, match=f"source {source} needs --input"):
    result_of("prepare", f"--source={source}", f"--output={tmp_path / 'x'}")


def test_a_table_is_prepared_by_global_time(tmp_path):
  rows = [
    {"user": f"u{u}", "item_id": f"i{(u + k) % 30}", "timestamp": 100 * k + u}
    for u in range(20)
    for k in range(10)
  ]
  pl.DataFrame(rows).write_csv(tmp_path / "log.csv")
  items = [{"item_id": f"i{i}", "title": f"Title {i}"} for i in range(30)]
  pl.DataFrame(items).write_csv(tmp_path / "items.tsv", separator="\t")
  result = result_of(
    "prepare",
    "--source=table",
    f"--input={tmp_path / 'log.csv'}",
    f"--items={tmp_path / 'items.tsv'}",
    "--column=user_id=user",
    "--split=global_time",
    "--min_interactions=2",
    f"--output={tmp_path / 'out'}",
  )
  assert result.exit_code == 0, result.output
  manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
  assert manifest["counts"]["requests"]["test"] == 20
  assert manifest["warnings"] == []


def test_more_test_requests_need_global_time(tmp_path):
  args = (
    "prepare",
    "--source=synthetic",
    "--num_users=60",
    "--num_items=40",
    "--min_interactions=1",
    "--max_test_targets=3",
  )
  with pytest.raises(ValueError, match="--max_test_targets needs --split"):
    result_of(*args, f"--output={tmp_path / 'none'}")
  result_of(*args, "--split=global_time", f"--output={tmp_path / 'out'}")
  manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
  assert manifest["split"]["max_test_targets"] == 3
  assert manifest["split"]["max_validation_targets"] is None
  requests = pl.read_parquet(tmp_path / "out" / "requests.parquet")
  users = requests.filter(split="test")["user_id"]
  assert users.n_unique() < len(users) <= 3 * users.n_unique()


def test_help_names_every_command_and_option():
  text = result_of("--help").output
  for name in ("prepare", "generate", "train", "align", "evaluate", "rank"):
    assert name in text
  assert "--on_bad_row" in result_of("prepare", "--help").output


def run_command(*args):
  """In a process of its own, through `main`."""
  return subprocess.run(
    [sys.executable, "-m", "instructrec.cli.main", *args],
    capture_output=True,
    text=True,
    check=False,
    cwd=_ROOT,
  )


@pytest.mark.parametrize("options", [[], ["--debug"]])
def test_a_mistake_is_a_message_and_its_traceback_is_asked_for(
  tmp_path, options
):
  result = run_command(
    *options, "prepare", "--source=table", f"--output={tmp_path / 'x'}"
  )
  assert result.returncode == 1
  assert "source table needs --input" in result.stderr
  assert ("instructrec: error:" in result.stderr) == (not options)
  assert ("Traceback" in result.stderr) == bool(options)


def test_the_version_is_printed():
  result = result_of("--version")
  assert result.exit_code == 0
  assert result.output == f"instructrec {instructrec.__version__}\n"


@pytest.mark.tf
def test_a_diverged_run_is_a_message(
  work, tmp_path, train_args, monkeypatch, capsys
):
  # In this process, which has TensorFlow and no need of kept programs.
  monkeypatch.setattr(main.cache, "keep_compiled_programs", lambda _: None)
  command = [
    *train_args,
    "--gin.LEARNING_RATE=1e30",
    f"--tfds_data_dir={work / 'instructions'}",
    f"--model_dir={tmp_path / 'model'}",
  ]
  monkeypatch.setattr(sys, "argv", ["instructrec", *command])
  with pytest.raises(SystemExit) as end:
    main.main()
  assert end.value.code == 1
  *_, last = capsys.readouterr().err.splitlines()
  assert last.startswith("instructrec: error: ")
  assert "Lower the learning rate" in last
