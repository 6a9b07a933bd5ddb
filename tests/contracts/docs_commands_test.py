"""The commands of the documents, run as they stand there, on small data.

A page's blocks run in order, in one folder, through bash; pages go on with what
the commands of README.md made. Only data, steps and numbers of requests are
smaller: `_SMALL` says how. What cannot run here says why: `_LEFT_OUT`.
"""

import contextlib
import datetime
import gzip
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest

import instructrec

# Of the checkout: a wheel has no documents.
_DOCUMENTS = pathlib.Path(__file__).parents[2]
_PACKAGE = pathlib.Path(instructrec.__file__).parent.parent

_NETWORK = "what the network has"
_T5X = "T5X, or a checkpoint in the cloud"
_TPU = "the TPU compiler, for minutes"
_PUBLISHED = "real data, which are not part of the project"
_CHAT = "a chat server"
_MINUTES = "minutes"
# By page, the beginnings of blocks that are not run, and what they need.
_LEFT_OUT = {
  "docs/alignment.md": {
    "instructrec align": _MINUTES,
    "instructrec compare item_grpo": _MINUTES,
    "instructrec checkpoint export --source=work/control_xl": _T5X,
  },
  "docs/baselines.md": {
    "instructrec retrieve evaluate --data=games": _PUBLISHED,
  },
  "docs/checkpoints.md": {
    "instructrec checkpoint inspect --source=work/flan": _NETWORK,
    "instructrec generate": _NETWORK,
    "instructrec checkpoint import": _NETWORK,
    "hf download TinyLlama": _NETWORK,
  },
  "docs/control.md": {
    "instructrec train --gin_file=gin/control_cpu.gin --gin.NUM_ITEMS=400 \\\n"
    '  "--gin.MIXTURE': _MINUTES,
  },
  "docs/data.md": {"instructrec prepare --download": _NETWORK},
  "docs/evaluation.md": {
    "instructrec evaluate --model_dir=copy": _MINUTES,
    "instructrec compare work/seed_0": _MINUTES,
    "instructrec prepare": _MINUTES,
    "instructrec compare --seeds": _MINUTES,
  },
  "docs/generation.md": {"instructrec prepare": _MINUTES},
  "docs/instructions.md": {
    "instructrec train ...": "the rest of the command",
    "instructrec generate --data=games/prepared --output": "Apache Beam",
    "pip install 'instructrec[teacher]'": _CHAT,
  },
  "docs/performance.md": {"instructrec preflight": _TPU},
  "docs/pods.md": {
    "instructrec preflight": _TPU,
    "instructrec prepare": "minutes for several processes; see tests/launch",
    "instructrec generate": _NETWORK,
    "instructrec evaluate --model_dir=/shared": "several hosts",
  },
  "docs/reranking.md": {"": _MINUTES},
  "docs/results.md": {"": _PUBLISHED},
  "docs/serving.md": {
    "instructrec serve --model_dir=runs/quickstart": "a browser",
    "instructrec train --gin_file=gin/quickstart_token.gin": "PyTorch",
  },
  "docs/t5x.md": {
    "instructrec preflight": _TPU,
    "instructrec prepare": _T5X,
    "instructrec evaluate --model_dir": _T5X,
    "instructrec evaluate --gin_file": _T5X,
    "instructrec checkpoint export": _T5X,
  },
}
# What a page takes for granted beside what README.md makes.
_BEFORE = {
  "docs/baselines.md": "mkdir amazon_games; cp *.tsv *.gz amazon_games",
  "docs/checkpoints.md": """
    rm -r work/model
    instructrec train --gin_file=gin/quickstart_token.gin \\
      --tfds_data_dir=work/instructions --model_dir=work/model
    """,
  "docs/control.md": "mkdir control",
  "docs/evaluation.md": """
    mkdir work/a work/b
    cp -r work/model/report work/a
    cp -r work/model/report work/b
    for method in popularity itemknn; do
      instructrec retrieve fit --data=work/prepared --method=$method \\
        --output=work/$method
    done
    """,
  "docs/instructions.md": """
    mkdir games t5_vocab
    cp -r work/prepared games
    cp work/instructions/vocabulary/sentencepiece.model t5_vocab/spiece.model
    """,
}
# By the beginning of a command, what is given behind what the page says: of two
# counts the last one holds.
_SMALL = {
  "prepare": "--overwrite",
  "prepare --source=synthetic": "--num_users=60 --min_interactions=1 "
  "--keep_rare_items",
  "generate": "--num_workers=1 --overwrite",
  "generate --data=control": "--num_epochs=1",
  "train": "--gin.TRAIN_STEPS=2 --gin.WARMUP_STEPS=1 --gin.BATCH_SIZE=4 "
  "--gin.EVAL_STEPS=1 --gin.EVAL_LISTS=2",
  # By itself such a network writes hardly a title.
  "train --gin_file=gin/align_cpu.gin": "--gin.NUM_LISTS=2 "
  "--gin.list_objective.ListObjective.constrained=True",
  "evaluate": "--num_requests=6 --num_validation=9 --num_histories=3",
  # One with a wish, one without.
  "evaluate --model_dir=work": "--task_type=sequential_p1_i0 "
  "--task_type=personalized_search_p1_i1",
  "retrieve fit": "--num_trials=1 --max_epochs=1 --overwrite",
}
# Pages that go on with what the one before them made.
_CHAINS = (("docs/control.md", "docs/alignment.md"),)
_START, _DAY = 1_500_000_000, 86_400
_THINGS = "kettle lamp puzzle robot train doll drum kite boat ball".split()
_KINDS = "Red Blue Green White Black Wooden Woollen Silver Golden Small".split()


