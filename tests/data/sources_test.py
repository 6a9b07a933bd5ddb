"""Raw sources: tables, RecBole, MovieLens, Amazon."""

import gzip
import json

import polars as pl
import pytest

from instructrec.data import amazon, bad_rows, movielens, recbole, table

INTERACTIONS = "user_id\titem_id\ttimestamp\trating\na\tx\t20\t4\na\ty\t10\t5\n"
ITEMS = (
  'item_id\ttitle\tcategories\tprice\nx\t15" Chess\tGames > Board\t9.5\n'
  "y\tGo\t\t\n"
)


def write(folder, **files):
  for name, text in files.items():
    path = folder / name.replace("__", ".")
    if path.suffix == ".gz":
      path.write_bytes(gzip.compress(text.encode()))
    else:
      path.write_text(text)
  return folder


def load(folder, log="log.tsv", items="items.tsv", **changes):
  return table.load(folder / log, folder / items, **changes)


def test_a_table_gives_log_and_catalogue(tmp_path):
  write(tmp_path, log__tsv=INTERACTIONS, items__tsv=ITEMS)
  log, items, bad = load(tmp_path)
  assert log.sequences() == (["a"], [["y", "x"]])
  assert log.frame["timestamp"].to_list() == [10, 20]
  assert items["x"].title == '15" Chess'
  assert items["x"].categories == ("Games", "Board")
  assert items["x"].price == 9.5
  assert items["y"].categories == ()
  assert bad.report() == "no bad rows"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "tsv.gz"])
def test_all_kinds_of_file_give_the_same_log(tmp_path, kind):
  write(tmp_path, log__tsv=INTERACTIONS, items__tsv=ITEMS)
  frame = pl.read_csv(tmp_path / "log.tsv", separator="\t")
  path = tmp_path / f"other.{kind}"
  if kind == "csv":
    frame.write_csv(path)
  elif kind == "jsonl":
    frame.write_ndjson(path)
  elif kind == "parquet":
    frame.write_parquet(path)
  else:
    path.write_bytes(gzip.compress(INTERACTIONS.encode()))
  expected, _, _ = load(tmp_path)
  found, _, _ = load(tmp_path, log=path.name)
  assert found.frame.equals(expected.frame)


def test_reviews_join_by_user_and_item_and_leave_times_alone(tmp_path):
  reviews = [
    {
      "user_id": "a",
      "item_id": "x",
      "rating": 2.0,
      "summary": "Hm",
      "text": "no",
    },
    {"user_id": "b", "item_id": "x", "rating": 1.0, "summary": "", "text": "z"},
  ]
  write(
    tmp_path,
    log__tsv="user_id\titem_id\tposition\na\tx\t1\na\ty\t0\n",
    items__tsv=ITEMS,
    reviews__jsonl__gz="\n".join(map(json.dumps, reviews)),
  )
  log, _, _ = load(tmp_path, reviews=tmp_path / "reviews.jsonl.gz")
  assert log.frame["review"].to_list() == [None, "Hm no"]
  assert log.frame["rating"].to_list() == [None, 2.0]
  assert log.frame["timestamp"].null_count() == 2


BAD = INTERACTIONS + "a\tx\tsoon\t4\na\tx\t\t4\nb\tq\t30\t3\nc\tx\t40\tgood\n"


def test_a_bad_row_is_named_by_file_line_field_found_expected(tmp_path):
  write(tmp_path, log__tsv=BAD, items__tsv=ITEMS)
  with pytest.raises(
    bad_rows.BadRowError,
    match=r"log.tsv, line 4, field 'timestamp': found 'soon', expected a "
    r"whole number \(Unix seconds\) \(2 such rows\)",
  ):
    load(tmp_path)


def test_skipped_bad_rows_are_counted_and_reported(tmp_path):
  write(tmp_path, log__tsv=BAD, items__tsv=ITEMS)
  log, _, bad = load(tmp_path, policy="skip")
  assert len(log) == 2
  assert len(bad) == 4
  report = bad.report()
  assert "4 bad rows left out" in report
  assert "2 x" in report
  assert "found 'good', expected a number" in report
  assert "found 'q', expected an item of the catalogue" in report


