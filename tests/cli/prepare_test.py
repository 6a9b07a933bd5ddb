"""`instructrec prepare` on files as people have them."""

import functools
import hashlib
import http.server
import json
import subprocess
import sys
import threading
import zipfile

import polars as pl
import pytest
from typer.testing import CliRunner

from instructrec.cli import main
from instructrec.data import dataset, download

USERS = 12
ITEMS = [f"i{n}" for n in range(30)]


def call(*args):
  return CliRunner().invoke(main.app, ["prepare", *map(str, args)])


@pytest.fixture
def shop(tmp_path):
  """Orders and products of a shop, in a folder with an odd name."""
  folder = tmp_path / "[2023] a?b*"
  folder.mkdir()
  orders = ["customer;item_id;when;stars;shop"]
  for user in range(USERS):
    for place in range(6):
      item = ITEMS[(user + 3 * place) % len(ITEMS)]
      when = f"2023-01-{place + 1:02d} 10:00:00.{place:03d}"
      orders.append(f"u{user};{item};{when};{place % 5 + 1};1")
  orders.append(f"u0;{ITEMS[0]};2023-02-01;5;1")
  (folder / "orders.csv").write_text("\n".join(orders) + "\n\n")
  products = ["sku,title,price"]
  products += [f"{item},Title {item},$1{n}.50" for n, item in enumerate(ITEMS)]
  (folder / "products.csv").write_text("\ufeff" + "\n".join(products) + "\n")
  return folder


OPTIONS = [
  "--source=table",
  "--column=user_id=customer",
  "--column=items.item_id=sku",
  "--column=timestamp=when",
  "--column=rating=stars",
  "--min_interactions=1",
]


def files(shop):
  return [f"--input={shop}/orders.csv", f"--items={shop}/products.csv"]


def test_a_shop_is_read_and_said(shop):
  output = shop / "out"
  found = call(*OPTIONS, *files(shop), f"--output={output}", "--repeats=keep")
  assert found.exit_code == 0, found.output
  text = " ".join(found.output.split())
  for part in (
    "73 interactions of 12 users with 30 items, from 2023-01-01 10:00:00 to "
    "2023-02-01 00:00:00",
    "orders.csv: nothing reads the columns shop",
    "repeats: 1 interactions with an item that the user had taken before kept",
    "requests: {'train': 37, 'validation': 12, 'test': 12}",
  ):
    assert part in text
  prepared = dataset.load(output)
  assert prepared.catalog["i0"].price == 10.5
  assert prepared.manifest["repeats"] == "keep"
  assert "nothing reads" in prepared.manifest["source"]["notes"][0]
  last = prepared.log.frame.filter(pl.col("user_id") == "u0")["item_id"]
  assert last.to_list()[-1] == last.to_list()[0] == "i0"


def test_ratings_and_dates_choose_what_counts(shop):
  output = shop / "out"
  found = call(*OPTIONS, *files(shop), f"--output={output}", "--min_rating=2")
  assert found.exit_code == 0, found.output
  assert "rated below 2, or not at all: 24 interactions" in found.output
  log = dataset.load(output).log.frame
  assert log["rating"].min() == 2
  assert log.filter(pl.col("timestamp") % 1_000_000 == 1000).height == USERS


def test_tables_come_through_pipes(shop):
  """The standard input and a substituted process, in a shell."""
  command = (
    f"cat '{shop}/orders.csv' | '{sys.executable}' -m instructrec.cli.main "
    f"prepare {' '.join(OPTIONS)} --input=- --items=<(gzip -c "
    f"'{shop}/products.csv') --output='{shop}/out'"
  )
  found = subprocess.run(
    ["bash", "-c", command], capture_output=True, text=True, check=False
  )
  assert found.returncode == 0, found.stderr
  assert len(dataset.load(shop / "out").log) == 72


