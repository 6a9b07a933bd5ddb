"""Reports through the command line, compared."""

import json

import command_line
import numpy as np
import pytest

from instructrec.evaluation import evaluate, report

LABELS = np.arange(60) % 5


def call(*args):
  return command_line.call("compare", *args)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  for seed, name in enumerate(("a0", "a1", "b0", "b1")):
    scores = np.random.default_rng(seed).normal(size=(60, 5))
    scores[np.arange(60), LABELS] += 2 * (name[0] == "a")
    found = [
      evaluate.from_scores(
        group,
        {"trained model": scores, "flat": np.zeros((60, 5))},
        LABELS,
        request_ids=[str(i) for i in range(60)],
        num_resamples=10,
      )
      for group in ("sequential", f"only {name}")
    ]
    context = report.Context(
      name,
      [f"instructrec evaluate --model_dir={name}"],
      {},
      {"prepared fingerprint": "sha256:1"},
      {"training": seed},
      {},
      "",
      ["leave-one-out overlaps in time"],
      [],
    )
    report.write(folder / name / "report", found, context)
  return folder


def test_a_report_is_not_replaced_by_what_compares_it(runs, monkeypatch):
  monkeypatch.chdir(runs / "a0")
  before = (runs / "a0/report/report.json").read_bytes()
  with pytest.raises(ValueError, match="would replace report, which it comp"):
    call("report", runs / "b0/report", f"--output={runs}/a0/report")
  assert (runs / "a0/report/report.json").read_bytes() == before


def test_a_file_in_the_place_of_the_folder_is_named_first(runs, tmp_path):
  (tmp_path / "notes").write_text("mine")
  with pytest.raises(NotADirectoryError, match="notes is a file, expected a f"):
    call("nowhere", f"--output={tmp_path}/notes")


def test_methods_are_called_after_their_reports(runs, tmp_path):
  output = call(runs / "a0/report", runs / "b0/report", f"--output={tmp_path}")
  assert "sequential (60 requests)" in output
  assert "| a0/trained model - b0/trained model | **+0." in output
  text = (tmp_path / "report.md").read_text()
  assert "instructrec evaluate --model_dir=b0" in text
  assert text.count("leave-one-out overlaps in time") == 1
  assert "['only a0', 'only b0']" in text
  assert (tmp_path / "report.html").is_file()
  record = json.loads((tmp_path / "report.json").read_text())
  assert len(record["results"]) == 1
  assert len(record["results"][0]["methods"]) == 4


def test_one_name_makes_runs(runs, tmp_path):
  output = call(
    *(
      f"{name[0]}={runs / name / 'report'}" for name in ("a0", "a1", "b0", "b1")
    ),
    "--method=trained model",
    f"--output={tmp_path}",
  )
  assert "| a/trained model - b/trained model | **+0." in output
  (found,) = json.loads((tmp_path / "report.json").read_text())["results"]
  assert list(found["methods"]) == ["a/trained model", "b/trained model"]
  assert len(found["runs"]["b/trained model"]["MRR"]) == 2


def test_seeds_take_all_reports_as_runs(runs, tmp_path):
  call(
    runs / "a0/report", runs / "a1/report", "--seeds", f"--output={tmp_path}"
  )
  (found,) = json.loads((tmp_path / "report.json").read_text())["results"]
  assert list(found["methods"]) == ["trained model", "flat"]
  assert "| trained model | 2 |" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["a0/report", "a0/report"], "is given twice"),
    (["a0/report", "a0/../a1/report", "a0"], "holds no report"),
    (["a=a0/report", "--seeds"], "without names"),
  ],
)
def test_what_cannot_be_compared_is_named(
  runs, tmp_path, monkeypatch, args, message
):
  monkeypatch.chdir(runs)
  with pytest.raises((ValueError, OSError), match=message):
    call(*args, f"--output={tmp_path / 'out'}")
  assert not (tmp_path / "out").exists()


def test_reports_of_one_name_want_to_be_named(runs, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "a0").mkdir()
  for file in (runs / "a0/report").iterdir():
    (tmp_path / "a0" / file.name).write_bytes(file.read_bytes())
  for other in ("a0", f"a0={runs / 'a1/report'}"):
    with pytest.raises(ValueError, match="two reports are called 'a0'"):
      call(runs / "a0/report", other)
  assert not (tmp_path / "comparison").exists()
