"""The commands as Python has them."""

import json
import os
import pathlib
import subprocess
import sys

import polars as pl
import pytest
from typer.testing import CliRunner

import instructrec
from instructrec.cli import main
from instructrec.data import dataset, synthetic
from instructrec.settings import generation

_ROOT = pathlib.Path(instructrec.__file__).parents[1]
_PAGES = pathlib.Path(__file__).parents[1] / "docs"


def call(*args):
  result = CliRunner().invoke(main.app, [str(a) for a in args])
  assert result.exit_code == 0, result.output


@pytest.fixture(scope="module", name="shop")
def shop_fixture():
  """Orders and products of a synthetic shop, as frames."""
  log, items = synthetic.generate(num_users=40, num_items=30, seed=0)
  orders = log.frame.select("user_id", "item_id", "timestamp")
  return orders, items.frame.select("item_id", "title", "categories", "brand")


def test_importing_is_instant_and_names_come_when_used(tmp_path):
  code = (
    "import sys, instructrec\n"
    "heavy = {'tensorflow', 'jax', 'numpy', 'polars', 'typer'}\n"
    "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    "assert {*instructrec.__all__} <= {*dir(instructrec)}\n"
    "instructrec.prepare, instructrec.evaluate\n"
    "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    "instructrec.Ranker\n"
    "assert 'jax' in sys.modules and 'tensorflow' not in sys.modules\n"
    "assert instructrec.Ranker is instructrec.__dict__['Ranker']\n"
  )
  result = subprocess.run(
    [sys.executable, "-c", code],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(_ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr


def test_a_name_that_is_none_is_an_attribute_error():
  with pytest.raises(AttributeError, match="no attribute 'rank_all'"):
    _ = instructrec.rank_all


def test_frames_are_prepared_as_their_files_are(shop, tmp_path):
  orders, products = shop
  orders.write_parquet(tmp_path / "orders.parquet")
  products.write_parquet(tmp_path / "products.parquet")
  call(
    "prepare",
    "--source=table",
    f"--input={tmp_path / 'orders.parquet'}",
    f"--items={tmp_path / 'products.parquet'}",
    f"--output={tmp_path / 'by_command'}",
    "--min_interactions=1",
    "--split=global_time",
  )
  lines = []
  options = {"min_interactions": 1, "split": "global_time"}
  made = instructrec.prepare(
    orders.rename({"item_id": "sku"}),
    items=products,
    output=tmp_path / "by_frame",
    columns={"interactions.item_id": "sku"},
    tell=lines.append,
    **options,
  )
  assert made.fingerprint == dataset.load(tmp_path / "by_command").fingerprint
  assert any("40 users" in line for line in lines)
  mixed = instructrec.prepare(
    tmp_path / "orders.parquet",
    items=products,
    output=str(tmp_path / "mixed"),
    tell=lines.append,
    **options,
  )
  assert mixed.fingerprint == made.fingerprint


def test_a_table_that_is_missing_is_named(tmp_path):
  with pytest.raises(
    ValueError, match="source table needs --input and --items"
  ):
    instructrec.prepare({"user_id": [], "item_id": []}, output=tmp_path / "out")
  with pytest.raises(TypeError, match="the nearest is 'min_interactions'"):
    instructrec.prepare(source="synthetic", output="x", min_interaction=3)
  assert not (tmp_path / "out").exists()


@pytest.mark.tf
def test_commands_and_functions_fill_the_same_settings(tmp_path, monkeypatch):
  """Of the three that call a pipeline with TensorFlow."""
  from instructrec.evaluation import compare
  from instructrec.pipelines import evaluate, instructions, train

  seen = []

  def recorded(settings, **unused):
    seen.append(settings)
    return tmp_path / "report.md"

  monkeypatch.setattr(instructions, "generate", recorded)
  monkeypatch.setattr(train, "train", recorded)
  monkeypatch.setattr(evaluate, "evaluate", recorded)
  monkeypatch.setattr(compare, "load", lambda folder: folder)
  instructrec.generate(
    "data", output="out", protocol="strict", eval_templates=["a", "b"]
  )
  call(
    "generate", "--data=data", "--output=out", "--protocol=strict",
    "--eval_template=a", "--eval_template=b", "--num_workers=1",
  )  # fmt: skip
  instructrec.train("out", model_dir="run", bindings={"A": "x", "B": 2})
  call(
    "train", "--gin_file=gin/quickstart.gin", "--tfds_data_dir=out",
    "--model_dir=run", "--gin.A = 'x'", "--gin.B = 2",
  )  # fmt: skip
  assert instructrec.evaluate("run", num_requests=5, seed=2) == tmp_path
  call("evaluate", "--model_dir=run", "--num_requests=5", "--seed=2")
  assert seen[0::2] == seen[1::2]
  assert seen[0].protocol is generation.Protocol.strict


@pytest.mark.slow
@pytest.mark.tf
def test_the_ten_lines_of_the_page_rank(shop, tmp_path, monkeypatch, capsys):
  """From two files to a ranked list, with training that is short."""
  text = (_PAGES / "python.md").read_text()
  code = text.split("```python\n")[1].split("```")[0]
  assert len([line for line in code.splitlines() if line.strip()]) <= 10
  monkeypatch.chdir(tmp_path)
  orders, products = shop
  orders.write_csv("orders.csv")
  products.drop("categories").write_csv("products.csv")
  title = products["title"][0]
  assert code.count("num_requests=1000") == 1
  less = 'num_requests=9, task_types=["sequential_p1_i0"]'
  code = code.replace("num_requests=1000", less)
  code = code.replace("First title", title).replace(
    'model_dir="work/model"',
    'model_dir="work/model", gin_files="gin/quickstart_token.gin", bindings={'
    '"TRAIN_STEPS": 2, "WARMUP_STEPS": 1, "BATCH_SIZE": 4, "EVAL_PERIOD": 2,'
    '"EVAL_STEPS": 1, "EVAL_LISTS": 4, "CHECKPOINT_PERIOD": 2}',
  )
  found = {"pl": pl}
  exec(code, found)  # The page's own lines.
  shown = capsys.readouterr().out
  assert len(found["ranking"]) == 10
  for place in found["ranking"]:
    assert place.title in shown
    assert place.title != title
  assert (found["report"].path / "report.md").is_file()


@pytest.mark.slow
@pytest.mark.tf
def test_the_notebook_runs(tmp_path):
  """Its cells one after another, in a fresh process, on fewer numbers."""
  pages = json.loads((_PAGES / "quickstart.ipynb").read_text())["cells"]
  cells = ["".join(c["source"]) for c in pages if c["cell_type"] == "code"]
  cells.append("print('places:', len(ranking))")
  code = "\n".join(cells)
  for number, less in {
    # Of fewer users the k-core leaves out a title that the page names.
    "num_users=600": "num_users=200",
    "steps = 120": "steps = 2",
    "// 10}": '// 10, "BATCH_SIZE": 8, "EVAL_STEPS": 1, "EVAL_LISTS": 8}',
    "num_requests=200": "num_requests=5, num_validation=20, num_histories=5",
  }.items():
    assert code.count(number) == 1
    code = code.replace(number, less)
  # Where a folder is made: one that goes with the test.
  result = subprocess.run(
    [sys.executable, "-c", code],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(_ROOT), "TMPDIR": str(tmp_path)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stderr
  assert "places: 10" in result.stdout
  assert "personalized_search" in result.stdout
