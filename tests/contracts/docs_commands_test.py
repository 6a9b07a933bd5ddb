"""The commands of the documents, run as they stand there, on small data.

A page's blocks run in order, in one folder, through bash. Only data, steps and
numbers of requests are smaller: `_SMALL` says how.
"""

import datetime
import gzip
import json
import os
import pathlib
import random
import re
import subprocess
import sys

import pytest

import instructrec

# Of the checkout: a wheel has no documents.
_DOCUMENTS = pathlib.Path(__file__).parents[2]
_PACKAGE = pathlib.Path(instructrec.__file__).parent.parent
# By page, the beginnings of blocks that are not run, and why.
_LEFT_OUT = {
  "docs/data.md": {
    "instructrec prepare --download": "downloads from the network",
    "(cat train.csv": "three logs of another shop",
    "instructrec prepare --source=amazon": "files of Amazon",
  },
}
# The second overwrites the data of the first, and the third goes on with them.
PAGES = ("docs/data.md", "README.md", "docs/training.md")
# Given behind those of the page: the last of two counts.
_SMALL = {
  "prepare": ["--overwrite"],
  "generate": ["--num_workers=1"],
  "train": [
    *("--gin.TRAIN_STEPS=2", "--gin.WARMUP_STEPS=1", "--gin.BATCH_SIZE=4"),
    *("--gin.EVAL_STEPS=1", "--gin.EVAL_LISTS=2"),
  ],
  "evaluate": [
    *("--num_requests=9", "--num_validation=9", "--num_histories=5"),
  ],
}
_START, _DAY = 1_500_000_000, 86_400
_THINGS = "kettle lamp puzzle robot train doll drum kite boat ball".split()
_KINDS = "Red Blue Green White Black Wooden Woollen Silver Golden Small".split()


def blocks(page):
  """The shell blocks of a page that call `instructrec`.

  Where a block shows what is printed, its commands stand behind a $.
  """
  text = (_DOCUMENTS / page).read_text()
  # Fences by pairs: the end of a Python block is no beginning.
  fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
  shell = [block for language, block in fenced if not language]
  shell = [
    "\n".join(re.findall(r"^\$ (.*)$", block, re.MULTILINE)) or block
    for block in shell
  ]
  return [b for b in shell if re.search(r"(?<!import )\binstructrec [a-z]", b)]


def _is_run(page, block):
  return not any(map(block.startswith, _LEFT_OUT.get(page, ())))


@pytest.mark.parametrize("page", _LEFT_OUT)
def test_what_is_left_out_is_there(page):
  for start in _LEFT_OUT[page]:
    assert any(b.startswith(start) for b in blocks(page)), start


def _tables():
  """By name, the tables of the pages: rows with their header first."""
  draw = random.Random(0)
  titles = ["First title", "Second title"]
  titles += [f"{kind} {thing}" for kind in _KINDS for thing in _THINGS]
  items = [(f"i{n}", title) for n, title in enumerate(titles)]
  log = [
    (f"u{user}", *item, draw.randint(3, 5), _START + _DAY * step + user)
    for user in range(60)
    for step, item in enumerate(draw.sample(items, 12))
  ]
  day = datetime.datetime.fromtimestamp
  return {
    "interactions.tsv": [
      ("user_id", "item_id", "timestamp"),
      *((user, item, time) for user, item, _, _, time in log),
    ],
    "items.tsv": [("item_id", "title"), *items],
    "reviews.jsonl.gz": [
      ("user_id", "item_id", "rating", "text"),
      *(
        (user, item, stars, f"A sturdy {title.lower()} for a long ride.")
        for user, item, title, stars, _ in log
      ),
    ],
    "orders.csv": [
      ("customer", "item_id", "when", "stars"),
      *(
        (user, item, day(time, datetime.UTC).strftime("%F %T"), stars)
        for user, item, _, stars, time in log
      ),
    ],
    "products.csv": [
      ("sku", "title", "categories", "price"),
      *((item, title, "Toys > Games", "$12.99") for item, title in items),
    ],
    "log.dat": [
      (user, item, stars, time) for user, item, _, stars, time in log
    ],
  }


@pytest.fixture
def shop(tmp_path):
  """A folder with the tables that the pages name, and `instructrec`."""
  separators = {".tsv": "\t", ".csv": ",", ".dat": "::"}
  for name, (header, *rows) in _tables().items():
    path = tmp_path / name
    if path.suffix == ".gz":
      with gzip.open(path, "wt") as file:
        for row in rows:
          print(json.dumps(dict(zip(header, row, strict=True))), file=file)
    else:
      between = separators[path.suffix]
      lines = [between.join(map(str, row)) for row in (header, *rows)]
      path.write_text("\n".join([*lines, ""]))
  command = tmp_path / "bin" / "instructrec"
  command.parent.mkdir()
  cases = "".join(
    f'  {name}) set -- "$@" {" ".join(options)} ;;\n'
    for name, options in _SMALL.items()
  )
  command.write_text(
    f'#!/bin/bash\ncase "$1" in\n{cases}esac\n'
    f'exec {sys.executable} -m instructrec.cli.main "$@"\n'
  )
  command.chmod(0o755)
  return tmp_path


@pytest.mark.slow
def test_the_commands_of_the_pages_run(shop):
  environment = {
    **os.environ,
    "PATH": f"{shop / 'bin'}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": str(_PACKAGE),
  }
  # What users have not set, and what they then see.
  environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
  for page in PAGES:
    script = "\n".join(b for b in blocks(page) if _is_run(page, b))
    found = subprocess.run(
      ["bash", "-euxo", "pipefail", "-c", script],
      cwd=shop,
      env=environment,
      capture_output=True,
      text=True,
      check=False,
    )
    told = f"{page}:\n{found.stdout}\n{found.stderr}"
    assert found.returncode == 0, told
    # Nothing of native libraries between our own lines.
    assert "oneDNN" not in told
    assert "absl::InitializeLog" not in told