def test_a_missing_column_or_file_is_named(tmp_path):
  write(tmp_path, log__tsv=INTERACTIONS, items__tsv=ITEMS, odd__txt="x")
  with pytest.raises(ValueError, match="but not 'customer'"):
    load(tmp_path, columns={"user_id": "customer"})
  with pytest.raises(FileNotFoundError, match="no such file"):
    load(tmp_path, log="none.tsv")
  with pytest.raises(ValueError, match=r"is no \.tsv"):
    load(tmp_path, log="odd.txt")
  with pytest.raises(ValueError, match="no column 'text'"):
    load(tmp_path, reviews=tmp_path / "log.tsv")
  with pytest.raises(ValueError, match="expected 'error' or 'skip'"):
    load(tmp_path, policy="ignore")


def test_recbole_atomic_files(tmp_path):
  write(
    tmp_path,
    toy__inter="user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    "1\t7\t4.0\t1.26e9\n1\t8\t3.0\t1250000000\n",
    toy__item="item_id:token\tmovie_title:token_seq\tclass:token_seq\n"
    "7\tHeat (1995)\tAction Crime\n8\tBig (1988)\tComedy\n",
  )
  log, items, _ = recbole.load(tmp_path)
  assert log.sequences()[1] == [["8", "7"]]
  assert items["7"].categories == ("Action", "Crime")


@pytest.mark.parametrize(
  ("inter", "item", "message"),
  [
    ("user_id\titem_id:token\n1\t7\n", "item_id:token\ttitle:token_seq\n7\tA\n",
     "header field 'user_id' has no type"),
    ("user_id:token\titem_id:token\n", "item_id:token\thead:token\n7\tA\n",
     "none of the fields"),
  ],
)  # fmt: skip
def test_recbole_headers_are_checked(tmp_path, inter, item, message):
  write(tmp_path, t__inter=inter, t__item=item)
  with pytest.raises(ValueError, match=message):
    recbole.load(tmp_path)


def test_recbole_needs_both_files(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"0 \*.inter files"):
    recbole.load(tmp_path)


GENRES = "|0" * 19
MOVIELENS = {
  "latest": {
    "ratings__csv": "userId,movieId,rating,timestamp\n1,7,4.0,20\n1,8,3.5,10\n",
    "movies__csv": 'movieId,title,genres\n7,"Heat, The",Action|Crime\n'
    "8,Big,(no genres listed)\n",
  },
  "1m": {
    "ratings__dat": "1::7::4.0::20\n1::8::3.5::10\n",
    "movies__dat": "7::Heat, The::Action|Crime\n8::Big::\n",
  },
  "100k": {
    "u__data": "1\t7\t4.0\t20\n1\t8\t3.5\t10\n",
    "u__item": "7|Heat, The|||x|0|1|0|0|0|0|1" + "|0" * 12 + "\n"
    "8|Big|||x" + GENRES + "\n",
  },
}


@pytest.mark.parametrize("layout", sorted(MOVIELENS))
def test_movielens_layouts(tmp_path, layout):
  write(tmp_path, **MOVIELENS[layout])
  log, items, _ = movielens.load(tmp_path)
  assert log.sequences() == (["1"], [["8", "7"]])
  assert log.frame["rating"].to_list() == [3.5, 4.0]
  assert items["7"].title == "Heat, The"
  assert items["7"].categories == ("Action", "Crime")
  assert items["8"].categories == ()


@pytest.mark.parametrize(
  ("layout", "encoding"),
  [("100k", "latin-1"), ("1m", "latin-1"), ("1m", "utf-8")],
)
def test_movielens_titles_keep_their_letters(tmp_path, layout, encoding):
  """100K and 1M are Latin-1; 10M has the files of 1M in UTF-8."""
  # In UTF-8 its first letter ends in 0x85, for `splitlines` an end of line.
  title = "Åsa och Misérables, Les (1995)"
  for name, text in MOVIELENS[layout].items():
    text = text.replace("Heat, The", title)
    (tmp_path / name.replace("__", ".")).write_bytes(text.encode(encoding))
  _, items, _ = movielens.load(tmp_path)
  assert items["7"].title == title


