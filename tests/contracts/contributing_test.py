"""The recipes of CONTRIBUTING.md, executed as written."""

import pathlib
import re
import sys

import numpy as np
import polars as pl
import pytest

from instructrec.data import catalog, interaction, request
from instructrec.evaluation import compare, evaluate, metrics, report, selection
from instructrec.instructions import mixtures, templates
from instructrec.retrieval import methods

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recipes():
  """The blocks of the section by language."""
  if not (ROOT / "CONTRIBUTING.md").is_file():
    pytest.skip("the recipes are in the checkout alone")
  text = (ROOT / "CONTRIBUTING.md").read_text()
  section = text.split("## A template, a metric, a baseline")[1].split("\n## ")[
    0
  ]
  return re.findall(r"```(\w*)\n(.*?)```", section, re.DOTALL)


def test_a_template_is_an_entry(recipes, tmp_path):
  (entry,) = [text for language, text in recipes if language == "yaml"]
  folder = tmp_path / "templates"
  folder.mkdir()
  own = ROOT / "instructrec" / "instructions" / "templates"
  for path in sorted(own.glob("*.yaml")):
    (folder / path.name).write_text(path.read_text())
  before = mixtures.mixtures(templates.load(sorted(folder.iterdir())))
  with (folder / "sequential.yaml").open("a") as file:
    file.write("\n" + entry)
  after = mixtures.mixtures(templates.load(sorted(folder.iterdir())))
  changed = {name for name in after if after[name] != before[name]}
  assert changed == {"_all", "_direct", "_matching"}
  for name in changed:
    gain = {
      task: weight - before[name][task]
      for task, weight in after[name].items()
      if weight != before[name][task]
    }
    assert gain == {"sequential_p1_i0": pytest.approx(1)}


def context():
  return report.Context(
    title="Report",
    commands=["instructrec"],
    protocol={},
    data={},
    seeds={},
    environment={},
    config="",
    warnings=[],
    training_log=[],
  )


def test_a_metric_is_a_line_and_stands_everywhere(
  recipes, tmp_path, monkeypatch
):
  line = next(t for language, t in recipes if t.startswith('"RBP"'))
  for name, formula in eval("{" + line + "}", vars(metrics)).items():
    monkeypatch.setitem(metrics.FORMULAS, name, formula)
  result = evaluate.from_scores(
    "g",
    {"first": np.eye(30)[np.zeros(3, int)], "flat": np.zeros((3, 30))},
    np.array([0, 0, 1]),
    request_ids=["a", "b", "c"],
    selection=selection.Selection.of(["RBP@2,RBP", "HR@50"]),
    num_resamples=20,
  )
  page = report.write(tmp_path, [result], context()).read_text()
  # Two first ranks; the third is one of 29 that tie behind the first.
  ranks = np.arange(1, 31)
  worth = 0.2 * 0.8 ** (ranks - 1)
  for name, gains in (("RBP", worth), ("RBP@2", worth * (ranks <= 2))):
    mean = (2 * 0.2 + gains[1:].mean()) / 3
    assert result.methods["first"][name].mean == pytest.approx(mean)
    assert result.chance[name] == pytest.approx(gains.mean())
    table = pl.read_parquet(tmp_path / "per_request.parquet")
    values = table.filter(method="first")[name].to_list()
    assert values == pytest.approx([0.2, 0.2, gains[1:].mean()])
    record = report.read(tmp_path)["results"][0]
    assert record["methods"]["first"][name]["mean"] == pytest.approx(mean)
  assert "reaches RBP@2" in page
  assert "| method | RBP@2 | RBP | HR@50 | HR@1 | NDCG@10 |" in page
  assert "| difference | RBP@2 | RBP | HR@50 |" in page
  assert "HR@50 is 1 for every method" in page
  (joined,) = compare.compare({"again": [compare.load(tmp_path)]})
  assert joined.compared == ["RBP@2", "RBP", "HR@50"]


def test_a_baseline_is_a_file(recipes, tmp_path, monkeypatch):
  text = next(t for language, t in recipes if "Retriever)" in t)
  (tmp_path / "newest.py").write_text(text)
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.delitem(sys.modules, "newest", raising=False)
  (kind,) = methods._by_name(["newest"]).values()
  items = catalog.Catalog(
    pl.DataFrame({"item_id": [*"abc"], "title": [*"ABC"]})
  )
  log = interaction.InteractionLog(
    pl.DataFrame({"user_id": [*"uuv"], "item_id": [*"bab"], "order": [0, 1, 2]})
  )
  kind().fit(log, items).save(tmp_path / "saved")
  found = kind.load(tmp_path / "saved")
  asked = [request.RankingRequest("r", "u", (), ())]
  assert found.retrieve(asked, 3).item_ids == [("b", "a", "c")]
