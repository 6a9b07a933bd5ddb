"""Raw sources: RecBole, MovieLens, Amazon."""

import gzip
import json

import pytest

from instructrec.data import (
  amazon,
  bad_rows,
  movielens,
  raw_table,
  recbole,
)


def write(folder, **files):
  for name, text in files.items():
    path = folder / name.replace("__", ".")
    if path.suffix == ".gz":
      path.write_bytes(gzip.compress(text.encode()))
    else:
      path.write_text(text)
  return folder


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
    ("user\titem_id:token\n1\t7\n", "item_id:token\ttitle:token_seq\n7\tA\n",
     "t.inter has none of the fields user_id, but user, item_id;"),
    ("user_id:token\titem_id:token\n", "item_id:token\thead:token\n7\tA\n",
     "t.item has none of the fields title, movie_title, .*, but item_id, head"),
  ],
)  # fmt: skip
def test_recbole_headers_are_checked(tmp_path, inter, item, message):
  write(tmp_path, t__inter=inter, t__item=item)
  with pytest.raises(ValueError, match=message):
    recbole.load(tmp_path)


def test_recbole_needs_both_files(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"0 \*.inter files"):
    recbole.load(tmp_path)
  write(tmp_path, a__train__inter="", a__test__inter="")
  with pytest.raises(
    ValueError, match=r"2 \*.inter files, .*: a.test.inter, a.t"
  ):
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
    {"user_id": "u", "parent_asin": "A", "rating": 5.0, "timestamp": 100_000,
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
  assert (row.timestamp, row.rating) == (100_000_000, 5.0)
  assert row.review == "Yes fine"
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
  with pytest.raises(ValueError, match="expected those of 2014 or 2018"):
    amazon.load(tmp_path / "r.jsonl", tmp_path / "m.jsonl")


def amazon_items(folder, *rows):
  """The catalogue of metadata of 2018, with a review of item A."""
  review, meta = AMAZON["2018"]
  lines = [json.dumps({**meta, **row}) for row in rows]
  write(folder, r__jsonl=json.dumps(review), m__json="\n".join(lines))
  _, items, bad = amazon.load(folder / "r.jsonl", folder / "m.json")
  return items, bad


def test_amazon_lists_that_are_all_empty(tmp_path):
  items, bad = amazon_items(
    tmp_path,
    {"category": [], "description": [], "price": ""},
    {"asin": "B", "category": [], "description": [], "price": None},
  )
  assert [items[i].categories for i in "AB"] == [(), ()]
  assert [items[i].description for i in "AB"] == [None, None]
  assert (len(bad), bad.num_emptied) == (0, 0)


def test_amazon_prices_that_are_none_are_counted(tmp_path):
  items, bad = amazon_items(
    tmp_path, {"price": ".a-box{color:#fff}" * 99}, {"asin": "B", "price": "$5"}
  )
  assert [items[i].price for i in "AB"] == [None, 5.0]
  assert bad.num_emptied == 1
  assert len(bad.report()) < 400


NESTED = [["Toys & Games", "Puzzles"], ["Toys & Games", "Games", "Board Games"]]


@pytest.mark.parametrize("form", ["json", "python"])
def test_amazon_metadata_of_2014(tmp_path, form):
  """Paths of categories, in JSON or as Python writes its literals."""
  review, _ = AMAZON["2018"]
  meta = {
    "asin": "A", "title": "Kid's \"Chess\"", "price": 12.5, "brand": "Oak",
    "salesRank": {"Toys": 3}, "categories": NESTED, "description": "It's fine",
  }  # fmt: skip
  more = {"asin": "B", "title": "Go", "categories": [["Toys & Games"]]}
  dump = {"json": json.dumps, "python": repr}[form]
  write(
    tmp_path,
    r__json=json.dumps(review),
    m__json__gz=f"{dump(meta)}\n{dump(more)}",
  )
  _, items, bad = amazon.load(tmp_path / "r.json", tmp_path / "m.json.gz")
  item = items["A"]
  assert (item.title, item.brand, item.price) == ('Kid\'s "Chess"', "Oak", 12.5)
  assert item.categories == (
    "Toys & Games", "Puzzles", "Games", "Board Games"
  )  # fmt: skip
  assert item.description == "It's fine"
  assert items["B"].categories == ("Toys & Games",)
  assert bad.report() == "no bad rows"


def test_python_literals_are_parsed_and_not_evaluated(tmp_path):
  review, _ = AMAZON["2018"]
  made = tmp_path / "made"
  write(
    tmp_path,
    r__json=json.dumps(review),
    m__json="{'asin': 'A', 'title': 'Chess'}\n"
    f"{{'asin': 'B', 'title': open({str(made)!r}, 'w')}}\n",
  )
  with pytest.raises(
    ValueError, match=r"m.json, line 2: found .*expected a Py"
  ):
    amazon.load(tmp_path / "r.json", tmp_path / "m.json")
  assert not made.exists()


def test_amazon_reads_only_the_fields_that_it_uses(tmp_path):
  """Metadata of 2023 have as many fields of `details` as there are things."""
  review, _ = AMAZON["2023"]
  rows = [
    {
      "parent_asin": f"{i}",
      "title": f"{i}",
      "details": {f"key {i}": {"depth": i}},
    }
    for i in range(2000)
  ]
  write(
    tmp_path,
    r__jsonl=json.dumps({**review, "parent_asin": "7"}),
    m__jsonl="\n".join(map(json.dumps, rows)),
  )
  meta_table = raw_table.open_table(tmp_path / "m.jsonl")
  frame = meta_table.read(["parent_asin", "title"])
  assert frame.columns == [raw_table.ROW, "parent_asin", "title"]
  log, items, _ = amazon.load(tmp_path / "r.jsonl", tmp_path / "m.jsonl")
  assert (len(items), log.sequences()[1]) == (2000, [["7"]])
