"""Every file of everything that is read again, damaged in five ways.

Nothing damaged is used in silence: what is opened is as before to the last
bit, or is refused with the name of the file, or is passed over for an earlier
one with a warning that names the file. `-s` shows the table of
docs/reliability.md.
"""

import collections
import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from instructrec import checksums
from instructrec.data import dataset, interaction
from instructrec.evaluation import compare, evaluate, facts, loss_log, report
from instructrec.models import tokenizer
from instructrec.models.checkpoint import convert, opening, tensors
from instructrec.retrieval import (
  candidate_lists,
  methods,
  run_weights,
  score_weights,
)
from instructrec.serving import instruction_folder
from instructrec.training import checkpoints, item_table, run_dir, run_record

pytestmark = pytest.mark.tf

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
  "deleted": lambda content: None,
  "emptied": lambda content: b"",
  "cut to half": lambda content: content[: len(content) // 2],
  "zeroed": lambda content: bytes(len(content)),
  "one bit": lambda content: (
    content[: len(content) // 2]
    + bytes([content[len(content) // 2] ^ 1])
    + content[len(content) // 2 + 1 :]
  ),
}
HARMLESS, REFUSED, PASSED = "as before", "refused by name", "passed over"
_OURS = (checksums.DamagedError, tensors.CheckpointError, FileNotFoundError)


@dataclasses.dataclass(frozen=True)
class Artefact:
  """Something that is read again, in a copy of its own.

  Attributes:
    folder: where its files are.
    read: opens it as commands do, and says what it found.
    earlier: what is found where the newest part of it is passed over.
    files: those of its files that are damaged, by name below the folder.
  """

  folder: pathlib.Path
  read: Callable[[], str]
  files: list[str]
  earlier: str = ""


def found(*values: Any) -> str:
  """One hash of all that was read."""
  digest = hashlib.sha256()
  for value in values:
    if isinstance(value, pl.DataFrame):
      digest.update(interaction.frame_fingerprint(value).encode())
    elif isinstance(value, dict):
      digest.update(repr(list(value)).encode())
      digest.update(found(*value.values()).encode())
    elif isinstance(value, list | tuple):
      digest.update(found(*map(found, value)).encode())
    elif hasattr(value, "dtype"):
      array = np.asarray(value)
      digest.update(f"{array.dtype}{array.shape}".encode())
      digest.update(array.tobytes())
    else:
      digest.update(repr(value).encode())
  return digest.hexdigest()


def below(folder: pathlib.Path, pattern: str = "*") -> list[str]:
  return sorted(
    path.relative_to(folder).as_posix()
    for path in folder.rglob(pattern)
    if path.is_file()
  )


def put(path: pathlib.Path, content: bytes | None) -> None:
  """Another file in place of one, as a copy is: not the same one, changed."""
  path.unlink(missing_ok=True)
  if content is not None:
    path.write_bytes(content)


def outcome(artefact: Artefact, name: str, whole: str, caplog: Any) -> str:
  """What became of a damaged file."""
  caplog.clear()
  file = pathlib.PurePath(name).name
  refused: Exception | None = None
  try:
    read = artefact.read()
  except _OURS as error:
    refused = error
  if refused is not None:
    # The system's own have a number, and say nothing of what to do.
    assert getattr(refused, "errno", None) is None, refused
    assert file in str(refused)
    assert ";" in str(refused)
    return REFUSED
  if read == whole:
    return HARMLESS
  assert read == artefact.earlier, f"{name} is used in silence"
  assert file in caplog.text
  return PASSED


@pytest.fixture(scope="module")
def table():
  """Counts by artefact; shown at the end."""
  counts: dict[str, collections.Counter[str]] = {}
  yield counts
  columns = ("files", "damages", HARMLESS, REFUSED, PASSED)
  print(f"\n| artefact | {' | '.join(columns)} |")
  print(f"|---|{'---|' * len(columns)}")
  for title, row in counts.items():
    print(f"| {title} | {' | '.join(str(row[name]) for name in columns)} |")


@pytest.fixture
def damage_all(table, caplog):
  """Damages every file in every way, one at a time."""

  def run(title: str, artefact: Artefact) -> None:
    counts = collections.Counter(files=len(artefact.files))
    assert artefact.files
    whole = artefact.read()
    for name in artefact.files:
      path = artefact.folder / name
      content = path.read_bytes()
      for damage in DAMAGES.values():
        put(path, damage(content) if content else None)
        counts[outcome(artefact, name, whole, caplog)] += 1
        counts["damages"] += 1
      put(path, content)
    table.setdefault(title, collections.Counter()).update(counts)

  return run


@pytest.fixture
def copied(tmp_path):
  """Copies a folder or a file; what is damaged is nobody else's."""

  def copy(source: pathlib.Path) -> pathlib.Path:
    target = tmp_path / source.name
    if source.is_dir():
      shutil.copytree(source, target)
    else:
      shutil.copy2(source, target)
    return target

  return copy


def test_prepared_data(work, copied, damage_all):
  folder = copied(work / "prepared")

  def read() -> str:
    data, scanned = dataset.load(folder), dataset.scan(folder)
    return found(
      data.log.frame,
      data.catalog.frame,
      data.split.requests,
      data.split.training_log.frame,
      data.manifest,
      scanned.catalog.frame,
      scanned.requests.read("test"),
    )

  damage_all("prepared data", Artefact(folder, read, below(folder)))


def test_instructions(work, copied, damage_all):
  """What is read of them where the tokens are in the cache."""
  folder = copied(work / "instructions")

  def read() -> str:
    opened = instruction_folder.InstructionFolder.open(folder)
    words = tokenizer.Tokenizer(opened.vocabulary)
    table = item_table.ItemTable.load(folder)
    titles = table.title_tokens(words, 8)
    return found(opened.manifest, table.item_ids, table.counts, titles)

  files = [
    name for name in below(folder) if not name.startswith(("instru", "token_"))
  ]
  assert {"manifest.json", "items.parquet", "card.md"} < set(files)
  damage_all("instructions", Artefact(folder, read, files))


@pytest.fixture
def tasks(work):
  """The tasks of the package, with the vocabulary of `work`."""
  import os

  import tasks.instructrec  # noqa: F401

  with pytest.MonkeyPatch.context() as patch:
    model = work / "instructions" / run_dir.VOCABULARY
    patch.setitem(os.environ, tokenizer.ENVIRONMENT_VARIABLE, str(model))
    yield


def test_instruction_shards(work, copied, damage_all, tasks):
  """Read once, for the token cache."""
  from instructrec.pipelines import token_cache

  folder = copied(work / "instructions")
  config = "sequential_p1_i0"

  def read() -> str:
    shutil.rmtree(folder / "token_cache", ignore_errors=True)
    data = token_cache.load(f"instructrec_v1_{config}", "test", folder)
    return found(data.inputs.tokens, data.targets.tokens, data.columns)

  files = [f"instructrec/{n}" for n in below(folder / "instructrec")]
  files = [name for name in files if f"/{config}/" in name]
  assert len(files) >= 5
  damage_all("instruction shards", Artefact(folder, read, files))


@pytest.mark.parametrize("suffix", ["", "_rerank"])
def test_token_caches(work, copied, damage_all, tasks, suffix):
  from instructrec.pipelines import token_cache

  folder = copied(work / "instructions")
  task = f"sequential_p1_i0{suffix}"

  def read() -> str:
    data = token_cache.load(f"instructrec_v1_{task}", "test", folder)
    return found(
      *(
        part
        for rows in (data.inputs, data.targets, data.prompts, data.history)
        for part in (rows.tokens, rows.offsets)
      ),
      data.lists,
      data.target_items,
      data.candidate_items,
      data.columns,
      data.meta,
      data.name,
    )

  before = set(below(folder / "token_cache"))
  read()
  made = next(
    iter(folder.glob(f"token_cache/instructrec_v1_{task}-test-*/meta.json"))
  ).parent
  assert set(below(made)) - before
  files = [f"{made.relative_to(folder).as_posix()}/{n}" for n in below(made)]
  damage_all("token cache", Artefact(folder, read, files))


def test_unfinished_generations(tmp_path, damage_all):
  """What a stopped `generate` goes on from; what is damaged it makes again."""
  from instructrec.instructions import tally
  from instructrec.pipelines import resumption, tfds_writer

  made = resumption.Unfinished(tmp_path / "out", "key")
  shard = tfds_writer.write_shard(made.root, "c", "train", 0, [b"a", b"b"])
  whole = resumption.Part([shard], tally.Tally(), ["text"])
  made.save("train-00000", whole)
  model = made.folder / "trained"
  model.write_bytes(b"vocabulary")
  made.keep_vocabulary(model, 500)

  def read() -> str:
    again = resumption.Unfinished(tmp_path / "out", "key")
    part = again.load("train-00000") or whole
    words = b"vocabulary"
    if again.has_vocabulary(500):
      words = again.vocabulary.read_bytes()
    return found(str(part.shards), part.texts, part.tally.to_json(), words)

  # Another key is that of another generation, which begins anew.
  files = [name for name in below(made.folder) if name != "key"]
  assert len(files) == 4
  artefact = Artefact(made.folder, read, files)
  damage_all("unfinished instructions", artefact)


@pytest.mark.parametrize("name", methods.METHODS)
def test_retrievers(work, tmp_path, damage_all, name):
  if name == "als":
    pytest.importorskip("implicit", reason="the extra [baselines]")
  data = dataset.load(work / "prepared")
  made = methods.create(name, {})
  if hasattr(made, "_make_titles"):  # A network is as good untrained.
    made._set_items(data.catalog.item_ids)
    made._make_titles(data.catalog)
    made._params = {"tower": {"kernel": np.arange(64, dtype=np.float32)}}
  else:
    made.fit(data.split.training_log, data.catalog)
  made.save(tmp_path / name)

  def learnt(value: Any) -> Any:
    """What an object of a library holds, as arrays and plain values."""
    if isinstance(value, dict):
      return {key: learnt(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
      return [learnt(one) for one in value]
    if hasattr(value, "dtype") and hasattr(value, "toarray"):
      return value.toarray()
    if hasattr(value, "dtype") or not hasattr(value, "__dict__"):
      return value if hasattr(value, "dtype") else str(value)
    if callable(value):
      return str(type(value))
    return {key: learnt(one) for key, one in vars(value).items()}

  def read() -> str:
    return found(learnt(vars(methods.load(tmp_path / name))))

  files = below(tmp_path / name)
  damage_all("retrievers", Artefact(tmp_path / name, read, files))


@pytest.mark.parametrize("protocol", ["retrieved", "random"])
def test_candidate_lists(work, tmp_path, damage_all, protocol):
  data = dataset.load(work / "prepared")
  options: dict[str, Any] = {}
  if protocol == "retrieved":
    popular = methods.create("popularity", {})
    options = {
      "found": popular.fit(data.split.training_log, data.catalog),
      "retriever_manifest": {"name": "popularity"},
    }
  candidate_lists.build(
    data, "test", protocol, num_candidates=12, **options
  ).save(tmp_path / "lists.parquet")

  def read() -> str:
    lists = candidate_lists.CandidateLists.load(
      tmp_path / "lists.parquet", data
    )
    return found(lists.frame, lists.manifest)

  artefact = Artefact(tmp_path, read, ["lists.parquet"])
  damage_all("candidate lists", artefact)


def test_run_folders(work, copied, damage_all):
  """Settings, record and copies of a run that reads items; its weights."""
  folder = copied(work / "model")
  shutil.copy2(work / "instructions" / item_table.FILE, folder)
  checksums.write(folder, [item_table.FILE])
  rng = np.random.default_rng(0)
  parts = {name: rng.normal(size=(60, 5)) for name in ("match", "popularity")}
  labels = (parts["match"] + rng.normal(size=(60, 5))).argmax(1)
  fitted = score_weights.ScoreWeights.fit(
    parts, labels, np.ones((60, 5), np.bool_)
  )
  kind, untuned = run_weights.WITHOUT_WISH, {"match": 1.0, "popularity": 0.0}
  run_weights.RunWeights({kind: fitted}, untuned, 6).save(folder)

  def read() -> str:
    run = run_dir.load(folder)
    data = dataclasses.replace(
      run.data, pack=False, history_length=4, num_drawn=2
    )
    items = dataclasses.replace(run, data=data).item_arrays()
    assert items is not None
    weights = run_weights.RunWeights.load(folder, untuned)
    log = loss_log.read(folder / "metrics.jsonl")
    assert all({"step", "split"} <= row.keys() for row in log)
    return found(
      str(run.model.module.config),
      run.config,
      str(run.data),
      run.record,
      run.tokenizer.encode("a film of robots"),
      items.title_tokens,
      items.shares,
      weights.combine(kind, parts),
    )

  files = [n for n in below(folder) if not n.startswith("checkpoints/")]
  assert {run_dir.CONFIG, run_record.FILE, run_weights.FILE} < set(files)
  damage_all("run folders", Artefact(folder, read, files))


def _parameters(folder: pathlib.Path, step: int | None = None) -> str:
  opened = opening.open_checkpoint(folder, step)
  return found({name: t.read() for name, t in opened.params.items()})


def test_checkpoints(work, copied, damage_all):
  """A newest one that is damaged is passed over for the one before it.

  What is asked is which one Orbax is told to restore, after all of its files
  were checked; that it does is seen in tests/training/checkpoints_test.py.
  """
  folder = copied(work / "model" / "checkpoints")
  store = checkpoints.Checkpoints(folder, keep=None)
  artefact = Artefact(
    folder,
    lambda: found(store.whole().step),
    [f"checkpoint_6/{name}" for name in below(folder / "checkpoint_6")],
    earlier=found(3),
  )
  damage_all("checkpoints, the newest", artefact)


def test_checkpoints_by_step(work, copied, damage_all):
  folder = copied(work / "model" / "checkpoints")

  files = [f"checkpoint_6/{name}" for name in below(folder / "checkpoint_6")]
  artefact = Artefact(folder, lambda: _parameters(folder, 6), files)
  damage_all("checkpoints, by step", artefact)


@pytest.mark.parametrize("form", convert.FORMS)
def test_converted_checkpoints(work, tmp_path, damage_all, form):
  run = run_dir.load(work / "model")
  config: Any = run.model.module.config
  convert.convert(
    opening.open_checkpoint(work / "model"),
    tmp_path / "out",
    convert.Settings(
      form=form,
      optimizer="none",
      config=config,
      dtype="bfloat16",
      # Two files an array.
      layers="stacked" if form == "t5x_legacy" else "unstacked",
    ),
  )
  folder = next((tmp_path / "out").glob("checkpoint_*"), tmp_path / "out")

  artefact = Artefact(folder, lambda: _parameters(folder), below(folder))
  damage_all(f"checkpoints as {form}", artefact)


def test_reports(tmp_path, damage_all):
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 4, 40)
  scores = {name: rng.normal(size=(40, 4)) for name in ("model", "chance")}
  result = evaluate.from_scores(
    "group",
    scores,
    labels,
    request_ids=[str(i) for i in range(40)],
    known=facts.Facts.of(
      targets=[f"{i}-{label}" for i, label in enumerate(labels)],
      candidates=[[f"{i}-{j}" for j in range(4)] for i in range(40)],
      target_counts=labels,
      history_lengths=labels,
    ),
    num_resamples=20,
  )
  context = report.Context("t", ["make it"], {}, {}, {}, {}, "", [], [])
  report.write(tmp_path, [result], context)

  def read() -> str:
    loaded = compare.load(tmp_path)
    return found(json.dumps(loaded.record), loaded.table)

  artefact = Artefact(tmp_path, read, below(tmp_path))
  damage_all("reports", artefact)


def test_the_harness_finds_silence(tmp_path, damage_all):
  """A file that nothing checks is found out."""
  (tmp_path / "file").write_text("content; of some length")
  artefact = Artefact(
    tmp_path,
    lambda: found([p.read_text() for p in tmp_path.iterdir()]),
    ["file"],
  )
  with pytest.raises(AssertionError, match="silence"):
    damage_all("nothing", artefact)
