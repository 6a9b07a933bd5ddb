"""Raw files: what they are told by, what is read, and what errors say."""

import gzip
import io
import os
import sys
import threading

import polars as pl
import pytest

from instructrec.data import raw_file, raw_table

ROWS = [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]


def read(path, wanted=("a", "b"), **options):
  """The rows of a table, and the line of each."""
  table = raw_table.open_table(path, **options)
  frame = table.read(wanted)
  lines = [table.line_of(row) for row in frame[raw_table.ROW]]
  return frame.drop(raw_table.ROW).to_dicts(), lines


def written(folder, name, content):
  path = folder / name
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return path


FORMS = {
  "t.csv": "a,b\n1,2\n3,4\n",
  "t.tsv": "a\tb\n1\t2\n3\t4\n",
  "semicolons.csv": "a;b\n1;2\n3;4\n",
  "tabs.txt": "a\tb\r\n1\t2\r\n3\t4\r\n",
  "commas.dat": "a,b\n1,2\n3,4",
  "bars.dat": "a|b\n1|2\n3|4\n",
  "colons.dat": "a::b\n1::2\n3::4\n",
  "typed.inter": "a:token\tb:float\n1\t2\n3\t4\n",
  "json.random": '{"a": 1, "b": 2}\n{"a": "3", "b": "4", "c": [1]}\n',
  "no_suffix": " a , b \n1,2\n3,4\n",
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", sorted(FORMS))
def test_what_a_file_is_is_told_by_its_content(tmp_path, name, bom, packed):
  content = bom + FORMS[name].encode() + b"\n\n"
  if packed:
    content = gzip.compress(content)
  rows, lines = read(written(tmp_path, name, content))
  assert rows == ROWS
  assert lines == ([1, 2] if "json" in name else [2, 3])


@pytest.mark.parametrize(
  ("name", "content", "lines"),
  [
    ("t.csv", 'a,b\n1,2\n\n3,"4"\n\n\n', [2, 4]),
    ("t.csv", '\n\r\na,b\n1,2\n\n3,4\n', [4, 6]),
    ("t.tsv", "a\tb\n\n1\t2\n3\t4\n\n", [3, 4]),
    ("t.jsonl", '\n{"a":1,"b":2}\n \n{"a":3,"b":4}\n\n', [2, 4]),
    ("t.dat", "a::b\n1::2\n\n3::4\n\n", [2, 4]),
  ],
)  # fmt: skip
def test_empty_lines_are_no_rows_and_count_as_lines(
  tmp_path, name, content, lines
):
  assert read(written(tmp_path, name, content)) == (ROWS, lines)


def test_lines_are_those_of_the_file_where_fields_have_several(tmp_path):
  path = written(tmp_path, "t.csv", 'a,b\n"x\ny",2\n3,4\n')
  assert read(path) == ([{"a": "x\ny", "b": "2"}, ROWS[1]], [2, 4])


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "dat", "parquet"])
def test_paths_are_literal(tmp_path, kind):
  """Neither patterns nor their neighbours are read."""
  folder = tmp_path / "[2023] a?b*"
  folder.mkdir()
  for name in ("log?", "logs", "[ab]", "a", "x*", "xy"):
    path = folder / f"{name}.{kind}"
    frame = pl.DataFrame({"a": [name], "b": ["2"]})
    if kind == "parquet":
      frame.write_parquet(path.open("wb"))
    elif kind == "jsonl":
      frame.write_ndjson(path.open("wb"))
    else:
      mark = {"csv": ",", "tsv": "\t", "dat": "::"}[kind]
      path.write_text(f"a{mark}b\n{name}{mark}2\n")
  for name in ("log?", "logs", "[ab]", "x*"):
    rows, _ = read(folder / f"{name}.{kind}")
    assert rows == [{"a": name, "b": "2"}]


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  written(tmp_path, "t.csv", FORMS["t.csv"])
  assert read("~/t.csv")[0] == ROWS
  with pytest.raises(FileNotFoundError, match=r"no such file: ~/none.csv"):
    read("~/none.csv")


