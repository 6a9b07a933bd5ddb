"""A generation that was stopped goes on; what is damaged is made again."""

import json
import re
import shutil

import pytest

from instructrec import output_folder
from instructrec.instructions import card, units
from instructrec.instructions import generate as instruction_generate

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def left(prepared_dir, tmp_path_factory):
  """What a run leaves that was stopped at its last file."""
  from instructrec.pipelines import generate

  def power_cut(*args):
    raise RuntimeError("power cut")

  folder = tmp_path_factory.mktemp("left")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(instruction_generate, "CHUNK", 50)
    patch.setattr(units, "SHARD", 100)
    patch.setattr(card, "write_audit", power_cut)
    with pytest.raises(RuntimeError, match="power cut"):
      generate.write(
        units.Spec(prepared_dir=str(prepared_dir)),
        folder / "out",
        produce=generate.produce_locally(1),
        vocab_size=400,
      )
  return folder / "out.unfinished"


@pytest.fixture
def stopped(left, prepared_dir, tmp_path, monkeypatch, small_shards):
  """A copy of it, and what goes on from there."""
  from instructrec.models import tokenizer
  from instructrec.pipelines import generate

  shutil.copytree(left, tmp_path / left.name)
  worked, trained, work, train = [], [], units.work, tokenizer.train

  def watched(generator, unit):
    worked.append((unit.split, unit.start))
    return work(generator, unit)

  def watched_train(*args, **options):
    trained.append(options)
    train(*args, **options)

  monkeypatch.setattr(units, "work", watched)
  monkeypatch.setattr(tokenizer, "train", watched_train)

  def again(vocab_size=400, **settings):
    generate.write(
      units.Spec(prepared_dir=str(prepared_dir), **settings),
      tmp_path / "out",
      produce=generate.produce_locally(1),
      vocab_size=vocab_size,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    return worked, trained

  return tmp_path / left.name, again


def flip(path):
  whole = bytearray(path.read_bytes())
  whole[len(whole) // 2] ^= 1
  path.write_bytes(whole)


def test_what_is_finished_is_not_made_again(
  stopped, data_dir, read_folder, tmp_path
):
  _, again = stopped
  assert again() == ([], [])
  assert read_folder(tmp_path / "out") == read_folder(data_dir)


def test_a_damaged_shard_is_made_again(
  stopped, data_dir, read_folder, tmp_path, caplog
):
  folder, again = stopped
  flip(next(folder.rglob("*sequential_p1_i0/**/*train.00001")))
  worked, trained = again()
  assert {split for split, _ in worked} == {"train"}
  assert {start for _, start in worked} == {100, 150}
  assert not trained
  assert "instructrec-train.00001 is missing or damaged" in caplog.text
  assert read_folder(tmp_path / "out") == read_folder(data_dir)


def cut(text):
  return text[: len(text) // 2]


def miscounted(text):
  """Another number of records, in what parses."""
  text, count = re.subn(
    r"\d(?=, )", lambda m: str((int(m[0]) + 1) % 10), text, count=1
  )
  assert count
  assert json.loads(text)
  return text


@pytest.mark.parametrize("damage", [cut, miscounted])
def test_a_damaged_count_is_made_again(
  stopped, data_dir, read_folder, tmp_path, caplog, damage
):
  folder, again = stopped
  path = folder / "test-00000.json"
  path.write_text(damage(path.read_text()))
  worked, _ = again()
  assert worked == [("test", 0)]
  assert "test-00000.json is damaged" in caplog.text
  assert read_folder(tmp_path / "out") == read_folder(data_dir)


def test_a_damaged_vocabulary_is_trained_again(
  stopped, data_dir, read_folder, tmp_path
):
  folder, again = stopped
  flip(folder / "vocabulary.model")
  worked, trained = again()
  assert not worked
  assert trained == [{"vocab_size": 400}]
  assert read_folder(tmp_path / "out") == read_folder(data_dir)


def test_another_vocabulary_keeps_the_requests(stopped, tmp_path):
  from instructrec.pipelines import generate

  _, again = stopped
  worked, trained = again(vocab_size=380)
  assert not worked
  assert trained == [{"vocab_size": 380}]
  manifest = json.loads((tmp_path / "out" / generate.MANIFEST).read_text())
  assert manifest["vocabulary"]["size"] <= 480


@pytest.mark.parametrize(
  "settings", [{"seed": 1}, {"max_history": 3}, {"domain": "books"}]
)
def test_the_key_is_of_all_that_records_are_made_from(
  prepared_dir, left, small_shards, settings
):
  from instructrec.pipelines import resumption

  def key(**changes):
    spec = units.Spec(prepared_dir=str(prepared_dir), **changes)
    return resumption.key(spec, spec.generator())

  assert key() == (left / "key").read_text()
  assert key(**settings) != key()


def test_another_key_begins_anew(stopped):
  folder, again = stopped
  (folder / "key").write_text("that of another run")
  worked, trained = again()
  assert ("train", 0) in worked
  assert trained


def test_a_folder_of_others_is_left_alone(tmp_path):
  from instructrec.pipelines import resumption

  (tmp_path / "out.unfinished").mkdir()
  (tmp_path / "out.unfinished" / "novel.txt").write_text("chapter one")
  with pytest.raises(FileExistsError, match="was not made by `generate`"):
    resumption.Unfinished(tmp_path / "out", "key")
  assert (tmp_path / "out.unfinished" / "novel.txt").read_text()


def test_what_is_removed_halfway_is_known_again(left, tmp_path):
  """Its key goes last."""
  from instructrec.pipelines import resumption

  shutil.copytree(left, tmp_path / left.name)
  for path in (tmp_path / left.name).glob("*.json"):
    path.unlink()
  key = (left / "key").read_text()
  unfinished = resumption.Unfinished(tmp_path / "out", key)
  assert unfinished.load("test-00000") is None
  resumption.Unfinished(tmp_path / "out", "another key").remove()
  assert not list(tmp_path.iterdir())


def test_nothing_is_left_once_the_output_has_its_name(stopped, monkeypatch):
  """A kill at that moment leaves nothing that no command would remove."""
  left, again = stopped
  replace, was_left = output_folder._replace, []

  def watched(final, place):
    was_left.append(left.exists())
    replace(final, place)

  monkeypatch.setattr(output_folder, "_replace", watched)
  again()
  assert was_left == [False]
