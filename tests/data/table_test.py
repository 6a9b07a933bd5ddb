"""Plain tables: columns, times, optional values, what is left out."""

import gzip
import json

import polars as pl
import pytest

from instructrec import limits
from instructrec.data import bad_rows, movielens, recbole, table

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
  assert log.frame["timestamp"].to_list() == [10_000_000, 20_000_000]
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
    r"Unix time or a date such as 2023-01-31 10:20:30 \(2 such rows\)",
  ):
    load(tmp_path)


def test_skipped_bad_rows_are_counted_and_reported(tmp_path):
  write(tmp_path, log__tsv=BAD, items__tsv=ITEMS)
  log, _, bad = load(tmp_path, policy="skip")
  assert log.sequences() == (["a", "c"], [["y", "x"], ["x"]])
  assert (len(bad), bad.num_emptied) == (3, 1)
  report = bad.report()
  assert "3 bad rows left out" in report
  assert "2 x" in report
  assert "found 'q', expected an item of the catalogue" in report
  assert "1 values that do not convert left empty" in report
  assert "line 7, field 'rating': found 'good', expected a number" in report


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ('[{"user_id":"a","item_id":"x"}]', r"line 1: found a list, .*`jq -c"),
    ('[\n{"user_id":"a","item_id":"x"}\n]', r"line 1: found '\[', .*`jq -c"),
    ('{\n"user_id": "a"}\n', "line 1: found '{', .* over many lines"),
    ("{}\n{}\n", "log.json does not parse as json: .* have no fields"),
  ],
)
def test_json_of_another_form_is_told_and_not_its_columns(
  tmp_path, content, message
):
  write(tmp_path, log__json=content, items__tsv=ITEMS)
  with pytest.raises(ValueError, match=message):
    load(tmp_path, log="log.json")


def test_missing_columns_are_named_all_at_once_with_their_option(tmp_path):
  write(
    tmp_path,
    orders__csv="who,item_id,when\na,x,1\n",
    products__csv="sku,name\nx,Chess\n",
  )
  with pytest.raises(ValueError, match="columns are missing") as error:
    load(tmp_path, "orders.csv", "products.csv", columns={"price": "cost"})
  text = str(error.value).replace(f"{tmp_path}/", "")
  assert "orders.csv has no 'user_id', but who, item_id, when;" in text
  assert "--column=interactions.user_id=NAME" in text
  assert (
    "products.csv has no 'item_id' and no 'title' and no 'cost', but sku, name;"
    in text
  )
  assert (
    "--column=items.item_id=NAME --column=items.title=NAME "
    "--column=items.price=NAME" in text
  )


def test_columns_are_named_for_each_table(tmp_path):
  write(
    tmp_path,
    orders__csv="customer,item_id,when,stars,shop\na,x,20,4,1\na,y,10,5,1\n",
    products__csv="sku,title\nx,Chess\ny,Go\n",
    reviews__csv="customer,item_id,said,stars\na,x,Fine,3\nb,x,Bad,1\n",
  )
  log, items, bad = load(
    tmp_path,
    "orders.csv",
    "products.csv",
    reviews=tmp_path / "reviews.csv",
    columns={
      "user_id": "customer",
      "items.item_id": "sku",
      "timestamp": "when",
      "rating": "",
      "reviews.rating": "stars",
      "reviews.text": "said",
    },
  )
  assert log.sequences() == (["a"], [["y", "x"]])
  assert log.frame["rating"].to_list() == [None, 3.0]
  assert log.frame["review"].to_list() == [None, "Fine"]
  assert items.item_ids == ["x", "y"]
  assert [note.split("/")[-1] for note in bad.notes] == [
    "orders.csv: nothing reads the columns stars, shop; --column names those "
    "that are meant",
    "reviews.csv belong to no interaction",
  ]
  assert "1 of the 2 reviews" in bad.notes[1]


@pytest.mark.parametrize(
  ("columns", "message"),
  [
    ({"usr_id": "who"}, r"--column=usr_id=.*nearest is user_id"),
    ({"orders.user_id": "who"}, r"nearest is \w+.user_id"),
    ({"items.title": ""}, "a table of items needs one"),
    ({"timestamp": "when"}, r"log.tsv has no 'when'"),
  ],
)
def test_names_that_name_nothing_are_refused(tmp_path, columns, message):
  write(tmp_path, log__tsv=INTERACTIONS, items__tsv=ITEMS)
  with pytest.raises(ValueError, match=message):
    load(tmp_path, columns=columns)


