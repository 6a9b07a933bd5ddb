"""Reranking protocols through the command line, on a run of six steps."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import jax
import numpy as np
import polars as pl
import pytest
from command_line import call

from instructrec import checksums
from instructrec.cli import main
from instructrec.data import dataset
from instructrec.evaluation import metrics
from instructrec.retrieval import candidate_lists, run_weights
from instructrec.training import distributed, run_dir

pytestmark = pytest.mark.tf
_ROOT = pathlib.Path(main.__file__).parent.parent.parent


@pytest.fixture(scope="module")
def work(work, tmp_path_factory):
  """The run without weights that tests of other files may have left with it."""
  folder = tmp_path_factory.mktemp("evaluated") / "work"
  shutil.copytree(work, folder)
  (folder / "model" / run_weights.FILE).unlink(missing_ok=True)
  checksums.write(folder / "model")
  return folder


@pytest.fixture(scope="module")
def made(work, tmp_path_factory):
  """A retriever, and its lists by name."""
  folder = tmp_path_factory.mktemp("lists")
  data = f"--data={work / 'prepared'}"
  knn = folder / "knn"
  call("retrieve", "fit", data, "--method=itemknn", f"--output={knn}")
  for name, *options in (
    ("retrieved", f"--retriever={knn}"),
    ("validation", f"--retriever={knn}", "--split=validation"),
    ("hard", f"--retriever={knn}", "--protocol=hard"),
    ("random", "--protocol=random"),
  ):
    call(
      "retrieve",
      "candidates",
      data,
      "--num_candidates=12",
      f"--output={folder / name}.parquet",
      *options,
    )
  return folder


def _fits(options):
  return any(option.startswith("--num_validation=") for option in options)


def evaluated(work, output, *options):
  call(
    "evaluate",
    f"--model_dir={work / 'model'}",
    "--task_type=sequential_p1_i0",
    f"--output={output}",
    # Likelihoods as they are: learnt weights are in
    # quickstart_test.
    *(() if _fits(options) else ("--num_validation=0",)),
    "--num_histories=0",
    *options,
  )
  record = json.loads((output / "report.json").read_text())
  return {r["group"]: r for r in record["results"]}, record


def means(result, method):
  return {name: i["mean"] for name, i in result["methods"][method].items()}


def test_retrieved_lists_give_both_figures_and_their_ceiling(
  work, made, tmp_path
):
  # The weights that are fitted stay with the run.
  shutil.copytree(work / "model", tmp_path / "model")
  found, record = evaluated(
    tmp_path,
    tmp_path / "report",
    f"--candidates={made / 'retrieved.parquet'}",
    f"--validation_candidates={made / 'validation.parquet'}",
    "--num_validation=40",
  )
  every = found["sequential_p1_i0, all requests"]
  some = found["sequential_p1_i0, target retrieved"]
  lists = candidate_lists.CandidateLists.load(
    made / "retrieved.parquet", dataset.load(work / "prepared")
  )
  assert 0 < lists.recall < 1
  assert some["num_requests"] == round(lists.recall * 60)
  assert every["num_requests"] == 60
  assert set(every["methods"]) == {
    "trained model",
    "untrained model",
    "popularity",
    "random",
    "knn's order",
    "trained model + knn",
    "knn + popularity",
  }
  for method in every["methods"]:
    overall, conditional = means(every, method), means(some, method)
    for metric in ("HR@1", "HR@5", "HR@10", "NDCG@10"):
      expected = conditional[metric] * lists.recall
      assert overall[metric] == pytest.approx(expected)
      assert overall[metric] <= lists.recall
  chance = metrics.chance(12)
  assert some["chance"] == pytest.approx(chance)
  assert every["chance"]["HR@5"] == pytest.approx(lists.recall * 5 / 12)
  text = (tmp_path / "report" / "report.md").read_text()
  assert f"exceeds {lists.recall:.4f}" in text
  for name in ("trained model + knn", "knn + popularity"):
    assert "retriever:knn" in every["descriptions"][name]
    assert "validation requests" in every["descriptions"][name]
  assert record["protocol"]["candidates"]["retriever"] == "knn"


def test_frozen_lists_from_a_file_give_the_figures_of_the_task(
  work, made, tmp_path
):
  """The same candidates, tokenized by the task and from the catalogue."""
  prepared = dataset.load(work / "prepared")
  lists = candidate_lists.CandidateLists.load(made / "random.parquet", prepared)
  frozen = prepared.requests.read("test").select("request_id", "candidates")
  frame = lists.frame.drop("candidates").join(
    frozen, on="request_id", maintain_order="left"
  )
  same = candidate_lists.CandidateLists(
    frame.select(*candidate_lists.SCHEMA), lists.manifest
  )
  same.save(tmp_path / "frozen.parquet")
  options = (
    "--num_requests=20",
    "--score_normalization=sum",
    "--score_normalization=mean",
  )
  (direct,) = evaluated(work, tmp_path / "a", *options)[0].values()
  (exchanged,) = evaluated(
    work,
    tmp_path / "b",
    *options,
    f"--candidates={tmp_path / 'frozen.parquet'}",
  )[0].values()
  assert exchanged["methods"] == direct["methods"]
  assert {"trained model (sum)", "trained model (mean)"} < set(
    direct["methods"]
  )
  assert (
    direct["methods"]["trained model (sum)"]
    != (direct["methods"]["trained model (mean)"])
  )


def test_a_tournament_has_the_winner_of_one_pass(work, made, tmp_path):
  found, record = evaluated(
    work,
    tmp_path / "report",
    f"--candidates={made / 'random.parquet'}",
    "--protocol=one_pass",
    "--protocol=tournament",
  )
  (result,) = found.values()
  direct = means(result, "trained model")
  games = means(result, "trained model (tournament)")
  assert games["HR@1"] == direct["HR@1"]
  words = result["descriptions"]["trained model (tournament)"]
  assert words.endswith("lists ranked for a request: 3")
  assert record["protocol"]["passes"] == "one_pass, tournament"
  assert result["chance"]["HR@3"] == pytest.approx(3 / 12)


def test_only_requests_with_a_list_are_evaluated(work, made, tmp_path):
  requests = dataset.load(work / "prepared").requests.read("test")
  ids = pl.read_parquet(work / "prepared" / "items.parquet")["item_id"]
  lines = [
    f"{user}\t{' '.join(ids.sample(25, seed=i))}"
    for i, user in enumerate(requests["user_id"][:7])
  ]
  header = "user_id\tcandidate_item_ids"
  path = tmp_path / "lists.tsv"
  path.write_text("\n".join([header, *lines]) + "\n")
  found, _ = evaluated(
    work, tmp_path / "report", f"--candidates={path}", "--num_candidates=20"
  )
  (result,) = found.values()
  assert result["num_requests"] == 7
  assert result["num_candidates"] == [20, 20]
  assert result["chance"]["HR@20"] == 1


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (["--candidates=validation"], "are of the split 'validation'"),
    (
      [
        "--candidates=validation",
        "--validation_candidates=validation",
        "--split=validation",
      ],
      "fit weights on the requests that are evaluated",
    ),
    (["--protocol=knockout"], "unknown protocols"),
    (["--validation_candidates=validation"], "pass those as --candidates"),
    (
      ["--candidates=retrieved", "--validation_candidates=retrieved"],
      "expected lists of the split 'validation'",
    ),
    (
      ["--candidates=retrieved", "--validation_candidates=validation"],
      "leave out --num_validation=0 or --validation_candidates",
    ),
    (
      ["--candidates=hard", "--validation_candidates=validation"],
      r"differ from the others in \['protocol'\]",
    ),
    (["--chat_base_url=http://127.0.0.1:9/v1"], "pass --chat_model as well"),
    (["--score_normalization=max"], "expected one of sum, mean"),
    (["--mixture=nothing"], "no SeqIO task or mixture is called 'nothing'"),
    (["--mixture=instructrec_v1"], "whose names end in _rerank"),
  ],
)
def test_what_does_not_fit_is_named(work, made, tmp_path, options, message):
  options = [
    f"{name}={made / value}.parquet" if "candidates" in name else option
    for option in options
    for name, value in [option.split("=", 1)]
  ]
  with pytest.raises(ValueError, match=message):
    evaluated(work, tmp_path / "report", *options)
  assert not (tmp_path / "report").exists()


def test_another_mixture_than_the_runs_is_asked(work, tmp_path):
  """One task is a mixture of itself."""
  own, _ = evaluated(work, tmp_path / "own", "--num_requests=8")
  name = "instructrec_v1_sequential_p1_i0"
  call(
    "evaluate",
    f"--model_dir={work / 'model'}",
    f"--mixture={name}_rerank",
    f"--output={tmp_path / 'other'}",
    "--num_validation=0",
    "--num_histories=0",
    "--num_requests=8",
  )
  other = json.loads((tmp_path / "other" / "report.json").read_text())
  assert [one["group"] for one in other["results"]] == [name]
  assert other["results"][0]["methods"] == own["sequential_p1_i0"]["methods"]


def _answer(exchange):
  """Ranks candidates as they come, but cannot answer every seventh."""
  data = json.loads(exchange.body["messages"][1]["content"])
  exchange.say("\n".join(data["candidates"]) if exchange.number % 7 else "Hm.")


def test_a_chat_model_is_a_row_and_is_estimated_first(
  work, made, chat_server, tmp_path
):
  chat_server.behave = _answer
  options = (
    f"--candidates={made / 'random.parquet'}",
    "--num_requests=9",
    "--chat_model=tiny",
    f"--chat_base_url={chat_server.url}",
    f"--chat_cache={tmp_path / 'cache.sqlite'}",
    "--protocol=one_pass",
    "--protocol=tournament",
    "--num_orders=2",
  )
  with pytest.raises(ValueError, match="raise --chat_max_tokens"):
    evaluated(work, tmp_path / "report", *options, "--chat_max_tokens=9")
  assert not chat_server.asked
  found, _ = evaluated(work, tmp_path / "report", *options)
  # Twelve candidates: the list, two groups and their winners; in two orders,
  # of which two winners may have the same by chance: then the reply is kept.
  asked = chat_server.asked.total()
  assert 9 * 4 * 2 - 9 <= asked <= 9 * 4 * 2
  (result,) = found.values()
  assert {"tiny", "tiny (tournament)"} < set(result["methods"])
  words = result["descriptions"]["tiny"]
  assert "of 18 replies could not be read" in words
  # It answers with candidates as they come, so that other orders have other
  # rankings; the trained model reads one candidate at a time, and whatever the
  # groups are, its best candidate wins.
  agreements = result["agreements"]
  assert agreements["tiny"]["num_shuffles"] == 2
  assert agreements["tiny"]["kendall_tau"] < 0.5
  assert agreements["trained model (tournament)"]["top_1"] == 1.0
  page = (tmp_path / "report" / "report.md").read_text()
  assert "the same candidates in other orders" in page
  direct = evaluated(work, tmp_path / "again", *options)[0]
  assert direct[result["group"]]["methods"] == result["methods"]
  assert chat_server.asked.total() == asked


def _in_processes(work, output, *options, differ=((), ())):
  """The command in two processes of two devices each; status and output."""
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{probe.getsockname()[1]}"
  running = [
    subprocess.Popen(
      [
        sys.executable,
        "-m",
        "instructrec.cli.main",
        "evaluate",
        f"--model_dir={work / 'model'}",
        "--task_type=sequential_p1_i0",
        f"--output={output}",
        "--num_validation=0",
        "--num_histories=0",
        "--multiprocess_gpu",
        f"--coordinator_address={address}",
        "--process_count=2",
        f"--process_index={index}",
        *options,
        *differ[index],
      ],
      env={
        **os.environ,
        "PYTHONPATH": str(_ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} "
        "--xla_force_host_platform_device_count=2",
      },
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    for index in (0, 1)
  ]
  try:
    outputs = [process.communicate(timeout=300)[0] for process in running]
  finally:
    for process in running:
      process.kill()
  return [process.returncode for process in running], outputs


@pytest.mark.slow
def test_two_processes_write_the_report_of_one(work, made, tmp_path):
  options = (f"--candidates={made / 'hard.parquet'}", "--num_requests=23")
  evaluated(work, tmp_path / "one", *options)
  status, (lead, other) = _in_processes(
    work,
    tmp_path / "two",
    *options,
    "--model_parallel=2",
    "--device_count=4",
  )
  assert status == [0, 0], (lead, other)
  assert "report:" in lead
  assert "report:" not in other
  one, two = (
    pl.read_parquet(tmp_path / name / "per_request.parquet").sort(
      "group", "request_id", "method"
    )
    for name in ("one", "two")
  )
  assert two.height == one.height > 0
  for name in one.columns:
    if one[name].dtype.is_float():
      np.testing.assert_allclose(two[name], one[name], atol=1e-4)
    else:
      assert two[name].equals(one[name]), name


@pytest.mark.slow
def test_processes_that_mean_other_requests_end_at_once(work, tmp_path):
  status, outputs = _in_processes(
    work, tmp_path / "report", differ=(("--seed=1",), ("--seed=2",))
  )
  assert status == [1, 1], outputs
  for output in outputs:
    assert "the choice of requests differs between process 0" in output
  assert not (tmp_path / "report").exists()


def test_a_chat_server_is_asked_by_one_process(work, tmp_path, monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setattr(distributed, "check_devices", lambda count: None)
  with pytest.raises(ValueError, match="in 2 processes, and a chat server"):
    evaluated(work, tmp_path / "report", "--chat_model=tiny")


def test_devices_that_do_not_divide_are_named(work, monkeypatch):
  run = run_dir.load(work / "model")
  count = jax.device_count()
  assert run.on_all_devices().mesh.model == 1
  monkeypatch.setattr(jax, "device_count", lambda: 6)
  assert run.on_all_devices(3).mesh.model == 3
  with pytest.raises(ValueError, match="6 cpu devices do not divide into gro"):
    run.on_all_devices(4)
  monkeypatch.setattr(jax, "device_count", lambda: count)
  with pytest.raises(ValueError, match="pass --model_parallel"):
    run.on_all_devices(count + 1)
