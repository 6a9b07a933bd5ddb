"""How vocabularies fit titles: unknown tokens, titles that are one."""

import polars as pl
import pytest

from instructrec.data import catalog
from instructrec.models import tokenizer

pytestmark = pytest.mark.tf
_JAPANESE = ("\u4e03\u4eba\u306e\u4f8d", "\u7f85\u751f\u9580", "\u4e71")


def catalog_of(*titles):
  ids = [f"i{n}" for n in range(len(titles))]
  return catalog.Catalog(pl.DataFrame({"item_id": ids, "title": titles}))


def fit(items, vocabulary):
  from instructrec.pipelines import title_fit

  return title_fit.TitleFit.of(items.titles, vocabulary)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
  """A vocabulary that knows no Japanese and has no bytes, as T5's."""
  path = tmp_path_factory.mktemp("plain") / "plain.model"
  with path.open("wb") as file:
    tokenizer.sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(["Seven Samurai Chess Go (#0123456789)"] * 20),
      model_writer=file,
      vocab_size=40,
      hard_vocab_limit=False,
      pad_id=0,
      eos_id=1,
      unk_id=2,
      bos_id=-1,
      minloglevel=2,
    )
  return tokenizer.Tokenizer(path)


def test_unknown_tokens_and_titles_that_are_one_are_counted(plain):
  items = catalog_of("Go", *_JAPANESE, "Chess \u4e71")
  found = fit(items, plain)
  assert found.alike == ((1, 2, 3),)
  assert (found.num_alike, found.num_with_unknown) == (3, 4)
  rows = plain.looks(items.titles)
  unknown = [row.count(tokenizer.UNKNOWN_ID) for row in rows]
  assert unknown == [0, 1, 1, 1, 1]
  assert found.unknown_share == 4 / sum(map(len, rows))
  assert found.summary()["titles_alike"] == 3


def test_a_vocabulary_that_is_given_is_refused_by_name(plain):
  items = catalog_of("Go", *_JAPANESE)
  with pytest.raises(ValueError, match=r"3 of 4 titles apart") as error:
    fit(items, plain).check(items, plain.path)
  message = str(error.value)
  assert f"'i1' ({_JAPANESE[0]!r}) and 'i2' ({_JAPANESE[1]!r})" in message
  assert "of the tokens of titles are unknown, in 3 of 4 titles" in message
  assert f"prepare --vocabulary={plain.path}" in message
  assert "Leave out --vocabulary" in message


def test_titles_that_prepare_told_apart_fit(plain):
  items = catalog_of("Go", *_JAPANESE).remade(looks=plain.looks)
  assert items.titles[1:] == [
    _JAPANESE[0],
    f"{_JAPANESE[1]} (#2)",
    f"{_JAPANESE[2]} (#3)",
  ]
  found = fit(items, plain)
  assert found.alike == ()
  found.check(items, plain.path)


def test_a_trained_vocabulary_knows_every_character(tmp_path):
  items = catalog_of(
    *_JAPANESE, "Rocky II", "Rocky \u2161", "Caf\u00e9", "Cafe\u0301", "Go",
    "GO", "\U0001f600", "\u05e9\u05dc\u05d5\u05dd", "\u200fGo", "Go!",
  )  # fmt: skip
  path = tmp_path / "trained.model"
  tokenizer.train(items.titles, path, vocab_size=330)
  found = fit(items, tokenizer.Tokenizer(path))
  assert (found.num_unknown, found.alike) == (0, ())


def test_the_vocabulary_of_t5(shared_data):
  """It has no byte fallback: whatever it lacks is one and the same token."""
  t5 = tokenizer.Tokenizer(shared_data / "t5_vocab" / "spiece.model")
  items = catalog_of(*(chr(0x4E00 + n) * 3 for n in range(12)))
  with pytest.raises(ValueError, match=r"12 of 12 titles apart.*50\.00%"):
    fit(items, t5).check(items, t5.path)
  assert fit(items.remade(looks=t5.looks), t5).alike == ()


def test_an_empty_catalogue_fits(plain):
  items = catalog_of()
  assert fit(items, plain).unknown_share == 0
