"""Sets are fetched from a server of this machine, checked, and kept."""

import functools
import hashlib
import http.client
import http.server
import io
import threading
import zipfile

import pytest

from instructrec.data import amazon, download, movielens

RATINGS = b"1::7::4.0::20\n1::8::3.5::10\n"
MOVIES = b"7::Heat::Action\n8::Big::Comedy\n"


def archive(*more):
  """A zip file such as MovieLens's."""
  packed = io.BytesIO()
  with zipfile.ZipFile(packed, "w") as file:
    file.writestr("ml-1m/ratings.dat", RATINGS)
    file.writestr("ml-1m/movies.dat", MOVIES)
    file.writestr("ml-1m/users.dat", b"1::F::1::10::48067\n")
    for name, content in more:
      file.writestr(name, content)
  return packed.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
  """Serves files, also parts of them, and may hang up in the middle."""

  def do_GET(self):
    server = self.server
    server.asked.append((self.path, self.headers.get("Range")))
    content = server.files.get(self.path.lstrip("/"))
    if content is None:
      self.send_error(404)
      return
    begin = 0
    if wanted := self.headers.get("Range"):
      begin = int(wanted.removeprefix("bytes=").rstrip("-"))
      if begin >= len(content):
        self.send_error(416)
        return
    self.send_response(206 if begin else 200)
    self.send_header("Content-Length", str(len(content) - begin))
    self.end_headers()
    end = server.hang_up_at.pop() if server.hang_up_at else None
    self.wfile.write(content[begin:end])

  def log_message(self, *unused):
    pass


@pytest.fixture
def server(monkeypatch):
  found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
  found.files, found.asked, found.hang_up_at = {}, [], []
  serve = functools.partial(found.serve_forever, poll_interval=0.02)
  thread = threading.Thread(target=serve)
  thread.start()
  monkeypatch.setenv(download.MIRROR, f"http://127.0.0.1:{found.server_port}/")
  yield found
  found.shutdown()
  found.server_close()
  thread.join()


@pytest.fixture
def ml_1m(server, monkeypatch):
  """A small MovieLens under a known checksum."""
  content = archive()
  server.files["ml-1m.zip"] = content
  checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
  monkeypatch.setitem(download._MOVIELENS, "ml-1m", checksum)
  return server


def test_a_set_is_fetched_once_and_read(ml_1m, tmp_path):
  fetched = download.fetch("ml-1m", tmp_path)
  assert (fetched.source, fetched.items, fetched.new) == (
    "movielens", None, True
  )  # fmt: skip
  assert sorted(path.name for path in fetched.input.iterdir()) == [
    "SHA256SUMS", "download.json", "movies.dat", "ratings.dat"
  ]  # fmt: skip
  log, items, _ = movielens.load(fetched.input)
  assert log.sequences() == (["1"], [["8", "7"]])
  assert items.titles == ["Heat", "Big"]
  again = download.fetch("ml-1m", tmp_path)
  assert (again.new, again.checksums) == (False, fetched.checksums)
  (fetched.input / "ratings.dat").write_text("1::8::5::0\n")
  with pytest.raises(ValueError, match=r"ratings\.dat is dam.*fetched anew"):
    download.fetch("ml-1m", tmp_path)
  assert len(ml_1m.asked) == 1
  assert [path.name for path in tmp_path.iterdir()] == ["ml-1m"]


def test_what_broke_off_goes_on(ml_1m, tmp_path):
  ml_1m.hang_up_at.append(100)
  with pytest.raises(
    OSError, match=r"ml-1m.zip broke off after 100 of \d+ byt"
  ):
    download.fetch("ml-1m", tmp_path)
  assert not (tmp_path / "ml-1m").exists()
  download.fetch("ml-1m", tmp_path)
  assert ml_1m.asked == [("/ml-1m.zip", None), ("/ml-1m.zip", "bytes=100-")]
  assert (tmp_path / "ml-1m" / "ratings.dat").read_bytes() == RATINGS