@pytest.mark.parametrize("name", ["t.csv", "json.random", "colons.dat"])
def test_pipes_are_read(tmp_path, name):
  path = tmp_path / "pipe"
  os.mkfifo(path)
  writer = threading.Thread(target=lambda: path.write_text(FORMS[name]))
  writer.start()
  rows, _ = read(path)
  writer.join()
  assert rows == ROWS


def test_the_standard_input_is_read(monkeypatch):
  content = gzip.compress(b"\xef\xbb\xbf" + FORMS["t.csv"].encode())
  fed = io.TextIOWrapper(io.BytesIO(content))
  monkeypatch.setattr(sys, "stdin", fed)
  table = raw_table.open_table("-")
  assert table.name == "the standard input"
  assert table.read(["a", "b"]).drop(raw_table.ROW).to_dicts() == ROWS
  with pytest.raises(ValueError, match="holds one table"):
    raw_file.missing(["-", "-"])


def test_folders_and_devices_are_refused_by_name(tmp_path):
  with pytest.raises(ValueError, match="is a folder, expected a file"):
    read(tmp_path)
  with pytest.raises(ValueError, match="/dev/null is a device"):
    read("/dev/null")


JSON = "expected a JSON object a line"
WRONG = [
  ("t.csv", "a,b\n1,2\n1,2,3\n",
   r"t.csv, line 3: found 3 fields, expected 2: a, b; a field with ',' in it"),
  ("t.tsv", "a\tb\n1\t2\t3\n", r"t.tsv, line 2: found 3 fields, expected 2: a"),
  ("t.dat", "a::b\n1::2\n\n1::2::3\n", r"t.dat, line 4: found 3 fields"),
  ("t.csv", 'a,b\n1,2\n7,15" x\n',
   r"line 3: found a double quote in the middle of a field, '7,15\" x'"),
  ("t.csv", 'a,b\n1,2\n7,"15\n3,4\n',
   r"line 3: found '7,\"15\\n3,4', expected a double quote to be closed"),
  ("t.csv", "a,b\r1,2\r", "CR alone, expected LF"),
  ("t.csv", "a,a\n1,2\n", "two columns called 'a'"),
  ("t.csv", "", "t.csv is empty"),
  ("t.csv", " \n\n", "t.csv is empty"),
  ("t.txt", "hello\n", "no table: its first line 'hello' has no tab"),
  ("t.csv", "a,b\n1,é\n".encode("latin-1"),
   r"t.csv, line 2: found b'1,\\xe9', expected UTF-8"),
  ("t.csv.gz", gzip.compress("a,b\n1,2\n1,é\n".encode("latin-1"), mtime=0),
   r"t.csv.gz, line 3: found b'1,\\xe9', expected UTF-8"),
  ("t.jsonl", '{"a":1}\n{"b":"é"}\n'.encode("latin-1"), "line 2: found b.*UTF"),
  ("t.csv", "a,b\n1,2\n".encode("utf-16"), "t.csv is UTF-16, expected UTF-8"),
  ("t.tsv", "a\tb\n1\t2\n".encode("utf-16-be"), "t.tsv is UTF-16 or no text"),
  ("t.jsonl", '{"a":1}'.encode("utf-16-le"), "t.jsonl is UTF-16 or no text"),
  ("t.xlsx", b"PK\x03\x04rest", "a zip archive or a spreadsheet"),
  ("t.df", b"\x80\x04rest", "a pickle, .*runs whatever is in it"),
  ("t.csv.gz", gzip.compress(FORMS["t.csv"].encode() * 9999, mtime=0)[:-99],
   "t.csv.gz is gzipped and damaged, or ends too early"),
  ("t.parquet", b"a,b\n", "t.parquet is no Parquet file: it begins with b'a,b"),
  ("t.parquet", b"PAR1rest", "t.parquet is a damaged Parquet file"),
  ("t.jsonl", '{"a":1}\n\n{"a":NaN}\n',
   "t.jsonl, line 3: found NaN, expected a number or null: JSON has no NaN"),
  ("t.jsonl", '{"a":1}\n{"a":-Infinity}\n', "line 2: found -Infinity, exp"),
  ("t.jsonl", '{"a":1}\n{"a":1e999}\n', f"line 2: found .*1e999.*{JSON}"),
  ("t.jsonl", "{'a': None}\n", f"line 1: found a Python literal, .*{JSON}"),
  ("t.json", '[{"a":1},{"a":2}]\n', f"line 1: found a list, {JSON}: `jq"),
  ("t.json", '[\n{"a":1}\n]\n', f"line 1: found .\\[., {JSON}; the file is"),
  ("t.json", '{\n "a": 1\n}\n', f"line 1: found .{{., {JSON}; the file is one"),
  ("t.jsonl", '{"a":1}\n{"a":2', f"line 2: found the end in column 7, {JSON}"),
  ("t.jsonl", '{"a":1}\n{"a":1,}\n', f"line 2: found .* in column 8, {JSON}"),
  ("t.jsonl", '{"a":1}\n"a"\n', f"line 2: found '\"a\"', {JSON}"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), WRONG)
