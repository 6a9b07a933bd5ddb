"""Vocabularies of LLaMA-style checkpoints, in both forms of file."""

import sys

import numpy as np
import pytest
import sentencepiece

from instructrec.instructions import title_list
from instructrec.models import llama_tokenizer, tokenizer

TEXTS = ["Space Chess and Go!", "Chess for two", "a kite, a kite!"] * 30
UNSEEN = "Zürich, 日本!"


@pytest.fixture(scope="module", name="model_file")
def model_file_fixture(tmp_path_factory):
  """As LLaMA's: unknown, begin and end are 0, 1, 2; bytes, all spaces kept."""
  prefix = tmp_path_factory.mktemp("llama") / "tokenizer"
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(TEXTS),
    model_prefix=str(prefix),
    model_type="bpe",
    vocab_size=320,
    hard_vocab_limit=False,
    byte_fallback=True,
    normalization_rule_name="identity",
    remove_extra_whitespaces=False,
    unk_id=0,
    bos_id=1,
    eos_id=2,
    pad_id=-1,
    minloglevel=2,
  )
  return prefix.with_suffix(".model")


@pytest.fixture(scope="module", name="json_file")
def json_file_fixture(tmp_path_factory):
  """As Llama 3's: bytes from 0 on, special tokens behind all pieces."""
  tokenizers = pytest.importorskip("tokenizers")
  made = tokenizers.Tokenizer(tokenizers.models.BPE())
  made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False
  )
  made.decoder = tokenizers.decoders.ByteLevel()
  made.train_from_iterator(
    TEXTS,
    tokenizers.trainers.BpeTrainer(
      vocab_size=300,
      show_progress=False,
      initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    ),
  )
  made.add_special_tokens(["<begin>", "<end>", "<padding>"])
  path = tmp_path_factory.mktemp("llama3") / "tokenizer.json"
  made.save(str(path))
  return path


def _open_json(path):
  size = llama_tokenizer._Json(path).size
  return llama_tokenizer.LlamaTokenizer(
    path, bos_id=size - 3, eos_id=size - 2, padding_row=size - 1
  )


def _check(words):
  for text in (*TEXTS[:3], UNSEEN):
    (answer,) = words.encode_all([text])
    (prompt,) = words.encode_prompts([text])
    assert answer == words.encode(text)
    assert answer[:-1] == prompt[1:]
    assert (prompt[0], answer[-1]) == (words.bos_id, words.eos_id)
    # Padding would be lost, and nothing is beyond the network's tables.
    assert tokenizer.PAD_ID not in answer
    assert max(prompt) < words.vocab_size
    # Behind the end there may be anything.
    assert words.decode([*answer, 0, 5]).strip() == text
    assert words.decode([*prompt, 0, 0]).strip() == text
  assert words.looks(["Go", "go"])[0] == tuple(words.encode("Go")[:-1])
  _check_lists(words)


def _check_lists(words):
  """Titles are written one by one, with the newline's token between."""
  titles = ["Go!", UNSEEN, "1,000 Miles", "!"]
  ids = {
    "separator_ids": words.separator_ids(title_list.NEWLINES),
    "eos_id": words.eos_id,
  }
  tokens = title_list.join_tokens(words.encode_all(titles), **ids)
  rows = title_list.split_tokens([*tokens, 0, 0], **ids).entries
  assert rows == [list(look) for look in words.looks(titles)]
  reader = title_list.Reader(titles, separators=title_list.NEWLINES)
  assert reader.read_entries(map(words.decode, rows)).items == (0, 1, 2, 3)
  assert reader.read(words.decode(tokens)).items == (0, 1, 2, 3)
  with pytest.raises(ValueError, match="the vocabulary reads"):
    words.separator_ids(title_list.SENTINELS)


def test_a_sentencepiece_model(model_file):
  words = llama_tokenizer.LlamaTokenizer(model_file)
  _check(words)
  theirs = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
  assert words.encode(UNSEEN) == [*theirs.encode(UNSEEN), 2]
  assert words.encode_prompts([UNSEEN]) == [[1, *theirs.encode(UNSEEN)]]
  assert words.fingerprint() == tokenizer.fingerprint(model_file)


def test_a_tokenizer_json(json_file):
  tokenizers = pytest.importorskip("tokenizers")
  words = _open_json(json_file)
  _check(words)
  theirs = tokenizers.Tokenizer.from_file(str(json_file))
  first = theirs.id_to_token(0)
  assert first == "!"
  expected = np.array(theirs.encode(UNSEEN).ids)
  assert (expected == 0).sum() == 1
  # An exclamation mark has the id of padding there, and padding's here.
  expected[expected == 0] = words.vocab_size - 1
  assert words.encode(UNSEEN)[:-1] == expected.tolist()


def test_padding_that_is_text_is_named(json_file):
  size = llama_tokenizer._Json(json_file).size
  with pytest.raises(
    ValueError, match="the id 0 for '!', which is text, but it is the padding_"
  ):
    llama_tokenizer.LlamaTokenizer(
      json_file, bos_id=size - 3, eos_id=size - 2, padding_row=0
    )


@pytest.mark.parametrize(
  ("ids", "message"),
  [
    ({"eos_id": 300}, "the id 300 for .*, which is text, but it is the eos_id"),
    ({"bos_id": 9999}, r"no id 9999, it has \d+, but it is the bos_id"),
  ],
)
def test_a_vocabulary_of_another_network_is_named(model_file, ids, message):
  with pytest.raises(ValueError, match=message):
    llama_tokenizer.LlamaTokenizer(model_file, **ids)


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="no vocabulary at"):
    llama_tokenizer.LlamaTokenizer(tmp_path / "tokenizer.model")


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
def test_a_damaged_file_is_named(name, tmp_path):
  if name.endswith("json"):
    pytest.importorskip("tokenizers")
  (tmp_path / name).write_bytes(b"\xff" * 99)
  with pytest.raises(ValueError, match=f"{name} is no"):
    llama_tokenizer.LlamaTokenizer(tmp_path / name)


def test_the_library_is_asked_for(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "tokenizers", None)
  (tmp_path / "tokenizer.json").write_text("{}")
  with pytest.raises(ImportError, match=r"instructrec\[tokenizers\]"):
    llama_tokenizer.LlamaTokenizer(tmp_path / "tokenizer.json")
