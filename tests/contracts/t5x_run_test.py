"""Real T5X trains, resumes, evaluates and infers with our gin files."""

import concurrent.futures
import json
import pathlib
import re
import socket
import time

import numpy as np
import pytest
from event_files import scalars

from instructrec.evaluation import metrics
from instructrec.training import item_table

pytestmark = [pytest.mark.t5x, pytest.mark.slow, pytest.mark.tf]

TINY = "--gin_file=gin/overrides/tiny.gin"
# Two ways of model parallelism on four devices, dropout on: what a resumed run
# must repeat.
TRAIN = (
  "--gin_file=gin/instructrec_xl.gin",
  TINY,
  "--gin.MODEL_PARALLEL_SUBMESH=(1, 2, 1, 1)",
  "--gin.DROPOUT_RATE=0.1",
)
EVALUATE = ("--gin_file=gin/models/xl.gin", TINY)
TASKS = (
  "sequential_p1_i0",
  "product_search_p0_i2",
  "personalized_search_p1_i1",
)


def logged(folder, task):
  """The last line of the metrics that SeqIO's Evaluator logged."""
  path = (
    folder / "inference_eval" / f"instructrec_v1_{task}_rerank-metrics.jsonl"
  )
  return json.loads(path.read_text().splitlines()[-1])


def lines(folder, task, mode):
  """What `infer.py` wrote of a task."""
  path = folder / f"instructrec_v1_{task}-{mode}.jsonl-00000-of-00001"
  return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def resumed(t5x, tmp_path_factory):
  """A run stopped after 10 steps and resumed to 20: its folder and outputs.

  It is begun with T5X's script, and resumed with ours.
  """
  folder = tmp_path_factory.mktemp("t5x") / "resumed"
  outputs = [
    t5x.run(
      "train",
      *TRAIN,
      f"--gin.MODEL_DIR='{folder}'",
      f"--gin.TRAIN_STEPS={steps}",
      devices=4,
      checked=checked,
    )
    for steps, checked in ((10, False), (20, True))
  ]
  return folder, outputs


def test_it_trains_with_model_parallelism_and_resumes(resumed):
  folder, outputs = resumed
  for output in outputs:
    assert "global_mesh devices shape: (2, 2)" in output
  assert "Starting main loop over steps 0-10" in outputs[0]
  assert "Starting main loop over steps 10-20" in outputs[1]
  for step in (0, 10, 20):
    assert (folder / f"checkpoint_{step}" / "state").is_dir()
  found = scalars(folder / "train")
  assert list(found["loss"]) == [5, 10, 15, 20]
  assert found["loss"][20] < found["loss"][5] - 1.0
  assert found["timing/tokens_per_second"][20] > 0
  evaluated = scalars(
    folder / "training_eval" / "instructrec_v1_sequential_p1_i0"
  )
  assert list(evaluated["loss"]) == [10, 20]


def test_a_resumed_run_repeats_an_unbroken_one(t5x, resumed, tmp_path):
  t5x.run("train", *TRAIN, f"--gin.MODEL_DIR='{tmp_path}'", devices=4)
  ours, theirs = scalars(resumed[0] / "train"), scalars(tmp_path / "train")
  assert ours["loss"] == theirs["loss"]


def test_training_logs_reranking(resumed):
  folder, _ = resumed
  for task in TASKS:
    row = logged(folder, task)
    assert row["step"] == 20
    assert 0 <= row["HR@1"] <= row["NDCG@10"] <= row["HR@10"] == 1.0
    assert row["num_nan"] == 0
    found = scalars(folder / "inference_eval" / f"instructrec_v1_{task}_rerank")
    assert found["eval/NDCG@10"][20] == pytest.approx(row["NDCG@10"])


def test_scores_in_files_give_the_metrics_of_the_evaluation(
  t5x, resumed, tmp_path
):
  common = (
    *EVALUATE,
    f"--gin.CHECKPOINT_PATH='{resumed[0] / 'checkpoint_20'}'",
    "--gin.MODEL_PARALLEL_SUBMESH=(1, 2, 1, 1)",
  )
  t5x.run(
    "eval",
    "--gin_file=gin/instructrec_eval.gin",
    *common,
    f"--gin.EVAL_OUTPUT_DIR='{tmp_path / 'eval'}'",
    devices=4,
  )
  t5x.run(
    "infer",
    "--gin_file=gin/instructrec_infer.gin",
    *common,
    f"--gin.INFER_OUTPUT_DIR='{tmp_path / 'infer'}'",
    devices=2,
  )
  for task in TASKS:
    rows = lines(tmp_path / "infer", f"{task}_rerank", "score")
    assert len(rows) == 60
    counts = np.array([len(row["inputs"]["candidate_ids"]) for row in rows])
    scores = np.array([row["score"] for row in rows])
    labels = np.array([int(row["inputs"]["label"]) for row in rows])
    assert scores.shape == (60, 10)
    values = metrics.per_request(
      scores, labels, where=np.arange(10) < counts[:, None]
    )
    row = logged(tmp_path / "eval", task)
    for name, value in values.items():
      assert row[name] == pytest.approx(value.mean()), name
    # The evaluation writes all requests, and the same of each.
    name = f"instructrec_v1_{task}_rerank"
    written = tmp_path / "eval" / "inference_eval" / f"{name}-000020.jsonl"
    evaluated = [json.loads(line) for line in written.read_text().splitlines()]
    for ours, theirs in zip(evaluated, rows, strict=True):
      assert ours["inputs"] == theirs["inputs"]
      assert ours["score"] == pytest.approx(theirs["score"], abs=1e-3)
  _check_our_report(t5x, resumed[0], tmp_path)


