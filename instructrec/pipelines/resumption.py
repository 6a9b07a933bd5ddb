"""What a generation has finished, so that one that was stopped goes on.

`<output>.unfinished` lies beside the output while it is made: shards, what was
counted of each, and the vocabulary. The next start goes on from there where it
would make the same: the same data, settings, templates and package. Any other
begins anew.
"""

import dataclasses
import hashlib
import importlib.resources
import json
import logging
import os
import pathlib
import shutil
from importlib.resources.abc import Traversable
from typing import Any

import instructrec
from instructrec import checksums, records
from instructrec.instructions import generate, tally, units
from instructrec.models import tokenizer
from instructrec.pipelines import tfds_writer

_KEY, _VOCABULARY, _SEAL = "key", "vocabulary", "sha256"
_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
  """Finished shards, and what came of their requests.

  Attributes:
    shards: of all configs.
    tally: counts and samples.
    texts: to train a vocabulary on.
  """

  shards: list[tfds_writer.Shard]
  tally: tally.Tally
  texts: list[str]


def key(spec: units.Spec, generator: generate.Generator) -> str:
  """Says what records are made from; equal keys, equal records.

  Args:
    spec: how instructions are made.
    generator: with its teacher.

  Returns:
    SHA-256 of all that records depend on, the package's own texts and rules
    among it.
  """
  own, chat = ["instructrec.instructions", "instructrec.alignment"], spec.chat
  facts = {
    "version": instructrec.__version__,
    "package": [_digest(importlib.resources.files(name)) for name in own],
    "prepared": generator.prepared.fingerprint,
    "domain": generator.resolved_domain.value,
    "teacher": [generator.teacher.name, generator.teacher.version],
    "chat": chat and [chat.base_url, chat.max_reply_tokens, chat.temperature],
    "units": [generate.CHUNK, units.SHARD],
    "templates": [
      pathlib.Path(name).read_text(encoding="utf-8")
      for name in spec.template_files or ()
    ],
    "spec": [
      *(spec.seed, spec.protocol, spec.max_history),
      list(spec.eval_templates),
      list(spec.kinds),
    ],
    "control": generator.control and generator.control.facts,
  }
  return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _digest(folder: Traversable) -> str:
  digest = hashlib.sha256()
  for path in sorted(folder.iterdir(), key=lambda path: path.name):
    if path.is_file() and not path.name.endswith(".pyc"):
      digest.update(path.name.encode() + path.read_bytes())
    elif path.is_dir() and path.name != "__pycache__":
      digest.update(_digest(path).encode())
  return digest.hexdigest()


def _sha256(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


class Unfinished:
  """The folder of one output, as long as it is made.

  Whoever makes the output holds its lock; see `output_folder.locked`.

  Args:
    output: the folder that is to be made.
    key: see `key`. What was finished under another one is removed.

  Raises:
    FileExistsError: where something else has the folder's name.
  """

  def __init__(self, output: pathlib.Path, key: str) -> None:
    self.folder = output.with_name(f"{output.name}.unfinished")
    self.root = self.folder / tfds_writer.NAME
    """Where shards are written."""
    path = self.folder / _KEY
    if path.is_file() and path.read_text() == key:
      return
    if self.folder.exists():
      if any(self.folder.iterdir()) and not path.is_file():
        raise FileExistsError(
          f"{self.folder} was not made by `generate`, which keeps there what "
          "it has finished; move it away, or choose another --output"
        )
      self.remove()
    self.folder.mkdir(parents=True)
    path.write_text(key)

  def remove(self) -> None:
    """Removes the folder, once its shards are where the output will be."""
    for path in self.folder.iterdir():
      if path.is_dir():
        shutil.rmtree(path)
      elif path.name != _KEY:
        path.unlink()
    # Last, for it says whose folder this is.
    (self.folder / _KEY).unlink(missing_ok=True)
    self.folder.rmdir()

  def _path(self, name: str) -> pathlib.Path:
    return self.folder / f"{name}.json"

  def save(self, name: str, part: Part) -> None:
    """Keeps a part whose shards are written.

    Args:
      name: of the part.
      part: the part.
    """
    self._write(
      name,
      {
        "shards": [
          [dataclasses.astuple(shard), _sha256(self._file(shard))]
          for shard in part.shards
        ],
        "tally": part.tally.to_json(),
        "texts": part.texts,
      },
    )

  def load(self, name: str) -> Part | None:
    """A part that is there whole.

    Args:
      name: of the part.

    Returns:
      The part; None where it, or one of its shards, is missing or damaged.
    """
    found = self._read(name)
    if found is None:
      return None
    shards = []
    for fields, sha256 in found["shards"]:
      shards.append(tfds_writer.Shard(*fields))
      path = self._file(shards[-1])
      if not path.is_file() or _sha256(path) != sha256:
        _LOG.warning("%s is missing or damaged and is made again", path)
        return None
    return Part(shards, tally.Tally.from_json(found["tally"]), found["texts"])

  def _file(self, shard: tfds_writer.Shard) -> pathlib.Path:
    return tfds_writer.part(self.root, shard.config, shard.split, shard.number)

  @property
  def vocabulary(self) -> pathlib.Path:
    """Where a trained vocabulary is kept."""
    return self.folder / f"{_VOCABULARY}.model"

  def has_vocabulary(self, size: int) -> bool:
    """Whether a vocabulary of at most so many pieces is there whole."""
    return self.vocabulary.is_file() and self._read(
      _VOCABULARY
    ) == self._of_vocabulary(size)

  def keep_vocabulary(self, path: pathlib.Path, size: int) -> None:
    """Keeps a trained vocabulary.

    Args:
      path: the model file, in the same folder.
      size: how many pieces were asked for.
    """
    path.replace(self.vocabulary)
    self._write(_VOCABULARY, self._of_vocabulary(size))

  def _of_vocabulary(self, size: int) -> dict[str, Any]:
    return {"size": size, "model": tokenizer.fingerprint(self.vocabulary)}

  def _write(self, name: str, value: dict[str, Any]) -> None:
    path = self._path(name)
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
      # The last entry is the place for the file's own hash.
      json.dump({**value, _SEAL: checksums.UNSEALED}, file)
      file.flush()
      os.fsync(file.fileno())
    checksums.seal(temporary)
    temporary.replace(path)

  def _read(self, name: str) -> dict[str, Any] | None:
    path = self._path(name)
    if not path.is_file():
      return None
    remedy = "what it stands for is made again"
    try:
      checksums.verify_seal(path, remedy)
      found = records.read(path, keys=[_SEAL], remedy=remedy)
    except checksums.DamagedError as error:
      _LOG.warning("%s", error)
      return None
    del found[_SEAL]
    return found
