"""What cannot be read is named in our words, with what to do."""

import io
import json
import zipfile

import numpy as np
import polars as pl
import pytest

from instructrec import checksums, records


class _Runs:
  """Writes a file when it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return open, (str(self.path), "w")


@pytest.mark.parametrize(
  ("content", "match"),
  [
    (b"", r"cannot be read: Expecting value"),
    (b'{"a": 1', "cannot be read: Expecting ',' delimiter"),
    (b"\xff\xfe\x00", "cannot be read: "),
    (b"[" * 100_000, "cannot be read: maximum recursion depth"),
    (b"[1]", "holds a list, expected a JSON object"),
    (b"{}", "lacks a, b; it has nothing"),
    (b'{"b": 1, "c": 1}', "lacks a; it has b, c"),
  ],
)
def test_a_record_that_is_none(tmp_path, content, match):
  path = tmp_path / "record.json"
  path.write_bytes(content)
  with pytest.raises(checksums.DamagedError, match=match) as error:
    records.read(path, keys=("a", "b"), remedy="make it again")
  assert str(path) in str(error.value)
  assert str(error.value).endswith("; make it again")


def test_a_record_is_read(tmp_path):
  path = tmp_path / "record.json"
  path.write_text(json.dumps({"a": "ü", "more": 1}))
  assert records.read(path, keys=["a"], remedy="") == {"a": "ü", "more": 1}
  with pytest.raises(checksums.DamagedError, match="is missing; make it"):
    records.read(tmp_path / "none.json", remedy="make it again")


def test_a_record_of_another_version_is_refused(tmp_path):
  path = tmp_path / "record.json"
  path.write_text(json.dumps({"version": 2}))
  assert records.read(path, expected={"version": 2}, remedy="") == {
    "version": 2
  }
  with pytest.raises(ValueError, match="has version 2, expected 3; make it"):
    records.read(path, expected={"version": 3}, remedy="make it again")
  with pytest.raises(checksums.DamagedError, match="lacks form; it has vers"):
    records.read(path, expected={"form": 1}, remedy="make it again")


def test_what_is_replaced_is_utf_8_in_every_locale(tmp_path, monkeypatch):
  """Whoever opens a run reads its settings as UTF-8."""
  monkeypatch.setattr(io, "text_encoding", lambda given, _=2: given or "ascii")
  records.replace(tmp_path / "config.gin", "A = '/home/josé/flan'\n")
  written = (tmp_path / "config.gin").read_bytes()
  assert written == "A = '/home/josé/flan'\n".encode()


def test_a_link_stays_one_where_its_file_is_replaced(tmp_path):
  (tmp_path / "kept").mkdir()
  (tmp_path / "kept/page.md").write_text("before\n")
  (tmp_path / "page.md").symlink_to("kept/page.md")
  records.replace(tmp_path / "page.md", "after\n")
  assert (tmp_path / "page.md").is_symlink()
  assert (tmp_path / "kept/page.md").read_text() == "after\n"


def test_arrays_of_objects_run_nothing_and_no_advice_to_allow_it(tmp_path):
  made, path = tmp_path / "made", tmp_path / "array.npy"
  np.save(path, np.array([_Runs(made)], object), allow_pickle=True)
  with (
    pytest.raises(
      checksums.DamagedError, match="objects are never opened"
    ) as e,
    records.reading(path, "make it again"),
  ):
    np.load(path)
  assert "allow_pickle" not in str(e.value)
  assert not made.exists()


@pytest.mark.parametrize(
  "read",
  [
    np.load,
    pl.read_parquet,
    zipfile.ZipFile,
    lambda path: {"a": path}["fingerprint"],
  ],
)
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"PAR1"])
def test_what_libraries_say_comes_with_the_file(tmp_path, read, content):
  path = tmp_path / "file"
  path.write_bytes(content)
  with (
    pytest.raises(checksums.DamagedError) as error,
    records.reading(path, "make it again"),
  ):
    read(path)
  text = str(error.value)
  assert text.startswith(f"{path} cannot be read: ")
  assert text.endswith("; make it again")
  assert "\n" not in text


def test_other_faults_are_not_taken_for_damage(tmp_path):
  with pytest.raises(ZeroDivisionError), records.reading(tmp_path, ""):
    1 / 0  # noqa: B018
  with (
    pytest.raises(checksums.DamagedError, match=r"^its own words$"),
    records.reading(tmp_path, "make it again"),
  ):
    raise checksums.DamagedError("its own words")