def _check_our_report(t5x, model_dir, folder):
  """`instructrec evaluate` on the same MODEL_DIR says the same."""
  from instructrec.pipelines import evaluate
  from instructrec.settings import evaluation

  evaluate.evaluate(
    evaluation.EvaluationSettings(
      model_dir=model_dir,
      tfds_data_dir=t5x.data,
      vocabulary=t5x.data / "vocabulary" / "sentencepiece.model",
      output=folder / "report",
      num_validation=0,
      num_histories=0,
    )
  )
  report = json.loads((folder / "report" / "report.json").read_text())
  assert report["protocol"]["parameters"] == f"{model_dir}/checkpoint_20"
  found = {r["group"]: r["methods"] for r in report["results"]}
  for task in TASKS:
    row = logged(folder / "eval", task)
    for name in ("HR@1", "HR@5", "NDCG@10", "MRR"):
      mean = found[task]["trained model"][name]["mean"]
      assert mean == pytest.approx(row[name], abs=1e-3), (task, name)
    began = report["results"][0]["descriptions"]["untrained model"]
    assert began.endswith(f"{model_dir}/checkpoint_0")


def test_it_generates_texts_into_files_and_metrics(t5x, resumed, tmp_path):
  common = (
    "--gin_file=gin/overrides/generate.gin",
    *EVALUATE,
    f"--gin.CHECKPOINT_PATH='{resumed[0] / 'checkpoint_20'}'",
  )
  t5x.run(
    "infer",
    "--gin_file=gin/instructrec_infer.gin",
    *common,
    f"--gin.INFER_OUTPUT_DIR='{tmp_path / 'infer'}'",
    "--gin.NetworkRankingModel.num_beams=2",
  )
  rows = lines(tmp_path / "infer", "sequential_p1_i0", "predict_with_aux")
  assert len(rows) == 60
  for row in rows:
    assert isinstance(row["prediction"], str)
    assert row["aux"]["scores"] < 0
  t5x.run(
    "eval",
    "--gin_file=gin/instructrec_eval.gin",
    *common,
    f"--gin.EVAL_OUTPUT_DIR='{tmp_path / 'eval'}'",
  )
  path = tmp_path / "eval" / "inference_eval"
  row = json.loads(
    (path / "instructrec_v1_sequential_p1_i0-metrics.jsonl").read_text()
  )
  assert 0 <= row["exact_match"] <= row["listed"] <= 1


def test_it_writes_titles_of_the_catalogue_alone(t5x, resumed, tmp_path):
  """Ten items a request, by infer.py and into the metrics of eval.py."""
  common = (
    "--gin_file=gin/overrides/generate.gin",
    "--gin_file=gin/runs/t5x_catalog.gin",
    *EVALUATE,
    f"--gin.CHECKPOINT_PATH='{resumed[0] / 'checkpoint_20'}'",
    "--gin.MIXTURE_OR_TASK_NAME='instructrec_v1_sequential_p1_i0'",
    "--gin.MODEL_PARALLEL_SUBMESH=(1, 2, 1, 1)",
  )
  t5x.run(
    "infer",
    "--gin_file=gin/instructrec_infer.gin",
    *common,
    f"--gin.INFER_OUTPUT_DIR='{tmp_path / 'infer'}'",
    devices=4,
    checked=True,
  )
  table = item_table.ItemTable.load(t5x.data)
  rows = lines(tmp_path / "infer", "sequential_p1_i0", "predict_with_aux")
  assert len(rows) == 60
  for row in rows:
    assert len(set(row["prediction"])) == 10
    assert row["prediction"] == [
      table.titles[item - 1] for item in row["aux"]["items"]
    ]
  t5x.run(
    "eval",
    "--gin_file=gin/instructrec_eval.gin",
    *common,
    f"--gin.EVAL_OUTPUT_DIR='{tmp_path / 'eval'}'",
    devices=4,
  )
  path = tmp_path / "eval" / "inference_eval"
  row = json.loads(
    (path / "instructrec_v1_sequential_p1_i0-metrics.jsonl").read_text()
  )
  hits = [r["inputs"]["targets_pretokenized"] in r["prediction"] for r in rows]
  assert row["HR@10"] == pytest.approx(np.mean(hits))
  assert 0 <= row["exact_match"] <= row["HR@5"] <= row["HR@10"]


