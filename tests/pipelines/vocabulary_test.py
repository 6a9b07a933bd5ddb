"""The vocabulary that SeqIO's tasks and T5X read."""

import copy

import pytest

from instructrec.models import tokenizer

pytestmark = pytest.mark.tf


def test_without_a_setting_the_vocabulary_is_t5s(monkeypatch):
  from instructrec.pipelines import vocabulary

  monkeypatch.delenv(tokenizer.ENVIRONMENT_VARIABLE, raising=False)
  assert vocabulary.default().sentencepiece_model_file == tokenizer.PUBLIC_T5
  monkeypatch.setenv(tokenizer.ENVIRONMENT_VARIABLE, "/some/file.model")
  words = vocabulary.default()
  assert words.sentencepiece_model_file == "/some/file.model"
  monkeypatch.setenv(tokenizer.ENVIRONMENT_VARIABLE, "/some/tokenizer.json")
  with pytest.raises(ValueError, match="SentencePiece models alone"):
    words.encode("a mug")


def test_tasks_follow_the_vocabulary_that_is_named(tmp_path, monkeypatch):
  """A second data folder in one process is read in its own tokens."""
  import seqio

  from instructrec.pipelines import vocabulary

  text = "a mug for cold tea"
  words, seen = vocabulary.default(), []
  for number, texts in enumerate([["cold tea"] * 9, ["a mug for it"] * 9]):
    path = tmp_path / f"{number}.model"
    tokenizer.train([text, *texts], path, vocab_size=400)
    monkeypatch.setenv(tokenizer.ENVIRONMENT_VARIABLE, str(path))
    plain = seqio.SentencePieceVocabulary(str(path), tokenizer.EXTRA_IDS)
    copied = copy.deepcopy(words)
    assert words == plain == copied
    for used in (words, copied):
      assert used.sentencepiece_model_file == str(path)
      assert used.vocab_size == plain.vocab_size
      assert used.encode(text) == plain.encode(text)
      assert used.encode_tf(text).numpy().tolist() == plain.encode(text)
    seen.append(plain.encode(text))
  assert seen[0] != seen[1]


def test_a_copy_of_the_public_vocabulary_has_its_ids(
  published, tmp_path, monkeypatch
):
  """Wherever it lies: its sentinels are pieces, and are not added again."""
  import seqio

  from instructrec.pipelines import vocabulary

  own, copied = tmp_path / "own.model", tmp_path / "copied.model"
  tokenizer.train(["a mug for cold tea"] * 9, own, vocab_size=400)
  published(own, copied)
  words = vocabulary.default()
  for path, extra_ids in ((copied, 0), (own, tokenizer.EXTRA_IDS)):
    monkeypatch.setenv(tokenizer.ENVIRONMENT_VARIABLE, str(path))
    assert words.extra_ids == extra_ids
    assert words == seqio.SentencePieceVocabulary(str(path), extra_ids)
    assert words.vocab_size == tokenizer.Tokenizer(own).vocab_size
    assert words.encode("<extra_id_0>") == [words.vocab_size - 1]


def test_a_list_has_the_tokens_of_its_titles(tmp_path, monkeypatch):
  """Each as if it stood alone, and separators are one token each."""
  from instructrec.instructions import title_list
  from instructrec.pipelines import vocabulary

  titles = ['Café 2: "Go, go"', "1,000 Miles", "A", "<b> & 7"]
  path = tmp_path / "sentencepiece.model"
  tokenizer.train(titles * 9, path, vocab_size=400)
  monkeypatch.setenv(tokenizer.ENVIRONMENT_VARIABLE, str(path))
  words, own = vocabulary.default(), tokenizer.Tokenizer(path)
  separator_ids = own.separator_ids(title_list.SENTINELS)
  assert vocabulary.separator_ids() == separator_ids
  assert words.encode(" ".join(title_list.SENTINELS)) == [*separator_ids]
  ids = {"separator_ids": separator_ids, "eos_id": tokenizer.EOS_ID}
  tokens = title_list.join_tokens(own.encode_all(titles), **ids)
  text = title_list.write(titles)
  assert [*words.encode(text), tokenizer.EOS_ID] == tokens
  reader = title_list.Reader(titles)
  rows, misnumbered = title_list.split_tokens(tokens, **ids)
  assert not misnumbered
  assert reader.read_entries(map(own.decode, rows)).items == (0, 1, 2, 3)
  reading = reader.read(words.decode(tokens))
  assert (reading.items, reading.misnumbered) == ((0, 1, 2, 3), 0)
