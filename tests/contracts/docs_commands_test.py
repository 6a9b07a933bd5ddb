"""The commands of the documents, run as they stand there, on small data.

A page's blocks run in order, in one folder, through bash. Only data, steps and
numbers of histories are smaller: `_SMALL` says how.
"""

import gzip
import json
import os
import pathlib
import random
import re
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parents[2]
_NETWORK = "downloads from the network"
_GPUS = "needs several hosts, or an accelerator"
_PUBLISHED = "hours on published data, which are not part of the project"
_SERVER = "asks a chat server"
_PART = "shows a part of a command"
_LIBTPU = "compiles for TPUs, for minutes"
_NO_DATA = "nothing small stands in for its data yet"

# By page, the beginnings of blocks and why they are not run.
LEFT_OUT = {
  "docs/baselines.md": {
    "instructrec prepare --source=synthetic": _NO_DATA,
    "instructrec prepare --source=table": _PUBLISHED,
    "instructrec retrieve evaluate --data=games": _PUBLISHED,
  },
  "docs/checkpoints.md": {
    "instructrec checkpoint inspect --source=work/flan": _NETWORK,
    "instructrec generate": _NETWORK,
    "instructrec checkpoint import": _NETWORK,
    "hf download TinyLlama": _NETWORK,
  },
  "docs/data.md": {
    "instructrec prepare --download": _NETWORK,
    "instructrec prepare --source=table": _NO_DATA,
    "(cat train.csv": _NO_DATA,
    "instructrec prepare --source=amazon": _NO_DATA,
  },
  "docs/evaluation.md": {
    "instructrec evaluate --model_dir=copy/model": _NO_DATA,
    "instructrec compare work/a/report": _NO_DATA,
    "instructrec compare work/seed_0": _NO_DATA,
    "instructrec prepare": _NO_DATA,
    "instructrec compare --seeds": _NO_DATA,
  },
  "docs/instructions.md": {
    "instructrec generate --data=games": _PUBLISHED,
    "instructrec train ...": _PART,
    "pip install": _SERVER,
    "instructrec show --tfds_data_dir=games": _PUBLISHED,
  },
  "docs/performance.md": {"instructrec preflight": _LIBTPU},
  "docs/pods.md": {
    "instructrec prepare": _GPUS,
    "instructrec generate": _GPUS,
    "instructrec preflight": _LIBTPU,
    "instructrec evaluate --model_dir=/shared": _GPUS,
  },
  "docs/python.md": {"instructrec rank": _NO_DATA},
  "docs/reranking.md": {
    "instructrec prepare": _NO_DATA,
    "instructrec retrieve candidates": _NO_DATA,
    "for split in": _NO_DATA,
    "instructrec evaluate": _NO_DATA,
  },
  "docs/results.md": {"": _PUBLISHED},
  "docs/t5x.md": {
    "instructrec preflight": _LIBTPU,
    "instructrec prepare": "needs T5X",
    "instructrec evaluate --model_dir": "needs T5X",
    "instructrec evaluate --gin_file": "needs T5X",
  },
  "docs/training.md": {"instructrec train": _NO_DATA},
  "docs/trust.md": {
    "instructrec evaluate": _NO_DATA,
    "INSTRUCTREC_MAX_LINE_BYTES": _NO_DATA,
  },
}
# Given behind those of the page: the last of two counts.
_SMALL = {
  "generate": ["--num_workers=1"],
  "train": ["--gin.TRAIN_STEPS=2", "--gin.WARMUP_STEPS=1"],
  "evaluate": ["--num_histories=5", "--num_validation=20"],
}
# What a page takes for granted, beside what stands in README.md.
_BEFORE = {
  "docs/checkpoints.md": "rm -r work/model; instructrec train "
  "--gin_file=gin/quickstart_token.gin --tfds_data_dir=work/instructions "
  "--model_dir=work/model --gin.BATCH_SIZE=2",
}


