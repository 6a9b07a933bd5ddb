"""Lists of hashes are those of `sha256sum`, and find whatever was changed."""

import hashlib
import shutil
import subprocess

import pytest

from instructrec import checksums


@pytest.fixture
def folder(tmp_path):
  root = tmp_path / "folder"
  (root / "deep" / "er").mkdir(parents=True)
  (root / "a").write_bytes(b"first")
  (root / "deep" / "er" / "b c").write_bytes(b"second")
  (root / "deep" / ".zarray").write_bytes(b"")
  checksums.write(root)
  return root


def refused(root, match, **options):
  with pytest.raises(checksums.DamagedError, match=match) as error:
    checksums.verify(root, "make it again", **options)
  assert str(error.value).endswith("make it again")


def with_a_bit_changed(content):
  """The content with one bit changed, in each byte another one."""
  for place in range(len(content)):
    changed = bytearray(content)
    changed[place] ^= 1 << place % 8
    yield bytes(changed)


def test_the_list_is_that_of_sha256sum(folder):
  names = ("a", "deep/.zarray", "deep/er/b c")
  assert (folder / checksums.FILE).read_text() == "".join(
    f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
    for name in names
  )
  checksums.verify(folder, "make it again")
  program = shutil.which("sha256sum")
  if program is None:
    pytest.skip("no sha256sum on this machine")
  command = [program, "--check", "--strict", checksums.FILE]
  subprocess.run(command, cwd=folder, check=True, capture_output=True)


def test_a_list_of_sha256sum_is_read(folder):
  text = (folder / checksums.FILE).read_text()
  (folder / checksums.FILE).write_text(text.replace("  ", " *./"))
  checksums.verify(folder, "make it again")


def test_every_byte_of_files_and_list_counts(tmp_path, monkeypatch):
  monkeypatch.setattr(checksums, "_digest", checksums._hash)
  (tmp_path / "a").write_bytes(b"content")
  checksums.write(tmp_path)
  for name in ("a", checksums.FILE):
    content = (tmp_path / name).read_bytes()
    for changed in with_a_bit_changed(content):
      (tmp_path / name).write_bytes(changed)
      refused(tmp_path, "make it again")
    (tmp_path / name).write_bytes(content)
    checksums.verify(tmp_path, "make it again")


@pytest.mark.parametrize("length", [0, 1, 63, 68, 69, 70, 100])
def test_a_list_that_was_cut_is_named(folder, length):
  text = (folder / checksums.FILE).read_text()
  assert text.index("\n") == 67
  (folder / checksums.FILE).write_text(text[:length])
  refused(folder, checksums.FILE)


@pytest.mark.parametrize(
  ("name", "change", "match"),
  [
    (
      "a",
      lambda path: path.unlink(),
      "folder/a is missing, expected by .*SHA256SUMS",
    ),
    ("a", lambda path: path.write_bytes(b""), "folder/a is .*: it is empty"),
    ("a", lambda path: path.write_bytes(b"\0" * 5), "folder/a is damaged"),
    ("new", lambda path: path.write_bytes(b""), "folder/new is not listed"),
    (checksums.FILE, lambda path: path.unlink(), "SHA256SUMS is missing"),
    (
      checksums.FILE,
      lambda path: path.write_text(f"{'0' * 64}  ../folder/a\n"),
      "SHA256SUMS is damaged: line 1 is .*'",
    ),
  ],
)
def test_what_is_wrong_is_said_with_the_file(folder, name, change, match):
  change(folder / name)
  refused(folder, match)


def test_only_what_is_asked_for_is_checked(folder):
  (folder / "a").write_bytes(b"other")
  (folder / "new").write_bytes(b"")
  checksums.verify(folder, "", names=["deep", "deep/er/b c"])
  refused(folder, "folder/a is damaged", names=["a", "deep"])
  refused(folder, "folder/new is not listed", names=["new"])
  refused(folder, "folder/never is missing", names=["never"])
  (folder / "deep" / "more").write_bytes(b"")
  refused(folder, "deep/more is not listed", names=["deep"])


def test_hidden_files_may_come_later(folder):
  (folder / ".DS_Store").write_bytes(b"")
  checksums.verify(folder, "make it again")


def test_processes_share_the_reading(folder):
  (folder / "deep" / "er" / "b c").write_bytes(b"other")
  found = []
  for number in range(2):
    try:
      checksums.verify(folder, "", share=(number, 2))
    except checksums.DamagedError:
      found.append(number)
  assert found == [0]  # The first and the third of three files.


def test_a_part_of_a_folder_is_written_anew(folder):
  (folder / "a").write_bytes(b"other")
  (folder / "deep" / ".zarray").unlink()
  checksums.write(folder, ["a"])
  checksums.verify(folder, "", names=["a"])
  refused(folder, "zarray is missing")
  assert checksums.listed(folder, "a", "") == (
    hashlib.sha256(b"other").hexdigest()
  )
  assert checksums.listed(folder, "new", "") is None
  assert checksums.listed(folder / "deep", "a", "") is None


def test_a_damaged_list_is_replaced_with_a_warning(folder, caplog):
  (folder / checksums.FILE).write_text("nothing\n")
  checksums.write(folder, ["a"])
  assert "line 1 is 'nothing'" in caplog.text
  refused(folder, r"zarray is missing|not listed")


def test_a_file_that_did_not_change_is_read_once(folder, monkeypatch):
  checksums.verify(folder, "")
  hashed = []
  monkeypatch.setattr(checksums, "_hash", lambda path: hashed.append(path))
  checksums.verify(folder, "")
  assert not hashed


def test_names_that_the_form_has_no_room_for(tmp_path):
  (tmp_path / "a\nb").write_bytes(b"")
  with pytest.raises(ValueError, match="line break"):
    checksums.write(tmp_path)


def test_a_file_holds_its_own_hash(tmp_path):
  path = tmp_path / "file"
  text = f'before {{"sha256": "{checksums.UNSEALED}"}} behind'
  path.write_text(text)
  checksums.seal(path)
  checksums.verify_seal(path, "make it again")
  content = path.read_bytes()
  digest = hashlib.sha256(text.encode()).hexdigest()
  assert content.decode() == text.replace(checksums.UNSEALED, digest)
  with pytest.raises(ValueError, match="no place for its own hash"):
    checksums.seal(path)
  for changed in with_a_bit_changed(content):
    path.write_bytes(changed)
    with pytest.raises(checksums.DamagedError, match="make it again"):
      checksums.verify_seal(path, "make it again")
  for length in (0, len(content) // 2, len(content) - 1):
    path.write_bytes(content[:length])
    with pytest.raises(checksums.DamagedError, match="make it again"):
      checksums.verify_seal(path, "make it again")