def test_tables_without_names_of_columns(tmp_path):
  """As `ratings.dat` and many `.txt` files are."""
  write(
    tmp_path, log__dat="a::x::5::20\na::y::4::10\n", items__txt="x|A\ny|B\n"
  )
  log, items, _ = load(
    tmp_path,
    "log.dat",
    "items.txt",
    no_header=("interactions", "items"),
    columns={
      "user_id": "1",
      "interactions.item_id": "2",
      "timestamp": "4",
      "items.item_id": "1",
      "items.title": "2",
    },
  )
  assert log.sequences() == (["a"], [["y", "x"]])
  assert items.titles == ["A", "B"]


def test_missing_files_are_what_the_message_is_about(tmp_path):
  write(tmp_path, log__tsv="no,columns\n", items__tsv=ITEMS)
  with pytest.raises(FileNotFoundError, match=r"no such file: .*none.tsv$"):
    load(tmp_path, items="none.tsv")
  with pytest.raises(
    FileNotFoundError, match=r"no such file: .*a.tsv, .*b.tsv$"
  ):
    load(tmp_path, log="a.tsv", items="b.tsv")
  with pytest.raises(FileNotFoundError, match="no such folder"):
    movielens.load(tmp_path / "ml")
  with pytest.raises(FileNotFoundError, match="no such folder"):
    recbole.load(tmp_path / "ml")
  write(tmp_path, log__tsv=INTERACTIONS)
  with pytest.raises(ValueError, match="expected 'error' or 'skip'"):
    load(tmp_path, policy="ignore")


OPTIONAL = (
  "item_id\ttitle\tprice\n1\tA\t-\n2\tB\t$3.00\n3\tC\tN/A\n4\tD\tNaN\n"
  "5\tE\t1,250.5\n6\tF\t\n7\tG\t3,50\n"
)


def test_optional_values_that_do_not_convert_are_empty_and_counted(tmp_path):
  """And cost neither their row nor what hangs on it, whatever the policy."""
  write(
    tmp_path,
    log__tsv="user_id\titem_id\trating\nu\t1\tNaN\nu\t3\t4\n",
    items__tsv=OPTIONAL,
  )
  log, items, bad = load(tmp_path)
  prices = items.frame["price"].to_list()
  assert prices == [None, 3.0, None, None, 1250.5, None, None]
  assert log.sequences() == (["u"], [["1", "3"]])
  assert log.frame["rating"].to_list() == [None, 4.0]
  assert (len(bad), bad.num_emptied) == (0, 5)
  report = bad.report()
  assert "4 x" in report
  assert "line 2, field 'price': found '-', expected a price" in report
  assert "line 2, field 'rating': found 'NaN', expected a number" in report


def test_titles_of_which_nothing_is_left_are_bad_rows(tmp_path):
  write(
    tmp_path,
    log__tsv="user_id\titem_id\nu\tx\nu\ty\n",
    items__tsv="item_id\ttitle\nx\t&nbsp; \ny\tGo\n",
  )
  with pytest.raises(
    bad_rows.BadRowError,
    match="line 2, field 'title': found '&nbsp; ', expected a title",
  ):
    load(tmp_path)
  log, items, bad = load(tmp_path, policy="skip")
  assert (items.item_ids, len(log), len(bad)) == (["y"], 1, 2)


def test_titles_and_ids_have_a_longest_form(tmp_path, monkeypatch):
  write(
    tmp_path,
    log__tsv=f"user_id\titem_id\nu\tx\n{'v' * 2001}\tx\n",
    items__tsv=f"item_id\ttitle\nx\tGo\ny\t{'long ' * 2001}\n",
  )
  with pytest.raises(
    bad_rows.BadRowError,
    match=r"line 3, field 'title': found 'long .*\.\.\.', expected at most "
    r"10,000 characters \(INSTRUCTREC_MAX_TITLE_CHARS\)",
  ):
    load(tmp_path)
  log, items, bad = load(tmp_path, policy="skip")
  assert (items.item_ids, len(log), len(bad)) == (["x"], 1, 2)
  monkeypatch.setenv("INSTRUCTREC_MAX_TITLE_CHARS", "20000")
  monkeypatch.setenv("INSTRUCTREC_MAX_ID_CHARS", "3000")
  assert len(load(tmp_path)[1]) == 2


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_lines_without_an_end_are_refused_by_name(tmp_path, monkeypatch, name):
  monkeypatch.setenv("INSTRUCTREC_MAX_LINE_BYTES", "1000")
  write(tmp_path, items__tsv=ITEMS)
  text = f"user_id,item_id\n{'u' * 1001},x\n".encode()
  path = tmp_path / name
  path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
  with pytest.raises(limits.LimitError, match=f"{name}, line 2: found"):
    load(tmp_path, log=name)


