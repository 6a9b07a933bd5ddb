"""Fetches published logs, for those who have a network.

What comes is held to the checksum that its publisher gives, if there is one,
and lies in a folder of its own; what is there is not fetched again. Only the
files that are read are unpacked, under their own names.
"""

import dataclasses
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, Literal

from instructrec import cache, checksums, limits, progress, records

MIRROR = "INSTRUCTREC_MIRROR"
"""Environment variable: an address that has the files under their names."""
_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
_MCAULEY = "https://mcauleylab.ucsd.edu/public_datasets/data"
_SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
# As GroupLens publishes them beside the files, or as TFDS records them.
_MOVIELENS = {
  "ml-100k": "sha256:50d2a982c66986937beb9ffb3aa76efe"
  "955bf3d5c6b761f4e3a7cd717c6a3229",
  "ml-1m": "sha256:a6898adb50b9ca05aa231689da44c217"
  "cb524e7ebd39d264c56e2832f2c54e20",
  "ml-10m": "md5:ce571fd55effeba0271552578f2648bd",
  "ml-20m": "sha256:96f243c338a8665f6bcc89c53edf6ee3"
  "9162a846940de6b7c8c48aeada765ff3",
  "ml-25m": "sha256:8b21cfb7eb1706b4ec0aac894368d90a"
  "cf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
  "ml-32m": "md5:d472be332d4daa821edc399621853b57",
  # Grows from time to time.
  "ml-latest-small": None,
}
_AMAZON = {
  "2014": (f"{_SNAP}/reviews_{{}}_5.json.gz", f"{_SNAP}/meta_{{}}.json.gz"),
  "2018": (
    f"{_MCAULEY}/amazon_v2/categoryFilesSmall/{{}}_5.json.gz",
    f"{_MCAULEY}/amazon_v2/metaFiles2/meta_{{}}.json.gz",
  ),
  "2023": (
    f"{_MCAULEY}/amazon_2023/raw/review_categories/{{}}.jsonl.gz",
    f"{_MCAULEY}/amazon_2023/raw/meta_categories/meta_{{}}.jsonl.gz",
  ),
}
_AMAZON_NAME = re.compile(r"amazon-(2014|2018|2023)-([A-Za-z]\w*)")
_UNPACKED = frozenset(
  "ratings.csv movies.csv ratings.dat movies.dat u.data u.item README "
  "README.txt README.html".split()
)
_RECORD = "download.json"
_PART = 1 << 20
_TIMEOUT = 60.0
_NOTHING_LEFT = 416
"""What a server says that is asked for what comes after the end."""


@dataclasses.dataclass(frozen=True)
class Remote:
  """A file to fetch.

  Attributes:
    url: where it is.
    checksum: "sha256:..." or "md5:..."; None where none is published.
  """

  url: str
  checksum: str | None = None

  @property
  def name(self) -> str:
    """What it is called here, too."""
    return self.url.rsplit("/", 1)[-1]


@dataclasses.dataclass(frozen=True)
class Fetched:
  """A set that is here.

  Attributes:
    source: which reader takes it.
    input: its folder, or its reviews.
    items: its metadata, if they are a file of their own.
    checksums: of the files that came, by name.
    new: whether it was fetched now.
  """

  source: Literal["movielens", "amazon"]
  input: pathlib.Path
  items: pathlib.Path | None
  checksums: dict[str, str]
  new: bool


def remotes(name: str) -> tuple[Remote, ...]:
  """The files of a set.

  Args:
    name: of the set, such as "ml-1m" or "amazon-2023-Video_Games".

  Returns:
    MovieLens's archive, or Amazon's reviews and metadata.

  Raises:
    ValueError: where there is no such set.
  """
  if name in _MOVIELENS:
    return (Remote(f"{_GROUPLENS}/{name}.zip", _MOVIELENS[name]),)
  if found := _AMAZON_NAME.fullmatch(name):
    year, category = found.groups()
    return tuple(Remote(url.format(category)) for url in _AMAZON[year])
  raise ValueError(
    f"no set is called {name!r}; expected one of {', '.join(_MOVIELENS)}, or "
    "amazon-2014-CATEGORY, amazon-2018-CATEGORY or amazon-2023-CATEGORY, such "
    "as amazon-2023-Video_Games"
  )


