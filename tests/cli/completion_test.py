"""Shell completion: names at once, with nothing heavy imported."""

import os
import subprocess
import sys

ASK = """
import os, sys
from typer.testing import CliRunner
from instructrec.cli import main
for line in sys.argv[1:]:
  words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
  asked = {**words, "_INSTRUCTREC_COMPLETE": "complete_bash"}
  output = CliRunner().invoke(main.app, [], env=asked, prog_name="instructrec")
  print(",".join(output.output.split()))
heavy = {"jax", "tensorflow", "numpy", "polars"} & set(sys.modules)
print("heavy:", *sorted(heavy))
"""


def test_commands_and_options_are_completed_without_what_they_run():
  found = subprocess.run(
    [
      sys.executable,
      "-c",
      ASK,
      "instructrec pre",
      "instructrec retrieve evaluate --metr",
      "instructrec prepare --num_us",
      "instructrec train --gin_fi",
      "instructrec align --num_re",
    ],
    capture_output=True,
    text=True,
    check=True,
    env={**os.environ, "COLUMNS": "80"},
  )
  assert found.stdout.splitlines() == [
    "prepare,preflight",
    "--metrics",
    "--num_users",
    "--gin_file",
    "--num_requests",
    "heavy:",
  ]