def test_nothing_left_is_said_in_words(tmp_path):
  write(
    tmp_path, log__tsv="user_id\titem_id\nu\tq\n", items__tsv=ITEMS, e__tsv=""
  )
  with pytest.raises(
    ValueError, match=r"no interactions are left of .*log.tsv; 1 bad rows"
  ):
    load(tmp_path, policy="skip")
  write(tmp_path, items__tsv="item_id\ttitle\n\t\n", log__tsv=INTERACTIONS)
  with pytest.raises(ValueError, match="no items are left of"):
    load(tmp_path, policy="skip")
  with pytest.raises(ValueError, match=r"e.tsv is empty"):
    load(tmp_path, log="e.tsv")


def times(folder, header, *rows):
  """The order of items and what was noted, of a table with these rows."""
  write(
    folder,
    log__csv="\n".join([header, *rows]) + "\n",
    items__csv="item_id,title\nx,A\ny,B\nz,C\n",
  )
  log, _, bad = load(folder, "log.csv", "items.csv")
  return "".join(log.sequences()[1][0]), bad.notes


@pytest.mark.parametrize(
  "moments",
  [
    ("1600000000.002", "1600000000.001", "1600000000.003"),
    ("1600000000002", "1600000000001", "1600000000003"),
    ("1600000000000002", "1600000000000001", "1600000000000003"),
    ("1600000000000002000", "1600000000000001000", "1600000000000003000"),
    ("2020-09-13T12:26:40.002Z", "2020-09-13T12:26:40.001Z",
     "2020-09-13T14:26:40.003+02:00"),
    ("2020-09-13 12:26:40.002", "2020-09-13 12:26:40.001",
     '"2020-09-13 12:26:40,003"'),
    ("2020-09-14", "2020-09-13", "2020-09-14 00:00:01"),
  ],
)  # fmt: skip
def test_the_order_within_a_second_is_kept(tmp_path, moments):
  """Else the true last item becomes history."""
  rows = [f"u,{i},{m}" for i, m in zip("xyz", moments, strict=True)]
  found, notes = times(tmp_path, "user_id,item_id,timestamp", *rows)
  assert (found, notes) == ("yxz", [])


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_parquet_datetimes_order_as_their_text_does(tmp_path, unit):
  moments = pl.Series(
    ["2020-09-13 12:26:40.002", "2020-09-13 12:26:40.001"]
  ).str.to_datetime(time_unit=unit)
  frame = pl.DataFrame(
    {"user_id": ["u", "u"], "item_id": [1.0, 2.0], "timestamp": moments}
  )
  frame.write_parquet(tmp_path / "log.parquet")
  write(tmp_path, items__csv="item_id,title\n1,A\n2,B\n")
  log, _, _ = load(tmp_path, "log.parquet", "items.csv")
  assert log.sequences() == (["u"], [["2", "1"]])
  assert log.frame["timestamp"].to_list() == [
    1_600_000_000_001_000,
    1_600_000_000_002_000,
  ]


def test_what_gives_the_order_is_said_where_no_times_do(tmp_path):
  order, (note,) = times(tmp_path, "user_id,item_id", "u,y", "u,x")
  assert order == "yx"
  assert note.endswith(
    "log.csv has no times: the order of the file is taken for that of time"
  )
  header = "user_id,item_id,timestamp"
  order, (note,) = times(tmp_path, header, "u,y,5", "u,x,5")
  assert order == "yx"
  assert "all times in" in note
  assert note.endswith("the order of the file is taken for that of time")
  header = "user_id,item_id,position"
  assert times(tmp_path, header, "u,y,2", "u,x,1") == ("xy", [])


def test_the_real_games_load_whole(shared_data):
  games = shared_data / "amazon_games"
  log, items, _ = table.load(
    games / "interactions.tsv",
    games / "items.tsv",
    games / "reviews.jsonl.gz",
  )
  assert (log.num_users, len(items), len(log)) == (50_546, 16_859, 440_264)
  assert log.frame["timestamp"].null_count() == len(log)