def blocks(page):
  """The shell blocks of a page that call `instructrec`, or its server.

  Where a block shows what is printed, its commands stand behind a $.
  """
  text = (_DOCUMENTS / page).read_text()
  # Fences by pairs: the end of a Python block is no beginning.
  fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
  shell = [block for language, block in fenced if language in ("", "sh")]
  shell = [
    "\n".join(re.findall(r"^\$ (.*)$", block, re.MULTILINE)) or block
    for block in shell
  ]
  ours = r"(?<!import )\binstructrec [a-z]|^curl "
  return [block for block in shell if re.search(ours, block)]


def _script(page):
  """What is run of a page."""
  left_out = tuple(_LEFT_OUT.get(page, ()))
  run = [block for block in blocks(page) if not block.startswith(left_out)]
  return "\n".join([_BEFORE.get(page, ""), *run]) if run else ""


def _chains():
  """All pages of which something is run but README.md, by what they need."""
  found = sorted(_DOCUMENTS.glob("docs/*.md"))
  names = [str(path.relative_to(_DOCUMENTS)) for path in found]
  later = [page for chain in _CHAINS for page in chain]
  alone = [(page,) for page in names if page not in later and _script(page)]
  return [
    *(pytest.param(c, marks=pytest.mark.minutes) for c in _CHAINS),
    *alone,
  ]


@pytest.mark.parametrize("page", _LEFT_OUT)
def test_what_is_left_out_is_there(page):
  for start in _LEFT_OUT[page]:
    assert any(b.startswith(start) for b in blocks(page)), start


def _log(items):
  """User, id, title, stars and Unix seconds of each interaction."""
  draw = random.Random(0)
  return [
    (f"u{user}", *item, draw.randint(3, 5), _START + _DAY * step + user)
    for user in range(60)
    for step, item in enumerate(draw.sample(items, 12))
  ]