def test_another_file_is_refused_and_deleted(ml_1m, tmp_path):
  ml_1m.files["ml-1m.zip"] = archive(("ml-1m/README", b"other"))
  with pytest.raises(
    ValueError, match=r"ml-1m.zip has sha256:\w+, expected sha256:\w+; it was"
  ):
    download.fetch("ml-1m", tmp_path)
  assert not [*tmp_path.glob("*/*.zip*")]
  ml_1m.files["ml-1m.zip"] = archive()
  assert download.fetch("ml-1m", tmp_path).new


@pytest.mark.parametrize(
  "content", [b"<html>log in first</html>", archive()[:-30]]
)
def test_what_is_no_archive_is_named_and_deleted(server, tmp_path, content):
  """Of a set without a checksum, as a network sends that asks to log in."""
  server.files["ml-latest-small.zip"] = content
  with pytest.raises(
    ValueError, match=r"/ml-latest-small.zip sent no archive .* is deleted"
  ):
    download.fetch("ml-latest-small", tmp_path)
  server.files["ml-latest-small.zip"] = archive()
  assert download.fetch("ml-latest-small", tmp_path).new


def test_a_connection_that_breaks_names_what_it_was_for(
  ml_1m, tmp_path, monkeypatch
):
  def reset(_):
    raise http.client.IncompleteRead(b"half")

  with monkeypatch.context() as changed:
    changed.setattr(download, "_blocks", reset)
    with pytest.raises(OSError, match=r"/ml-1m.zip broke off: Incomplete"):
      download.fetch("ml-1m", tmp_path)
  assert download.fetch("ml-1m", tmp_path).new


def test_members_of_an_archive_stay_in_its_folder(ml_1m, tmp_path, monkeypatch):
  content = archive(("../../u.data", b"out"), ("/etc/passwd", b"out"))
  ml_1m.files["ml-1m.zip"] = content
  checksum = f"md5:{hashlib.md5(content).hexdigest()}"
  monkeypatch.setitem(download._MOVIELENS, "ml-1m", checksum)
  fetched = download.fetch("ml-1m", tmp_path / "deep" / "er")
  assert fetched.checksums == {"ml-1m.zip": checksum}
  found = [path.name for path in tmp_path.rglob("*") if path.is_file()]
  assert sorted(found) == [
    "SHA256SUMS", "download.json", "movies.dat", "ratings.dat", "u.data"
  ]  # fmt: skip
  assert (fetched.input / "u.data").is_file()


def test_amazon_s_two_files(server, tmp_path):
  review = (
    b'{"user_id":"u","parent_asin":"A","rating":5,"timestamp":1,"text":"x"}'
  )
  server.files["Toys.jsonl.gz"] = review
  server.files["meta_Toys.jsonl.gz"] = b'{"parent_asin":"A","title":"Chess"}'
  fetched = download.fetch("amazon-2023-Toys", tmp_path)
  assert fetched.items is not None
  log, items, _ = amazon.load(fetched.input, fetched.items)
  assert (len(log), items.titles) == (1, ["Chess"])
  expected = f"sha256:{hashlib.sha256(review).hexdigest()}"
  assert fetched.checksums["Toys.jsonl.gz"] == expected


def test_what_is_not_there_is_named(server, tmp_path, monkeypatch):
  with pytest.raises(
    ValueError, match="no set is called 'ml-2m'; expected one"
  ):
    download.fetch("ml-2m", tmp_path)
  with pytest.raises(ValueError, match=r"called 'amazon-2023-../x'"):
    download.fetch("amazon-2023-../x", tmp_path)
  with pytest.raises(OSError, match=r"ml-100k.zip: the server says 404"):
    download.fetch("ml-100k", tmp_path)
  monkeypatch.setenv(download.MIRROR, "file:///etc")
  with pytest.raises(ValueError, match="is no address of a web server"):
    download.fetch("ml-100k", tmp_path)
  monkeypatch.setenv(download.MIRROR, "http://127.0.0.1:9")
  with pytest.raises(OSError, match=r"ml-100k.zip cannot be reached"):
    download.fetch("ml-100k", tmp_path)


def test_every_set_has_its_addresses_under_tls():
  for name in (*download._MOVIELENS, "amazon-2014-Beauty", "amazon-2018-Books"):
    for file in download.remotes(name):
      assert file.url.startswith("https://")
      if file.checksum is not None:
        kind, digest = file.checksum.split(":")
        assert len(digest) == 2 * hashlib.new(kind).digest_size
