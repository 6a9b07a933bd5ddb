"""Files that would fill the memory are told by name, and fill nothing."""

import gzip
import io
import tracemalloc

import polars as pl
import pytest

from instructrec import limits
from instructrec.data import bounded

_MEMORY = 12 * 2**20


@pytest.fixture
def checked():
  """Checks a file, and that this takes little memory whatever its size."""

  def check(path):
    tracemalloc.start()
    try:
      bounded.check(path)
    finally:
      peak = tracemalloc.get_traced_memory()[1]
      tracemalloc.stop()
      assert peak < _MEMORY

  return check


def bomb(path, line, megabytes):
  """A gzip file of many members, each a megabyte of the same line."""
  member = gzip.compress(line * (2**20 // len(line)), 9)
  path.write_bytes(member * megabytes)
  return path


def test_a_bomb_is_refused_long_before_its_end(tmp_path, checked):
  path = bomb(tmp_path / "x.tsv.gz", b"u\ti\t1\n", 200_000 // 50)
  assert path.stat().st_size < 10 * 2**20
  with pytest.raises(
    limits.LimitError,
    match=r"x\.tsv\.gz, unpacked: found [\d,]+ times its size, expected at "
    "most 200; set INSTRUCTREC_MAX_UNPACKING",
  ):
    checked(path)


def test_a_bomb_of_one_line_is_refused(tmp_path, checked):
  path = bomb(tmp_path / "x.json.gz", b"\0", 200)
  with pytest.raises(limits.LimitError, match=r"line 1: found 1[67],"):
    checked(path)


def test_text_that_packs_well_is_read(tmp_path, checked, monkeypatch):
  monkeypatch.setattr(bounded, "_FREE_BYTES", 2**16)
  rows = "".join(f"user{i}\titem{i % 999}\t{i * 7919}\n" for i in range(9000))
  path = tmp_path / "x.tsv.gz"
  path.write_bytes(gzip.compress(rows.encode()))
  checked(path)


def test_a_line_of_200_megabytes_is_refused(tmp_path, checked):
  path = tmp_path / "x.csv"
  with path.open("wb") as file:
    file.write(b"user_id,item_id\na,b\n")
    file.truncate(200 * 10**6)
  with pytest.raises(
    limits.LimitError,
    match=r"x\.csv, line 3: found .* bytes, expected at most 16,777,216; set "
    "INSTRUCTREC_MAX_LINE_BYTES",
  ):
    checked(path)


@pytest.mark.parametrize("longest", [1, 7, 100, bounded.PART - 1, bounded.PART])
@pytest.mark.parametrize("packed", [False, True])
def test_lines_are_measured_to_the_byte(longest, packed, tmp_path, monkeypatch):
  monkeypatch.setenv(limits.LINE_BYTES.variable, str(longest))
  pack = gzip.compress if packed else bytes
  path = tmp_path / "x"
  rest = b"\n" + b"\n".join([b"b" * longest] * 3)
  path.write_bytes(pack(b"a" * longest + rest))
  bounded.check(path)
  for number, text in (
    (1, b"a" * (longest + 1) + rest),
    (4, b"a" * longest + rest + b"b"),
    (5, b"a" * longest + rest + b"\n" + b"c" * (longest + 1) + b"\n"),
  ):
    path.write_bytes(pack(text))
    with pytest.raises(limits.LimitError, match=f"x, line {number}: found"):
      bounded.check(path)


def test_parts_are_the_file(tmp_path):
  content = b"".join(b"%d\n" % i for i in range(400_000))
  found = list(bounded.parts(io.BytesIO(content), "x"))
  assert len(found) > 2
  assert b"".join(found) == content


def test_the_size_of_a_whole_table_has_a_limit(tmp_path, monkeypatch):
  path = tmp_path / "x.tsv"
  path.write_bytes(b"a\tb\n" * 100)
  monkeypatch.setenv(limits.TABLE_BYTES.variable, "400")
  bounded.check(path)
  monkeypatch.setenv(limits.TABLE_BYTES.variable, "399")
  with pytest.raises(limits.LimitError, match=r"x\.tsv: found 400 bytes"):
    bounded.check(path)


def test_parquet_of_many_rows_in_few_bytes_is_refused(
  tmp_path, checked, monkeypatch
):
  monkeypatch.setattr(bounded, "_FREE_BYTES", 2**20)
  path = tmp_path / "x.parquet"
  pl.LazyFrame({"user_id": ["u"]}).select(
    pl.col("user_id").repeat_by(2_000_000).explode()
  ).collect().write_parquet(path)
  assert path.stat().st_size < 2**16
  with pytest.raises(limits.LimitError, match=r"x\.parquet, unpacked: found"):
    checked(path)


def test_rows_of_parquet_have_a_limit(tmp_path, monkeypatch):
  path = tmp_path / "x.parquet"
  pl.DataFrame({"a": range(10)}).write_parquet(path)
  bounded.check(path)
  monkeypatch.setenv(limits.TABLE_ROWS.variable, "9")
  with pytest.raises(limits.LimitError, match=r"x\.parquet: found 10 rows"):
    bounded.check(path)


def test_damaged_files_are_named(tmp_path):
  path = tmp_path / "x.gz"
  whole = gzip.compress(bytes(range(256)) * 4096)
  for content in (whole[:-20], whole[:200] + b"\0" * 99 + whole[299:]):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.gz is gzipped and damaged"):
      bounded.check(path)
  path.write_bytes(b"PAR1 and nothing else")
  with pytest.raises(ValueError, match=r"x\.gz is a damaged Parquet file"):
    bounded.check(path)


@pytest.mark.parametrize("text", ["-1", "0", "1.5", "many", "1" * 40, "\uff11"])
def test_a_limit_that_is_no_number_is_named(text, tmp_path, monkeypatch):
  monkeypatch.setenv(limits.LINE_BYTES.variable, text)
  (tmp_path / "x").write_bytes(b"a")
  with pytest.raises(
    ValueError, match=r"MAX_LINE_BYTES is .*expected a positive"
  ):
    bounded.check(tmp_path / "x")


def test_every_limit_has_a_name_of_its_own():
  names = [limit.variable for limit in limits.ALL]
  assert len(names) == len(set(names)) > 10
  assert all(name.startswith("INSTRUCTREC_MAX_") for name in names)