def test_a_decoder_only_network_is_killed_resumed_evaluated_and_writes(
  t5x, tmp_path
):
  """Rows of prompt and answer, two ways of model parallelism."""
  network = (
    TINY,
    "--gin_file=gin/models/llama_tiny.gin",
    "--gin_file=gin/runs/t5x_rows.gin",
    "--gin.ACTIVATION_DTYPE='float32'",
    "--gin.MODEL_PARALLEL_SUBMESH=(1, 2, 1, 1)",
  )
  folder = tmp_path / "model"
  train = (
    "--gin_file=gin/instructrec_xl.gin",
    *network,
    f"--gin.MODEL_DIR='{folder}'",
    "--gin.EVALUATOR_NUM_EXAMPLES=8",
  )
  process = t5x.start("train", *train, devices=4)
  with concurrent.futures.ThreadPoolExecutor() as pool:
    output = pool.submit(process.communicate)
    while process.poll() is None and not (folder / "checkpoint_10").is_dir():
      time.sleep(0.05)
    process.kill()
    assert not (folder / "checkpoint_20").exists(), output.result()[0][-3000:]
  output = t5x.run("train", *train, devices=4, checked=True)
  assert "global_mesh devices shape: (2, 2)" in output
  assert "Starting main loop over steps 10-20" in output
  assert (folder / "checkpoint_20" / "state").is_dir()
  losses = scalars(folder / "train")["loss"]
  assert losses[20] < losses[5] - 0.5
  common = (
    *network,
    f"--gin.CHECKPOINT_PATH='{folder / 'checkpoint_20'}'",
  )
  t5x.run(
    "eval",
    "--gin_file=gin/instructrec_eval.gin",
    *common,
    f"--gin.EVAL_OUTPUT_DIR='{tmp_path / 'eval'}'",
    devices=4,
  )
  for task in TASKS:
    # Training looked at a few of the lists, with the same parameters.
    for row in (logged(folder, task), logged(tmp_path / "eval", task)):
      assert row["step"] == 20
      assert 0 <= row["HR@1"] <= row["NDCG@10"] <= row["HR@10"] == 1.0
      assert row["num_nan"] == 0
  t5x.run(
    "infer",
    "--gin_file=gin/instructrec_infer.gin",
    *common,
    "--gin_file=gin/overrides/generate.gin",
    "--gin_file=gin/runs/t5x_catalog.gin",
    "--gin.MIXTURE_OR_TASK_NAME='instructrec_v1_sequential_p1_i0'",
    f"--gin.INFER_OUTPUT_DIR='{tmp_path / 'infer'}'",
    devices=2,
  )
  titles = item_table.ItemTable.load(t5x.data).titles
  rows = lines(tmp_path / "infer", "sequential_p1_i0", "predict_with_aux")
  assert len(rows) == 60
  for row in rows:
    assert len(set(row["prediction"])) == 10
    assert set(row["prediction"]) <= set(titles)


def test_a_vocabulary_larger_than_the_network_stops_the_run(t5x, tmp_path):
  output = t5x.fail(
    "train",
    *TRAIN,
    f"--gin.MODEL_DIR='{tmp_path}'",
    "--gin.VOCAB_SIZE=128",
    devices=4,
  )
  assert "set VOCAB_SIZE to at least" in output


def test_what_plain_t5x_passes_over_is_an_error_of_ours(t5x, tmp_path):
  folder = tmp_path / "model"
  output = t5x.fail(
    "train",
    *TRAIN,
    f"--gin.MODEL_DIR='{folder}'",
    "--gin.MIXTUR_OR_TASK_NAME='wishes'",
    "--gin.trian/utils.DatasetConfig.batch_size=8",
    checked=True,
  )
  lines = output.splitlines()
  start = next(n for n, line in enumerate(lines) if "are not sound:" in line)
  assert lines[start + 1 : start + 3] == [
    "  --gin.MIXTUR_OR_TASK_NAME: nothing reads the macro MIXTUR_OR_TASK_NAME; "
    "did you mean MIXTURE_OR_TASK_NAME?",
    "  --gin.trian/utils.DatasetConfig.batch_size: nothing enters the scope "
    "trian; did you mean train?",
  ]
  assert not folder.exists()


