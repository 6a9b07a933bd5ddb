"""A small data set on disk, in several shards."""

import contextlib
import hashlib

import pytest

from instructrec.instructions import generate as instruction_generate
from instructrec.instructions import units


@contextlib.contextmanager
def _few_requests_a_shard():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(instruction_generate, "CHUNK", 50)
    patch.setattr(units, "SHARD", 100)
    yield


@pytest.fixture
def small_shards():
  """Several units a shard and several shards a split."""
  with _few_requests_a_shard():
    yield


@pytest.fixture(scope="session")
def data_dir(prepared_dir, tmp_path_factory):
  """What `instructrec generate` writes, in an unbroken run."""
  from instructrec.pipelines import generate

  folder = tmp_path_factory.mktemp("generated") / "data"
  with _few_requests_a_shard():
    generate.write(
      units.Spec(prepared_dir=str(prepared_dir)),
      folder,
      produce=generate.produce_locally(1),
      vocab_size=400,
    )
  return folder


@pytest.fixture(scope="session")
def read_folder():
  """The hash of every file below a folder, by relative path.

  Without the token cache, which those who read the folder add.

  Hashes and not bytes, so that a difference names the file and is short.
  """
  return lambda folder: {
    str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(folder.rglob("*"))
    if path.is_file() and "token_cache" not in path.parts
  }