def test_errors_name_line_what_was_found_and_what_was_expected(
  tmp_path, name, content, message
):
  with pytest.raises(ValueError, match=message) as error:
    read(written(tmp_path, name, content))
  for word in ("truncate", "ignore_errors", "schema", "infer", "polars"):
    assert word not in str(error.value)
  assert name in str(error.value)


def test_only_what_is_wanted_is_read(tmp_path):
  path = written(tmp_path, "t.jsonl", '{"a":1,"z":{"y":[1]}}\n{"b":2}\n')
  assert read(path, ["a", "b", "q"])[0] == [
    {"a": "1", "b": None},
    {"a": None, "b": "2"},
  ]
  assert read(path, ["z"])[0] == [{"z": '{"y": [1]}'}, {"z": None}]
  path = written(tmp_path, "t.csv", "a,b,c\n1,2,3\n,,\n,x,\n")
  # A row of which nothing is read is still one: something stands there.
  assert read(path, ["a", "c"]) == (
    [{"a": "1", "c": "3"}, {"a": None, "c": None}],
    [2, 4],
  )


def test_parquet_has_types_of_its_own(tmp_path):
  frame = pl.DataFrame(
    {
      "bytes": [b"caf\xc3\xa9", None],
      "list": [["x", "y"], []],
      "struct": [{"k": 1}, None],
      "number": [1.0, None],
    }
  )
  frame.write_parquet(tmp_path / "t.parquet")
  rows, lines = read(tmp_path / "t.parquet", frame.columns)
  assert rows == [
    {"bytes": "café", "list": '["x", "y"]', "struct": '{"k": 1}', "number": 1},
    {"bytes": None, "list": "[]", "struct": None, "number": None},
  ]
  assert lines == [1, 2]
  frame.with_columns(bytes=pl.Series([b"\xff", b""])).write_parquet(
    tmp_path / "t.parquet"
  )
  with pytest.raises(
    ValueError, match=r"t.parquet does not parse as parquet: i"
  ):
    read(tmp_path / "t.parquet", ["bytes"])


def test_copies_of_pipes_do_not_stay(tmp_path, monkeypatch):
  monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
  path = written(tmp_path, "t.csv", b"\xef\xbb\xbf" + FORMS["t.csv"].encode())
  read(path)
  assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_fields_longer_than_those_of_csv_readers_are_read(tmp_path):
  long = "x" * 200_000
  path = written(tmp_path, "t.csv", f'a,b\n1,"{long}"\n3,4\n')
  rows, lines = read(path)
  assert rows == [{"a": "1", "b": long}, ROWS[1]]
  assert lines == [2, 3]
  path = written(tmp_path, "t.csv", f'a,"b\n1,{long}\n')
  with pytest.raises(ValueError, match=r"t.csv, line 1: found 'a,\"b.*closed"):
    read(path)