@pytest.mark.parametrize("name", ["items.csv", "items.csv.gz", "items.jsonl"])
def test_letters_that_are_no_utf8_are_named_and_not_lost(tmp_path, name):
  lines = ["item_id,title", "1,Chess", "2,Misérables"]
  if "jsonl" in name:
    lines = ["{}", '{"title": "Chess"}', '{"title": "Misérables"}']
  content = "\n".join(lines).encode("latin-1")
  path = tmp_path / name
  path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
  with pytest.raises(
    ValueError, match=rf"{name}, line 3: found .*Mis\\xe9', expected UTF-8"
  ):
    table.read_text(path)


def test_another_folder_is_no_movielens(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"none of ratings\.csv"):
    movielens.load(tmp_path)


AMAZON = {
  "2018": (
    {"reviewerID": "u", "asin": "A", "overall": 5.0, "unixReviewTime": 100,
     "reviewText": "fine", "summary": "Yes"},
    {"asin": "A", "title": "<b>Chess</b>", "category": ["Toys", "Games"],
     "brand": "Oak", "price": "$1,012.50", "description": ["a", "b"]},
  ),
  "2023": (
    {"user_id": "u", "parent_asin": "A", "rating": 5.0, "timestamp": 100_999,
     "text": "fine", "title": "Yes"},
    {"parent_asin": "A", "title": "Chess", "categories": ["Toys", "Games"],
     "store": "Oak", "price": 1012.5, "description": ["a", "b"]},
  ),
}  # fmt: skip


@pytest.mark.parametrize("year", sorted(AMAZON))
def test_amazon_schemas_give_the_same(tmp_path, year):
  review, meta = AMAZON[year]
  write(
    tmp_path,
    reviews__jsonl__gz=json.dumps(review) + "\n",
    meta__json=json.dumps(meta) + "\n",
  )
  log, items, _ = amazon.load(
    tmp_path / "reviews.jsonl.gz", tmp_path / "meta.json"
  )
  (row,) = log
  assert (row.timestamp, row.rating, row.review) == (100, 5.0, "Yes fine")
  item = items["A"]
  assert (item.title, item.brand, item.price) == ("Chess", "Oak", 1012.5)
  assert item.categories == ("Toys", "Games")
  assert item.description == "a b"


def test_amazon_items_without_title_are_bad_rows(tmp_path):
  review, meta = AMAZON["2018"]
  write(
    tmp_path,
    r__jsonl=json.dumps(review),
    m__jsonl=json.dumps(meta)
    + "\n"
    + json.dumps({**meta, "asin": "B", "title": ""}),
  )
  with pytest.raises(bad_rows.BadRowError, match=r"line 2, field 'title'"):
    amazon.load(tmp_path / "r.jsonl", tmp_path / "m.jsonl")
  _, items, bad = amazon.load(
    tmp_path / "r.jsonl", tmp_path / "m.jsonl", policy="skip"
  )
  assert items.item_ids == ["A"]
  assert len(bad) == 1


def test_other_files_are_no_amazon_reviews(tmp_path):
  write(tmp_path, r__jsonl='{"a": 1}', m__jsonl='{"a": 1}')
  with pytest.raises(ValueError, match="expected those of 2018"):
    amazon.load(tmp_path / "r.jsonl", tmp_path / "m.jsonl")


def test_the_real_games_load_whole(shared_data):
  games = shared_data / "amazon_games"
  log, items, _ = table.load(
    games / "interactions.tsv",
    games / "items.tsv",
    games / "reviews.jsonl.gz",
  )
  assert (log.num_users, len(items), len(log)) == (50_546, 16_859, 440_264)
  assert log.frame["timestamp"].null_count() == len(log)
