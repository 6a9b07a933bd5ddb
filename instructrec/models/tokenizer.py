"""SentencePiece text to ids and back, without TensorFlow.

The ids are those of `seqio.SentencePieceVocabulary` with the same file: 0 is
padding, 1 ends a sequence (EOS), 2 is unknown.
"""

import collections
import hashlib
import io
import itertools
import math
import os
import pathlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import BinaryIO

import sentencepiece

from instructrec import records

MAX_CHARACTERS = 4_000_000
"""What a vocabulary is trained on, at most: half a minute on one core."""
PAD_ID = 0
EOS_ID = 1
UNKNOWN_ID = 2
_OTHER_PIECES = 3 + 256
"""Special ids and bytes."""
EXTRA_IDS = 100
"""Sentinel ids at the end, as T5 counts them; unused by instructions."""
ENVIRONMENT_VARIABLE = "INSTRUCTREC_VOCABULARY"
"""Names the vocabulary of the SeqIO tasks, and so of whatever T5X trains."""
PUBLIC_T5 = "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model"
"""The vocabulary of the public T5 and Flan-T5 checkpoints."""
_SENTINELS = ("▁<extra_id_0>", "<extra_id_0>")
_SENTINEL = re.compile(r"<extra_id_(\d{1,2})>")


class Tokenizer:
  """Encodes and decodes with a SentencePiece model file.

  Args:
    path: the model file.

  Raises:
    FileNotFoundError: where there is no such file.
    DamagedError: where it is no such model.
    ValueError: where its special ids are not those of T5, or it is a
      `tokenizer.json`.
  """

  def __init__(self, path: str | os.PathLike[str]) -> None:
    self.path = pathlib.Path(path)
    if not self.path.is_file():
      raise FileNotFoundError(
        f"no SentencePiece model at {self.path}; `instructrec generate` "
        "writes one to <output>/vocabulary/sentencepiece.model"
      )
    check_form(self.path)
    with records.reading(self.path, "expected a SentencePiece model"):
      self._model = sentencepiece.SentencePieceProcessor(
        model_file=str(self.path)
      )
    found = (
      self._model.pad_id(),
      self._model.eos_id(),
      self._model.unk_id(),
    )
    if found != (PAD_ID, EOS_ID, UNKNOWN_ID):
      raise ValueError(
        f"{self.path} has (pad, eos, unk) = {found}, expected "
        f"{(PAD_ID, EOS_ID, UNKNOWN_ID)} as T5 has them: the token caches of "
        "data folders, and whatever ranks, have T5's end token. A network with "
        "another one, such as LLaMA's, is trained and evaluated by T5X "
        "(docs/t5x.md, LLaMA)"
      )

  @property
  def vocab_size(self) -> int:
    """Pieces and sentinels."""
    return self._model.get_piece_size() + missing_sentinels(self._model)

  def fingerprint(self) -> str:
    """The SHA-256 of the model file."""
    return fingerprint(self.path)

  def encode(self, text: str) -> list[int]:
    """Ids of `text`, with EOS at the end."""
    return [*self._model.encode(text), EOS_ID]

  def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
    """As `encode`, of many texts."""
    return [[*ids, EOS_ID] for ids in self._model.encode(list(texts))]

  def encode_prompts(self, texts: Sequence[str]) -> list[list[int]]:
    """Ids of texts to be answered, as `encode_all`: T5's end with EOS too."""
    return self.encode_all(texts)

  def looks(self, titles: Sequence[str]) -> list[tuple[int, ...]]:
    """What this vocabulary can tell titles apart by; see `data.catalog`.

    Characters that it does not know are all alike.

    Args:
      titles: any texts.

    Returns:
      The ids of each.
    """
    return [tuple(ids) for ids in self._model.encode(list(titles))]

  def separator_ids(self, texts: Sequence[str]) -> tuple[int, ...]:
    """Ids of texts that separate others: sentinels, or see `separator_id`."""
    return tuple(
      sentinel_id(self.vocab_size, int(found[1]))
      if (found := _SENTINEL.fullmatch(text))
      else separator_id(self.looks, text)
      for text in texts
    )

  def decode(self, ids: Iterable[int]) -> str:
    """Text of `ids` up to the first EOS; padding and sentinels are dropped."""
    size = self.vocab_size - EXTRA_IDS
    kept = itertools.takewhile(lambda i: i != EOS_ID, map(int, ids))
    return self._model.decode([i for i in kept if 0 < i < size])


def check_form(path: str | os.PathLike[str]) -> None:
  """Raises ValueError for the other form of vocabularies, `tokenizer.json`."""
  if os.fspath(path).endswith(".json"):
    raise ValueError(
      f"{os.fspath(path)} is a tokenizer.json, and SeqIO's tasks and the "
      "commands read SentencePiece models alone; name the tokenizer.model of "
      "the checkpoint where there is one (docs/t5x.md, LLaMA)"
    )


def default_path() -> str:
  """The model file named by `INSTRUCTREC_VOCABULARY`, else T5's public one."""
  return os.environ.get(ENVIRONMENT_VARIABLE) or PUBLIC_T5


def sentinel_id(vocab_size: int, number: int) -> int:
  """Id of `<extra_id_NUMBER>`: T5 counts them down from the last id."""
  return vocab_size - 1 - number