def fetch(name: str, root: str | os.PathLike[str] | None = None) -> Fetched:
  """Fetches a set, unless it is here.

  Args:
    name: see `remotes`.
    root: the folder for all sets; None for one in the user's cache folder.

  Returns:
    Where it is.

  Raises:
    ValueError: where there is no such set, or what came is something else.
    DamagedError: where what is here was changed.
    OSError: where the network or the server fails; what came is kept, and the
      next time goes on from there.
  """
  files = remotes(name)
  folder = pathlib.Path(root or cache.folder("data")) / name
  remedy = f"delete {folder}, it is fetched anew"
  new = not checksums.is_known(folder, _RECORD, remedy)
  if new:
    partial = folder.with_name(f"{name}.incomplete")
    partial.mkdir(parents=True, exist_ok=True)
    found = {file.name: _fetch_file(file, partial) for file in files}
    for file in files:
      if file.name.endswith(".zip"):
        _unpack(partial / file.name, _address(file))
    text = json.dumps({"checksums": found}, indent=2)
    (partial / _RECORD).write_text(f"{text}\n")
    checksums.write(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
  else:
    checksums.verify(folder, remedy)
  record = records.read(folder / _RECORD, keys=["checksums"], remedy=remedy)
  found = record["checksums"]
  if len(files) == 1:
    return Fetched("movielens", folder, None, found, new)
  reviews, metadata = (folder / file.name for file in files)
  return Fetched("amazon", reviews, metadata, found, new)


def _fetch_file(file: Remote, folder: pathlib.Path) -> str:
  """Fetches a file into a folder; returns its checksum."""
  place = folder / file.name
  if not place.is_file():
    part = place.with_name(f"{file.name}.part")
    _receive(_address(file), part)
    part.rename(place)
  kind = (file.checksum or "sha256:").split(":")[0]
  with place.open("rb") as content:
    found = f"{kind}:{hashlib.file_digest(content, kind).hexdigest()}"
  if file.checksum is not None and found != file.checksum:
    place.unlink()
    raise ValueError(
      f"{_address(file)} has {found}, expected {file.checksum}; it was damaged "
      "on the way or is another file, and is deleted; try again, or fetch it "
      "by hand and pass --source and --input"
    )
  return found


def _address(file: Remote) -> str:
  mirror = os.environ.get(MIRROR)
  return f"{mirror.rstrip('/')}/{file.name}" if mirror else file.url


def _receive(url: str, part: pathlib.Path) -> None:
  """Receives a file; goes on where an earlier time broke off."""
  if not url.startswith(("http://", "https://")):
    raise ValueError(f"{url} is no address of a web server; see {MIRROR}")
  begun = part.stat().st_size if part.exists() else 0
  request = urllib.request.Request(url, headers={"User-Agent": "instructrec"})
  if begun:
    request.add_header("Range", f"bytes={begun}-")
  try:
    with _OPENER.open(request, timeout=_TIMEOUT) as answer:
      # A server may send all of it nevertheless.
      begun = begun if answer.status == 206 else 0
      length = answer.headers.get("Content-Length")
      total = begun + int(length) if length else None
      with (
        part.open("ab" if begun else "wb") as file,
        progress.Progress(total, part.stem, unit="B", initial=begun) as line,
      ):
        for block in _blocks(answer):
          file.write(block)
          line.advance(len(block))
  except urllib.error.HTTPError as error:
    if error.code == _NOTHING_LEFT and begun:
      return
    raise OSError(
      f"{url}: the server says {error.code} {error.reason}"
    ) from error
  except urllib.error.URLError as error:
    raise OSError(f"{url} cannot be reached: {error.reason}") from error
  except (ConnectionError, TimeoutError, http.client.HTTPException) as error:
    raise OSError(
      f"{url} broke off: {error}; the same command goes on from there"
    ) from error
  size = part.stat().st_size
  if total is not None and size != total:
    raise OSError(
      f"{url} broke off after {size:,} of {total:,} bytes; the same command "
      "goes on from there"
    )


class _Redirects(urllib.request.HTTPRedirectHandler):
  """Follows no redirect from https to anything else."""

  def redirect_request(
    self, req: urllib.request.Request, *args: Any
  ) -> urllib.request.Request | None:
    """Refuses, or leaves it to the usual rules."""
    found = super().redirect_request(req, *args)
    if req.type == "https" and found is not None and found.type != "https":
      raise OSError(f"{req.full_url} leads to {found.full_url}, without TLS")
    return found


_OPENER = urllib.request.build_opener(_Redirects)


def _blocks(answer: IO[bytes]) -> Iterator[bytes]:
  total = 0
  while block := answer.read(_PART):
    total += len(block)
    limits.TABLE_BYTES.check(total, "a download")
    yield block


def _unpack(archive: pathlib.Path, url: str) -> None:
  """Unpacks the files that are read, beside the archive, which goes.

  Raises:
    ValueError: where it is no archive, or a damaged one.
  """
  try:
    _unpack_members(archive)
  except (zipfile.BadZipFile, zlib.error, EOFError) as error:
    archive.unlink()
    raise ValueError(
      f"{url} sent no archive that can be unpacked: {error}; it is deleted, "
      "try again, or fetch it by hand and pass --source and --input"
    ) from error
  archive.unlink()


def _unpack_members(archive: pathlib.Path) -> None:
  with zipfile.ZipFile(archive) as packed:
    for member in packed.infolist():
      # Whatever path a member claims, it is its last part that counts.
      name = pathlib.PurePosixPath(member.filename).name
      if name not in _UNPACKED or member.is_dir():
        continue
      limits.TABLE_BYTES.check(member.file_size, f"{archive.name}, {name}")
      with (
        packed.open(member) as source,
        (archive.parent / name).open("wb") as target,
      ):
        shutil.copyfileobj(source, target, _PART)
