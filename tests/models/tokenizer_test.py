import pytest

from instructrec.models import tokenizer

TEXTS = ["Space Chess and Go", "Chess for two", "a kite, a kite!"] * 30


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  path = tmp_path_factory.mktemp("vocabulary") / "spm.model"
  tokenizer.train(TEXTS, path, vocab_size=400)
  return tokenizer.Tokenizer(path)


def test_texts_come_back(trained):
  for text in (*TEXTS[:3], "unseen: Zürich"):
    ids = trained.encode(text)
    assert ids[-1] == tokenizer.EOS_ID
    assert tokenizer.UNKNOWN_ID not in ids
    assert max(ids) < trained.vocab_size
    assert trained.decode(ids) == text
  assert trained.encode_all(TEXTS[:2]) == [*map(trained.encode, TEXTS[:2])]


def test_decoding_ends_at_eos_and_skips_padding_and_sentinels(trained):
  ids = trained.encode("Go")
  padded = [0, *ids, 5, 6, trained.vocab_size - 1]
  assert trained.decode(padded) == "Go"


def test_sentinels_that_are_pieces_are_counted_once(
  trained, published, tmp_path
):
  public = tokenizer.Tokenizer(published(trained.path, tmp_path / "a.model"))
  assert public.vocab_size == trained.vocab_size
  ids = public.encode("Go")
  assert ids == trained.encode("Go")
  assert public.decode([*ids[:-1], public.vocab_size - 1]) == "Go"


def test_sentinels_separate(trained, published, tmp_path):
  public = tokenizer.Tokenizer(published(trained.path, tmp_path / "a.model"))
  for words in (trained, public):
    ids = words.separator_ids(["<extra_id_0>", "<extra_id_99>"])
    assert ids == (words.vocab_size - 1, words.vocab_size - 100)
    assert words.decode(words.separator_ids(["<extra_id_7>"])) == ""
  for text in ("\n", "Zü", "<extra_id_100>"):
    with pytest.raises(ValueError, match="the vocabulary reads"):
      trained.separator_ids([text])


def test_training_is_deterministic(trained, tmp_path):
  tokenizer.train(TEXTS, tmp_path / "again.model", vocab_size=400)
  again = tokenizer.Tokenizer(tmp_path / "again.model")
  assert again.fingerprint() == trained.fingerprint()


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="no SentencePiece model at"):
    tokenizer.Tokenizer(tmp_path / "none.model")


def test_other_special_ids_are_refused(tmp_path):
  import sentencepiece

  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(TEXTS),
    model_prefix=str(tmp_path / "other"),
    vocab_size=60,
    hard_vocab_limit=False,
    minloglevel=2,
  )
  with pytest.raises(ValueError, match=r"expected \(0, 1, 2\).*by T5X"):
    tokenizer.Tokenizer(tmp_path / "other.model")


def test_the_other_form_is_refused(tmp_path):
  path = tmp_path / "tokenizer.json"
  path.write_text("{}")
  with pytest.raises(ValueError, match="SentencePiece models alone"):
    tokenizer.Tokenizer(path)


def test_the_real_t5_vocabulary(shared_data):
  real = tokenizer.Tokenizer(shared_data / "t5_vocab" / "spiece.model")
  assert real.vocab_size == 32_100
  assert real.encode("Hello world") == [8774, 296, 1]


def test_a_model_in_memory_is_that_of_the_file(trained):
  model = tokenizer.train_in_memory(TEXTS, vocab_size=400)
  assert [*model.encode(TEXTS[0]), tokenizer.EOS_ID] == trained.encode(TEXTS[0])
  assert model.get_piece_size() + tokenizer.EXTRA_IDS == trained.vocab_size


def test_a_vocabulary_without_room_for_all_characters_is_refused():
  with pytest.raises(ValueError, match=r"of 100 pieces .* Increase vocab_size"):
    tokenizer.train_in_memory(TEXTS, vocab_size=100)


def test_a_catalogue_with_more_characters_than_pieces_has_a_vocabulary():
  """Half of the pieces are characters; bytes spell the rarer ones."""
  kanji = [chr(0x4E00 + n) for n in range(2_000)]
  titles = ["".join(kanji[n : n + 3]) for n in range(0, 1_998)]
  titles += ["\u4e00\u4e8c\u4e09"] * 50
  model = tokenizer.train_in_memory(titles, vocab_size=600)
  assert model.get_piece_size() == 600
  rows = [tuple(model.encode(title)) for title in titles]
  assert not any(tokenizer.UNKNOWN_ID in row for row in rows)
  assert len(set(rows)) == len(set(titles))
  assert [model.decode(list(row)) for row in rows] == titles


@pytest.fixture
def few_characters(monkeypatch):
  monkeypatch.setattr(tokenizer, "MAX_CHARACTERS", 100)


def test_a_vocabulary_reads_no_more_than_the_first_texts(few_characters):
  texts = ["x" * 30] * 10
  # The one that reaches over the limit is the last.
  assert list(tokenizer.first(texts)) == texts[:4]


def test_titles_are_at_most_half_of_what_a_vocabulary_reads(few_characters):
  titles = [f"title {n:03}" for n in range(40)]
  found = tokenizer.sample(titles, ["a text " * 2] * 40)
  assert found[:5] == titles[::8]
  assert set(found[5:]) == {"a text " * 2}
  assert 100 <= sum(map(len, found)) <= 120
  few = tokenizer.sample(titles[:5], ["text"])
  assert few == [*titles[:5], "text"]


def test_texts_that_a_vocabulary_cannot_tell_apart_look_alike(trained):
  first, second, third = trained.looks(["Go", "\uff27\uff4f", "go"])
  assert first == second != third