def counting_sentinels(vocab_size: int) -> tuple[int, ...]:
  """Ids of `<extra_id_1>` to `<extra_id_99>`, which separate titles of lists.

  Args:
    vocab_size: of a vocabulary that ends with its sentinels, as T5's do.
  """
  return tuple(sentinel_id(vocab_size, n) for n in range(1, EXTRA_IDS))


def separator_id(
  looks: Callable[[Sequence[str]], Sequence[tuple[int, ...]]], text: str
) -> int:
  """Id of a text that a vocabulary keeps as one token behind others.

  Args:
    looks: from texts to the ids of each.
    text: such as a newline.

  Returns:
    The id.

  Raises:
    ValueError: where it is lost, or is several tokens.
  """
  alone, behind = looks(["a", f"a{text}"])
  if len(behind) != len(alone) + 1 or behind[:-1] != alone:
    raise ValueError(
      f"the vocabulary reads {text!r} behind a word as the tokens "
      f"{list(behind[len(alone) :])}, expected one; T5's keep sentinels such "
      "as '<extra_id_0>', LLaMA's newlines and their special tokens"
    )
  return behind[-1]


def missing_sentinels(model: sentencepiece.SentencePieceProcessor) -> int:
  """Sentinels that are to be counted behind the pieces of a model.

  T5's public file holds them as pieces, wherever it was copied to; vocabularies
  with other special ids than T5's, such as LLaMA's, have none.

  Args:
    model: a vocabulary.

  Returns:
    0 or `EXTRA_IDS`.
  """
  unknown = model.unk_id()
  if (model.pad_id(), model.eos_id(), unknown) != (PAD_ID, EOS_ID, UNKNOWN_ID):
    return 0
  held = any(model.piece_to_id(name) != unknown for name in _SENTINELS)
  return 0 if held else EXTRA_IDS


def fingerprint(path: str | os.PathLike[str]) -> str:
  """The SHA-256 of a model file, as "sha256:<hex>"."""
  digest = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
  return f"sha256:{digest}"


def train(
  texts: Iterable[str], path: str | os.PathLike[str], *, vocab_size: int
) -> None:
  """Trains a unigram SentencePiece model with T5's special ids.

  Characters that the texts lack fall back to bytes, so that any text has ids
  other than unknown; and so do the rarest where there are more than pieces, as
  of a Japanese catalogue.

  Args:
    texts: what to train on; only training data, or the vocabulary leaks. From
      `MAX_CHARACTERS` on they are not read.
    path: where to write the model file.
    vocab_size: pieces at most; fewer where the texts do not yield as many.

  Raises:
    ValueError: where `vocab_size` has no room for all characters.
  """
  with pathlib.Path(path).open("wb") as file:
    _train(texts, file, vocab_size)


def train_in_memory(
  texts: Iterable[str], *, vocab_size: int
) -> sentencepiece.SentencePieceProcessor:
  """As `train`, without a file.

  Args:
    texts: what to train on.
    vocab_size: pieces at most.

  Returns:
    The model.

  Raises:
    ValueError: where `vocab_size` has no room for all characters.
  """
  buffer = io.BytesIO()
  _train(texts, buffer, vocab_size)
  return sentencepiece.SentencePieceProcessor(model_proto=buffer.getvalue())


def first(texts: Iterable[str]) -> Iterator[str]:
  """The texts whose beginning lies within `MAX_CHARACTERS`."""
  total = 0
  for text in texts:
    if total > MAX_CHARACTERS:
      return
    total += len(text)
    yield text


def sample(titles: Sequence[str], texts: Iterable[str]) -> list[str]:
  """What to train a vocabulary on: titles, then texts that use them.

  Args:
    titles: of a catalogue. Where all of them are more than half of what is
      read, every n-th one is taken: texts have words that no title has.
    texts: in the order in which they are wanted.

  Returns:
    No more than `train` reads.
  """
  step = max(1, math.ceil(2 * sum(map(len, titles)) / MAX_CHARACTERS))
  return list(first(itertools.chain(titles[::step], texts)))


def _without_rare(texts: list[str], vocab_size: int) -> list[str]:
  """The texts without the rarest characters, where there are too many.

  SentencePiece gives each character a piece, and fails where these are more
  than it may make. Half of the pieces are for the commonest then.
  """
  room = vocab_size - _OTHER_PIECES
  counts = collections.Counter[str]()
  for text in texts:
    counts.update(unicodedata.normalize("NFKC", text))
  if not 0 < room < len(counts):
    return texts
  kept = {character for character, _ in counts.most_common(room // 2)}
  rare = dict.fromkeys(map(ord, counts.keys() - kept), " ")
  return [unicodedata.normalize("NFKC", t).translate(rare) for t in texts]


def _train(texts: Iterable[str], writer: BinaryIO, vocab_size: int) -> None:
  sentences = _without_rare(list(first(texts)), vocab_size)
  try:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(sentences),
      model_writer=writer,
      model_type="unigram",
      vocab_size=vocab_size,
      hard_vocab_limit=False,
      byte_fallback=True,
      character_coverage=1.0,
      max_sentence_length=65536,
      pad_id=PAD_ID,
      eos_id=EOS_ID,
      unk_id=UNKNOWN_ID,
      bos_id=-1,
      # Pieces depend on how many threads add up their counts, and 98 of 100
      # seconds, in which pieces are sought, are of one thread in any case.
      num_threads=1,
      minloglevel=2,
    )
  except RuntimeError as error:
    raise ValueError(
      f"no vocabulary of {vocab_size} pieces could be trained: {error}"
    ) from error
