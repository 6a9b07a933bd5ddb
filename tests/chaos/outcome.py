"""What a command left behind, without what depends on the clock.

Two runs of a command are equal where their outcomes are: files byte for byte,
checkpoints array for array.
"""

import gzip
import hashlib
import json
import pathlib
import re
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from instructrec import checksums

_RATES = ("steps_per_s", "tokens_per_s")
# A file's own hash goes with them; it was checked when the file was read.
_TIMES = ("train_seconds", "starts", "seconds", "wall_seconds", "sha256")
# Of files that are compared themselves, without their times.
_HASHES = ("sha256",)
_IN_WORDS = re.compile(r"[\d.,]+ ?(s|seconds|minutes|hours)\b|\b\d+:\d\d\b")
_UNFINISHED = re.compile(
  r"\.incomplete|\.unfinished|\.replaced|\.tmp$|orbax-checkpoint-tmp|\.lock$"
)
_EVENTS = "events.out.tfevents"
_SUMS = "SHA256SUMS"


def outcome(folder: pathlib.Path) -> dict[str, str]:
  """Every file and array below a folder.

  Args:
    folder: what a command made.

  Returns:
    Digests of contents by path; those of arrays by path and name.
  """
  found = {}
  for path in sorted(folder.rglob("*")):
    name = str(path.relative_to(folder))
    if (path / "_CHECKPOINT_METADATA").is_file():
      found |= {f"{name}/{n}": v for n, v in _checkpoint(path).items()}
    elif path.name.startswith(_EVENTS):
      found[str(pathlib.Path(name).parent)] = _digest(_scalars(path.parent))
    elif path.name == checksums.FILE:
      checksums.verify(path.parent, "", _listed(path))
    elif path.is_file() and not _in_checkpoint(path, folder):
      found[name] = _digest(_content(path))
  return found


def differences(first: dict[str, str], second: dict[str, str]) -> list[str]:
  """Paths that only one of two outcomes has, or that differ."""
  names = first.keys() | second.keys()
  return sorted(n for n in names if first.get(n) != second.get(n))


def unfinished(folder: pathlib.Path) -> list[str]:
  """Temporary files and locks that were left below a folder."""
  return sorted(
    str(path.relative_to(folder))
    for path in folder.rglob("*")
    if _UNFINISHED.search(path.name)
  )


def _listed(path: pathlib.Path) -> list[str]:
  return [line[66:] for line in path.read_text().splitlines()]


def _in_checkpoint(path: pathlib.Path, folder: pathlib.Path) -> bool:
  parents = path.relative_to(folder).parents
  return any((folder / p / "_CHECKPOINT_METADATA").is_file() for p in parents)


def _checkpoint(path: pathlib.Path) -> dict[str, str]:
  """The arrays of a checkpoint, and what else it says."""
  found = {}
  (item,) = (p for p in path.iterdir() if (p / "_METADATA").is_file())
  with ocp.PyTreeCheckpointer() as checkpointer:
    # Whatever devices they were saved from.
    args = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray),
      checkpointer.metadata(item).item_metadata.tree,
    )
    tree = checkpointer.restore(item, restore_args=args)
  for key, array in jax.tree_util.tree_leaves_with_path(tree):
    name = jax.tree_util.keystr(key, simple=True, separator="/")
    found[name] = _digest(
      f"{array.dtype}{np.shape(array)}".encode() + np.asarray(array).tobytes()
    )
  for file in (path / "data").glob("metadata"):
    found["data"] = _digest(file.read_bytes())
  return found


def _sums(path: pathlib.Path) -> dict[str, bool]:
  """Which files a list of hashes has, and whether they are as it says."""
  found = {}
  for line in path.read_text().splitlines():
    digest, name = line.split(maxsplit=1)
    content = (path.parent / name).read_bytes()
    found[name] = hashlib.sha256(content).hexdigest() == digest
  return found


def _content(path: pathlib.Path) -> Any:
  if path.name == _SUMS:
    return _sums(path)
  content = path.read_bytes()
  if path.suffix == ".gz":
    return gzip.decompress(content)
  if path.name == "metrics.jsonl":
    return [_without_times(json.loads(x)) for x in content.splitlines()]
  if path.suffix == ".json":
    return _without_times(json.loads(content))
  if path.suffix in (".md", ".html"):
    return _IN_WORDS.sub("", content.decode())
  return content


def _without_times(value: Any) -> Any:
  if isinstance(value, dict):
    return {
      key: _without_times(inner)
      for key, inner in value.items()
      if key not in _TIMES + _RATES + _HASHES
    }
  if isinstance(value, list):
    return [_without_times(inner) for inner in value]
  return value


def _scalars(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
  """What TensorBoard shows."""
  from tensorboard.backend.event_processing import event_accumulator

  events = event_accumulator.EventAccumulator(
    str(folder), size_guidance={event_accumulator.SCALARS: 0}
  )
  events.Reload()
  return {
    tag: [(scalar.step, scalar.value) for scalar in events.Scalars(tag)]
    for tag in events.Tags()["scalars"]
    if not tag.endswith(_RATES)
  }


def _digest(content: Any) -> str:
  if not isinstance(content, bytes):
    content = json.dumps(content, sort_keys=True).encode()
  return hashlib.sha256(content).hexdigest()