def _tables():
  """By name, the tables of the pages: rows with their header first."""
  titles = ["First title", "Second title"]
  titles += [f"{kind} {thing}" for kind in _KINDS for thing in _THINGS]
  items = [(f"i{n}", title) for n, title in enumerate(titles)]
  log = _log(items)
  taken = [(user, item, time) for user, item, _, _, time in log]
  reviews = [
    (user, item, stars, f"A sturdy {title.lower()} for a long ride.", time)
    for user, item, title, stars, time in log
  ]
  day = datetime.datetime.fromtimestamp
  # With what a user took before it; of each user twelve.
  ids = [item for _, item, _ in taken]
  targets = [
    [
      (f"u{user}", f'"{ids[12 * user : 12 * user + n]}"', ids[12 * user + n])
      for user in range(60)
      for n in places
    ]
    for places in (range(1, 10), [10], [11])
  ]
  return {
    "interactions.tsv": [("user_id", "item_id", "timestamp"), *taken],
    "interactions.jsonl": [("user_id", "item_id", "timestamp"), *taken],
    "items.tsv": [("item_id", "title"), *items],
    "items.jsonl": [("item_id", "title"), *items],
    "reviews.jsonl.gz": [
      ("user_id", "item_id", "rating", "text"),
      *(row[:-1] for row in reviews),
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
    **{
      f"{split}.csv": [("user_id", "history_item_id", "item_id"), *rows]
      for split, rows in zip(("train", "valid", "test"), targets, strict=True)
    },
    "Video_Games.jsonl.gz": [
      ("user_id", "parent_asin", "rating", "text", "timestamp"),
      *((*row[:-1], 1000 * row[-1]) for row in reviews),
    ],
    "meta_Video_Games.jsonl.gz": [
      ("parent_asin", "title", "categories", "store", "price"),
      *((item, title, ["Games"], "Oakline", 12.99) for item, title in items),
      ("without", "", [], None, None),
    ],
    "requests.jsonl": [
      ("id", "history", "wish", "k"),
      ("u1", ["First title"], "a gift for my sister", 5),
    ],
  }


def _write(path, header, rows):
  """A table as what its suffix says."""
  if ".jsonl" in path.suffixes:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
      for row in rows:
        print(json.dumps(dict(zip(header, row, strict=True))), file=file)
    return
  between = {".tsv": "\t", ".csv": ",", ".dat": "::"}[path.suffix]
  lines = [between.join(map(str, row)) for row in (header, *rows)]
  path.write_text("\n".join([*lines, ""]))


# What users type, with `_SMALL` behind it. `serve` goes on in the background,
# once it is ready; a second one takes its place.
_COMMAND = """#!/bin/bash
told="$*"
{small}
run=({python} -m instructrec.cli.main "$@")
[ "$1" = serve ] || exec "${{run[@]}}"
[ -f server ] && kill $(cat server)
"${{run[@]}}" --port={port} > server.log 2>&1 &
echo $! > server
until {curl} --silent --fail --output /dev/null localhost:{port}/readyz; do
  kill -0 $! || {{ cat server.log; exit 1; }}
  sleep 0.2
done
"""
# Asks that server, and fails where it refuses.
_CURL = """#!/bin/bash
exec {curl} --silent --show-error --fail-with-body "${{@//:8000/:{port}}}"
"""


def _commands(folder):
  """Makes `instructrec`, `curl` and `pip` there, as scripts."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  small = "".join(
    f'case "$told " in "{begins}"*) set -- "$@" {options} ;; esac\n'
    for begins, options in _SMALL.items()
  )
  parts = {"python": sys.executable, "port": port, "small": small}
  parts["curl"] = shutil.which("curl")
  folder.mkdir()
  for name, text in (
    ("instructrec", _COMMAND),
    ("curl", _CURL),
    ("pip", "#!/bin/bash\n"),
  ):
    (folder / name).write_text(text.format(**parts))
    (folder / name).chmod(0o755)


def _run(folder, page):
  """Runs a page; its output is part of what a failure says."""
  environment = {
    **os.environ,
    "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": f"{folder}{os.pathsep}{_PACKAGE}",
    "DOCUMENTS": str(_DOCUMENTS),
  }
  # What users have not set, and what they then see.
  environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
  found = subprocess.run(
    ["bash", "-euxo", "pipefail", "-c", _script(page)],
    cwd=folder,
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


@pytest.fixture(scope="module")
def shop(made_once):
  """A folder with the tables that the pages name, after README.md."""
  if shutil.which("curl") is None:
    pytest.skip("no curl, which docs/serving.md has")

  def make(folder):
    for name, (header, *rows) in _tables().items():
      _write(folder / name, header, rows)
    (folder / "my_tasks.py").write_text("import tasks.instructrec\n")
    _commands(folder / "bin")
    _run(folder, "README.md")

  return made_once("shop", make)


@pytest.mark.slow
@pytest.mark.parametrize("pages", _chains(), ids=" ".join)
def test_the_commands_of_the_pages_run(shop, tmp_path, pages):
  if "docs/serving.md" in pages:
    pytest.importorskip("fastapi", reason="needs the [serve] extra")
  folder = shutil.copytree(shop, tmp_path / "shop")
  try:
    for page in pages:
      _run(folder, page)
  finally:
    if (folder / "server").exists():
      # One that ended by itself is what failed above, and says why.
      with contextlib.suppress(ProcessLookupError):
        os.kill(int((folder / "server").read_text()), signal.SIGTERM)
