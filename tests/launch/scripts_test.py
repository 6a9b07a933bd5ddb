"""All launch scripts: clean, documented, strict about their options."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SCRIPTS = ("host.sh", "local.sh", "slurm.sbatch", "gke/jobset.sh", "tpu_vm.sh")
# Of [dev], beside the Python that runs the tests; else wherever it is.
SHELLCHECK = (
  shutil.which("shellcheck", path=pathlib.Path(sys.executable).parent)
  or "shellcheck"
)
FILES = sorted(
  path
  for path in (ROOT / "launch").rglob("*")
  if path.suffix in (".sh", ".sbatch")
)


def test_every_script_is_tested():
  names = {str(path.relative_to(ROOT / "launch")) for path in FILES}
  assert names == {*SCRIPTS, "options.sh"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_shellcheck_and_bash_find_nothing(path):
  for command in (
    ["bash", "-n"],
    [SHELLCHECK, "--external-sources", "--shell=bash"],
  ):
    found = subprocess.run(
      [*command, path], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_shellcheck_finds_an_unquoted_variable(tmp_path):
  planted = tmp_path / "planted.sh"
  planted.write_text('#!/bin/bash\nrm -r $1\n"$1"\n')
  found = subprocess.run([SHELLCHECK, planted], capture_output=True, text=True)
  assert "SC2086" in found.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_eval_and_no_secret(path):
  text = path.read_text()
  assert not re.search(r"\beval\b", text)
  assert not re.search(r"(?i)password|token|secret|api_?key", text)


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_can_be_run_and_say_what_they_take(shell, script):
  assert os.access(ROOT / "launch" / script, os.X_OK)
  output, _ = shell.run(script, "--help")
  assert output.startswith(f"launch/{script}")
  for option in (
    *shell.needs[script],
    *shell.options[4:],
    "--runner=",
    "--dry_run",
  ):
    if option.startswith("--"):
      assert f"  {option.split('=')[0]}" in output
  assert not shell.calls()


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_dry_run_runs_nothing(shell, script):
  output, errors = shell.run(*shell.whole(script), "--dry_run")
  assert output
  assert not errors
  assert not shell.calls()


@pytest.mark.parametrize("script", SCRIPTS)
def test_all_runners_join_the_processes_and_count_devices_first(shell, script):
  output, _ = shell.run(*shell.whole(script), "--dry_run")
  lines = [line.lstrip("# ") for line in output.splitlines()]
  counting = [line for line in lines if line.startswith("instructrec devices")]
  training = [line for line in lines if line.startswith("exec python")]
  assert counting
  assert len(counting) == len(training)
  assert lines.index(counting[0]) < lines.index(training[0])
  for line in counting:
    assert re.search(r"--device_count=\d+ --multiprocess_gpu", line)
  words = shlex.split(training[0])
  assert words[:5] == ["exec", "python", "-m", "instructrec.t5x", "train"]
  # Spaces, quotes and order come through every layer of quoting.
  assert words[5:8] == list(shell.options[1:4])
  assert '--gin.MODEL_DIR="gs://bucket/xl"' in words
  assert "--multiprocess_gpu" in words


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
  ("wrong", "message"),
  [
    ("--modle_dir=x", "unknown option --modle_dir; expected one of: --runner"),
    ("extra", "unknown argument 'extra'"),
    ("--model_dir", "--model_dir has no value"),
    ("--model_dir=", "--model_dir has no value"),
    ("--gin.TRAIN_STEPS", "expected --gin_file=FILE or --gin.NAME=VALUE"),
    ("--runner=jax", "--runner=jax: expected what trains: t5x"),
    ("--dry_run=yes", "--dry_run takes no value"),
    ('--model_dir=a"b', "expected folder of the run"),
  ],
)
def test_wrong_options_are_refused(shell, script, wrong, message):
  _, errors = shell.run(*shell.whole(script), wrong, "--dry_run", status=2)
  assert message in errors
  assert not shell.calls()


@pytest.mark.parametrize("script", SCRIPTS)
def test_missing_settings_are_named_all_at_once(shell, script):
  needed = [
    option.split("=")[0]
    for option in (*shell.needs[script], *shell.options)
    if option.startswith("--") and not option.startswith("--gin.")
  ]
  if script == "local.sh":
    needed.remove("--processes")  # It has a default.
  action = [option for option in shell.needs[script] if option[0] != "-"]
  _, errors = shell.run(script, *action, status=2)
  for name in needed:
    # What is expected, and an example.
    assert re.search(rf"  {name}: .+, e\.g\. {name}=.+", errors), name


def test_a_host_needs_no_vocabulary_for_the_embedded_runner(shell):
  shell.stand_in("python", "")
  _, errors = shell.run(
    *shell.whole("host.sh"), "--runner=embedded", "--vocabulary=v", status=2
  )
  assert "--vocabulary is for --runner=t5x" in errors


def test_t5x_gets_a_whole_path(shell):
  for given, expected in {
    "work/xl": f"{ROOT}/work/xl",
    "/shared/xl": "/shared/xl",
    "gs://bucket/xl": "gs://bucket/xl",
  }.items():
    output, _ = shell.run(
      *shell.whole("host.sh"), f"--model_dir={given}", "--dry_run"
    )
    assert f'--gin.MODEL_DIR="{expected}"' in shell.commands(output)[-1]


def test_a_host_counts_and_then_becomes_the_training_command(shell):
  shell.stand_in("instructrec", "")
  shell.stand_in("python", 'echo "vocabulary $INSTRUCTREC_VOCABULARY, pid $$"')
  process = shell.start(*shell.whole("host.sh"), "--vocabulary=v.model")
  output, _ = process.communicate(timeout=60)
  assert output == f"vocabulary v.model, pid {process.pid}\n"
  counting, training = shell.calls()
  assert counting == "instructrec devices --device_count=32 --multiprocess_gpu"
  assert training.startswith("python -m instructrec.t5x train --gin_file=")


def test_a_host_whose_devices_are_missing_does_not_train(shell):
  shell.stand_in("instructrec", "exit 1")
  shell.stand_in("python", "")
  shell.run(*shell.whole("host.sh"), status=1)
  assert len(shell.calls()) == 1


PAID = ("slurm.sbatch", "gke/jobset.sh", "tpu_vm.sh")


def test_what_costs_nothing_checks_where_it_runs(shell):
  for script in set(SCRIPTS) - set(PAID):
    output, _ = shell.run(*shell.whole(script), "--dry_run")
    assert "instructrec preflight" not in output


@pytest.mark.parametrize("script", PAID)
def test_gin_files_are_checked_before_anything_is_paid_for(shell, script):
  output, _ = shell.run(*shell.whole(script), "--dry_run")
  (line,) = [
    line for line in output.splitlines() if "instructrec preflight" in line
  ]
  words = shlex.split(line.partition(": ")[2])
  expected = ["instructrec", "preflight", "--runner=t5x", *shell.options[1:4]]
  assert words == expected
  shell.stand_in("instructrec", "exit 1")
  _, errors = shell.run(*shell.whole(script), status=2)
  assert "nothing was started" in errors
  (call,) = shell.calls()
  assert call == " ".join(expected)


@pytest.mark.parametrize("script", PAID)
def test_gin_files_that_lie_on_the_hosts_alone_are_not_checked(shell, script):
  output, _ = shell.run(*shell.whole(script), "--unchecked", "--dry_run")
  assert "instructrec preflight" not in output


@pytest.mark.slow
@pytest.mark.tf
def test_a_misspelt_macro_is_named_and_nothing_is_submitted(shell):
  shell.stand_in(
    "instructrec", f'exec "{sys.executable}" -m instructrec.cli.main "$@"'
  )
  _, errors = shell.run(
    *shell.whole("slurm.sbatch"), "--gin.MIXTUR_OR_TASK_NAME='wishes'", status=2
  )
  assert "did you mean MIXTURE_OR_TASK_NAME?" in errors
  assert [call.split()[0] for call in shell.calls()] == ["instructrec"]


@pytest.mark.parametrize("script", PAID)
def test_where_nothing_can_check_that_is_said(shell, script, tmp_path):
  (shell.bin / "instructrec").unlink()
  _, errors = shell.run(
    *shell.whole(script), status=2, PATH=f"{shell.bin}:/usr/bin:/bin"
  )
  assert "pip install instructrec, or pass --unchecked" in errors
  assert not shell.calls()