def test_a_tilde_in_an_option_is_the_home_folder(shop, monkeypatch, tmp_path):
  """Shells expand it at the start of a word alone."""
  monkeypatch.setenv("HOME", str(shop))
  monkeypatch.chdir(tmp_path)
  paths = ["--input=~/orders.csv", "--items=~/products.csv", "--output=~/out"]
  found = call(*OPTIONS, *paths)
  assert found.exit_code == 0, found.output
  assert (shop / "out" / dataset.MARKER).is_file()
  assert [path.name for path in tmp_path.iterdir()] == [shop.name]
  unknown = call(*OPTIONS, *paths[:2], "--output=~nobody_at_all/out")
  assert isinstance(unknown.exception, ValueError)
  assert "~nobody_at_all/out: " in str(unknown.exception)


@pytest.fixture
def movielens_server(tmp_path, monkeypatch):
  """Serves a small MovieLens on this machine."""
  folder = tmp_path / "served"
  folder.mkdir()
  ratings = [
    f"{user}::{(user + place) % 9}::{place % 5 + 1}::{place}"
    for user in range(5)
    for place in range(5)
  ]
  movies = [f"{movie}::Movie {movie} (1999)::Drama" for movie in range(20)]
  with zipfile.ZipFile(folder / "ml-1m.zip", "w") as file:
    file.writestr("ml-1m/ratings.dat", "\n".join(ratings))
    file.writestr("ml-1m/movies.dat", "\n".join(movies))
  content = (folder / "ml-1m.zip").read_bytes()
  checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
  monkeypatch.setitem(download._MOVIELENS, "ml-1m", checksum)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  handler = functools.partial(
    http.server.SimpleHTTPRequestHandler, directory=folder
  )
  server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
  serve = functools.partial(server.serve_forever, poll_interval=0.02)
  thread = threading.Thread(target=serve)
  thread.start()
  url = f"http://127.0.0.1:{server.server_port}"
  monkeypatch.setenv(download.MIRROR, url)
  yield checksum
  server.shutdown()
  server.server_close()
  thread.join()


def test_a_published_set_is_fetched_and_prepared(movielens_server, tmp_path):
  options = ["--min_interactions=1", f"--output={tmp_path / 'out'}"]
  found = call("--download=ml-1m", *options)
  assert found.exit_code == 0, found.output
  source = dataset.load(tmp_path / "out").manifest["source"]
  assert (source["kind"], source["download"]) == ("movielens", "ml-1m")
  assert source["checksums"] == {"ml-1m.zip": movielens_server}
  options[1] = f"--output={tmp_path / 'other'}"
  found = call("--download=ml-1m", "--source=movielens", *options)
  assert "--download=ml-1m brings its own files" in str(found.exception)
  found = call(f"--output={tmp_path / 'other'}")
  assert "pass --source with your files, or" in str(found.exception)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (["--input=none.csv"], "no such file: none.csv"),
    (
      ["--column=interactions.user_id=who"],
      "has no 'who', but customer, item_id, when",
    ),
    (["--column=usr=who"], "no table has a field of that name"),
    (["--column=items.item_id=sku"], "twice"),
    (["--min_rating=9"], "no interactions are left with a rating of 9"),
    (["--min_interactions=9"], "no interactions are left with at least 9"),
    (["--source=movielens"], "source movielens does not read --items"),
  ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
  shop, changes, message
):
  options = [*OPTIONS, *files(shop), f"--output={shop}/out", *changes]
  found = call(*options)
  assert found.exit_code != 0
  assert message in f"{found.exception} {found.output}"
  assert not (shop / "out").exists()


def test_too_few_users_leave_nothing_behind(tmp_path):
  rows = [{"user_id": f"u{n}", "item_id": f"i{n % 2}"} for n in range(4)]
  log, items = tmp_path / "log.jsonl", tmp_path / "items.jsonl"
  log.write_text("\n".join(map(json.dumps, rows)))
  items.write_text('{"item_id":"i0","title":"A"}\n{"item_id":"i1","title":"B"}')
  options = [f"--input={log}", f"--items={items}", "--min_interactions=1"]
  command = [
    *(sys.executable, "-m", "instructrec.cli.main", "prepare"),
    *("--source=table", *options, f"--output={tmp_path / 'out'}"),
  ]
  found = subprocess.run(command, capture_output=True, text=True, check=False)
  assert found.returncode == 1
  assert "the order of the file is taken for that of time" in found.stdout
  assert (
    "leaves no train and no validation and no test requests" in found.stderr
  )
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    "items.jsonl",
    "log.jsonl",
  ]