def test_another_size_is_named_with_checkpoint_and_shapes(
  t5x, resumed, tmp_path
):
  path = resumed[0] / "checkpoint_20"
  output = t5x.fail(
    "eval",
    "--gin_file=gin/instructrec_eval.gin",
    *EVALUATE,
    "--gin.T5Config.mlp_dim=96",
    f"--gin.CHECKPOINT_PATH='{path}'",
    f"--gin.EVAL_OUTPUT_DIR='{tmp_path / 'eval'}'",
  )
  assert f"{path} (t5x) does not hold the parameters of" in output
  assert "wo/kernel: found [128, 64], expected [96, 64]" in output
  assert not (tmp_path / "eval").exists()


def test_missing_data_are_named_and_not_tfdss_catalogue(t5x, resumed, tmp_path):
  output = t5x.fail(
    "eval",
    "--gin_file=gin/instructrec_eval.gin",
    *EVALUATE,
    f"--gin.CHECKPOINT_PATH='{resumed[0] / 'checkpoint_20'}'",
    f"--gin.EVAL_OUTPUT_DIR='{tmp_path / 'eval'}'",
    f"--tfds_data_dir={tmp_path / 'gone'}",
  )
  assert f"{tmp_path / 'gone'} holds no instructrec/" in output
  assert "abstract_reasoning" not in output  # The first of TFDS's data sets.


def test_the_mixture_of_the_contributors_page_trains(t5x, tmp_path):
  page = pathlib.Path(__file__).parents[2] / "CONTRIBUTING.md"
  blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
  (text,) = [block for block in blocks if '"wishes"' in block]
  (tmp_path / "my_tasks.py").write_text(text)
  model_dir = tmp_path / "model"
  t5x.run(
    "train",
    "--gin_file=gin/instructrec_xl.gin",
    TINY,
    f"--gin.MODEL_DIR='{model_dir}'",
    "--gin.MIXTURE_OR_TASK_NAME='wishes'",
    "--gin.MIXTURE_OR_TASK_MODULE='my_tasks'",
    "--gin.TRAIN_STEPS=5",
    "--gin.EVALUATOR_NUM_EXAMPLES=8",
    python_path=[tmp_path],
  )
  evaluated = model_dir / "training_eval"
  assert {path.name.split("_p")[0] for path in evaluated.iterdir()} == {
    "instructrec_v1_personalized_search",
    "instructrec_v1_sequential",
  }


def test_two_processes_train_together(t5x, tmp_path):
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    port = found.getsockname()[1]
  processes = [
    t5x.start(
      "train",
      "--gin_file=gin/instructrec_xl.gin",
      TINY,
      f"--gin.MODEL_DIR='{tmp_path}'",
      "--gin.TRAIN_STEPS=10",
      "--multiprocess_gpu",
      f"--coordinator_address=127.0.0.1:{port}",
      "--process_count=2",
      f"--process_index={index}",
      devices=2,
    )
    for index in range(2)
  ]
  # Both are read at once: one that waits for its reader blocks the other.
  with concurrent.futures.ThreadPoolExecutor() as pool:
    outputs = list(pool.map(t5x.finish, processes))
  for output in outputs:
    assert "global_mesh devices shape: (4, 1)" in output
  found = scalars(tmp_path / "train")
  assert found["loss"][10] < found["loss"][5]
  assert (tmp_path / "checkpoint_10" / "state").is_dir()
  assert logged(tmp_path, "sequential_p1_i0")["step"] == 10


def test_our_tasks_in_a_run_with_t5x_own_model(t5x, tmp_path):
  """The gin file of docs/t5x.md, smaller and from scratch."""
  docs = pathlib.Path(__file__).parents[2] / "docs" / "t5x.md"
  (text,) = re.findall(r"```gin\n(.*?)```", docs.read_text(), re.DOTALL)
  (tmp_path / "own.gin").write_text(text.replace("small.gin", "tiny.gin"))
  model_dir = tmp_path / "model"
  t5x.run(
    "train",
    f"--gin_file={tmp_path / 'own.gin'}",
    f"--gin.MODEL_DIR='{model_dir}'",
    "--gin.INITIAL_CHECKPOINT_PATH=()",
    "--gin.TASK_FEATURE_LENGTHS={'inputs': 256, 'targets': 32}",
    "--gin.TRAIN_STEPS=4",
    "--gin.BATCH_SIZE=8",
    "--gin.EVAL_STEPS=1",
    "--gin.EVALUATOR_NUM_EXAMPLES=8",
  )
  assert scalars(model_dir / "train")["timing/seqs"]
  path = model_dir / "inference_eval"
  row = json.loads(
    (path / "instructrec_v1_product_search_p0_i2-metrics.jsonl").read_text()
  )
  assert row["step"] == 4
  assert 0 <= row["exact_match"] <= row["listed"] <= 1