def blocks(page):
  """The shell blocks of a page that call `instructrec`."""
  text = (_ROOT / page).read_text()
  # Fences by pairs: the end of a Python block is no beginning.
  fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
  found = [block for language, block in fenced if not language]
  return [b for b in found if re.search(r"(?<!import )\binstructrec [a-z]", b)]


def why_left_out(page, block):
  reasons = LEFT_OUT.get(page, {})
  return next((r for b, r in reasons.items() if block.startswith(b)), None)


def pages():
  found = [*_ROOT.glob("*.md"), *_ROOT.glob("docs/*.md")]
  return sorted(str(p.relative_to(_ROOT)) for p in found)


def to_run(page):
  return [b for b in blocks(page) if why_left_out(page, b) is None]


PAGES = ["README.md", "docs/evaluation.md", "docs/checkpoints.md"]


def test_each_block_is_run_or_left_out_for_a_reason():
  """And no reason is given for what is not there."""
  for page, reasons in LEFT_OUT.items():
    for beginning in reasons:
      assert any(b.startswith(beginning) for b in blocks(page)), (
        f"{page} has no block that begins with {beginning!r}"
      )
  run = [page for page in pages() if to_run(page) and page in PAGES]
  rest = {
    page: to_run(page) for page in pages() if page not in PAGES and to_run(page)
  }
  rest.pop("CONTRIBUTING.md", None)  # docs_test.py registers its mixture.
  rest.pop("CHANGELOG.md", None)
  assert sorted(run) == sorted(PAGES)
  assert rest == {}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
  """A folder with the tables that README.md names, and `instructrec`."""
  folder = tmp_path_factory.mktemp("pages")
  draw = random.Random(0)
  things = (
    "kettle",
    "lamp",
    "puzzle",
    "robot",
    "train",
    "doll",
    "drum",
    "kite",
  )
  titles = ["First title", "Second title"] + [
    f"{colour} {thing}"
    for colour in ("Red", "Blue", "Green", "Wooden")
    for thing in things
  ]
  items = [(f"i{n}", title) for n, title in enumerate(titles)]
  rows, reviews = [], []
  for user in range(40):
    for step, (item, title) in enumerate(draw.sample(items, 12)):
      rows.append((f"u{user}", item, 1_500_000_000 + 86_400 * step + user))
      reviews.append(
        {
          "user_id": f"u{user}",
          "item_id": item,
          "rating": draw.randint(3, 5),
          "timestamp": rows[-1][2],
          "text": f"A sturdy {title.lower()}, good for a long train ride.",
        }
      )
  for name, header, lines in (
    ("interactions.tsv", ("user_id", "item_id", "timestamp"), rows),
    ("items.tsv", ("item_id", "title"), items),
  ):
    text = ["\t".join(map(str, line)) for line in (header, *lines)]
    (folder / name).write_text("\n".join(text) + "\n")
  with gzip.open(folder / "reviews.jsonl.gz", "wt") as file:
    file.writelines(json.dumps(review) + "\n" for review in reviews)
  command = folder / "bin" / "instructrec"
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
  return folder


def _run(folder, script):
  found = subprocess.run(
    ["bash", "-euxo", "pipefail", "-c", script],
    cwd=folder,
    env={
      **os.environ,
      "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
      "PYTHONPATH": str(_ROOT),
    },
    capture_output=True,
    text=True,
    check=False,
  )
  assert found.returncode == 0, f"{found.stdout}\n{found.stderr}"
  return found


@pytest.mark.slow
def test_the_commands_of_the_pages_run(shop):
  for page in PAGES:
    script = "\n".join([_BEFORE.get(page, ""), *to_run(page)])
    found = _run(shop, script)
    # Nothing of native libraries between our own lines.
    assert "oneDNN" not in found.stderr, page
    assert "absl::InitializeLog" not in found.stderr, page
  assert (shop / "comparison" / "report.md").exists()
