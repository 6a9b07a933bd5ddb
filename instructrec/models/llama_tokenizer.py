"""Text to ids and back with the vocabularies of LLaMA-style checkpoints.

LLaMA and Llama 2 have a SentencePiece model (`tokenizer.model`), Llama 3 and
most others a `tokenizer.json`, which the extra [tokenizers] reads. Ids are
those of the network: where 0 is a piece of text in the file, it has changed
places with the network's `padding_row`, for 0 is padding here.

A prompt begins with its own token and has no end; an answer stands behind it
and ends with the end token.
"""

import itertools
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import sentencepiece

from instructrec.models import tokenizer


class _Pieces(Protocol):
  """A file of either form, with ids as they are in it."""

  @property
  def size(self) -> int: ...

  def encode(self, texts: Sequence[str]) -> list[list[int]]: ...

  def decode(self, ids: list[int]) -> str: ...

  def is_text(self, token: int) -> bool:
    """Whether some text has this id."""


class LlamaTokenizer:
  """Encodes prompts and answers for one network.

  Args:
    path: `tokenizer.model` or `tokenizer.json`.
    bos_id: the network's `LlamaConfig.bos_id`.
    eos_id: likewise.
    padding_row: likewise.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: where the file is none of a network with these ids.
    ImportError: where [tokenizers] is not installed, for `tokenizer.json`.
  """

  def __init__(
    self,
    path: str | os.PathLike[str],
    *,
    bos_id: int | None = 1,
    eos_id: int = 2,
    padding_row: int = 0,
  ) -> None:
    self.path = pathlib.Path(path)
    if not self.path.is_file():
      raise FileNotFoundError(
        f"no vocabulary at {self.path}; expected tokenizer.model or "
        "tokenizer.json of the checkpoint"
      )
    is_json = self.path.suffix == ".json"
    self._pieces: _Pieces = (_Json if is_json else _Model)(self.path)
    self.bos_id, self.eos_id = bos_id, eos_id
    self._padding_row = padding_row
    self._check()

  def _check(self) -> None:
    """Holds the network's special ids against the file."""
    for name, row in (
      ("bos_id", self.bos_id),
      ("eos_id", self.eos_id),
      ("padding_row", self._padding_row),
    ):
      if row is not None and row >= self._pieces.size:
        found = f"no id {row}, it has {self._pieces.size}"
      elif row is not None and self._pieces.is_text(row):
        found = (
          f"the id {row} for {self._pieces.decode([row])!r}, which is text"
        )
      else:
        continue
      raise ValueError(
        f"{self.path} has {found}, but it is the {name} of the network; name "
        "the vocabulary of the checkpoint, or set BOS_ID, EOS_ID and "
        "PADDING_ROW to what its config.json says"
      )

  @property
  def vocab_size(self) -> int:
    """Ids that texts and special tokens have."""
    return self._pieces.size

  def fingerprint(self) -> str:
    """The SHA-256 of the file."""
    return tokenizer.fingerprint(self.path)

  def encode_prompts(self, texts: Sequence[str]) -> list[list[int]]:
    """Ids of texts, behind the token that prompts begin with."""
    start = [] if self.bos_id is None else [self.bos_id]
    return [[*start, *ids] for ids in self._encode(texts)]

  def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
    """Ids of answers, with the end token behind them."""
    return [[*ids, self.eos_id] for ids in self._encode(texts)]

  def encode(self, text: str) -> list[int]:
    """As `encode_all`, of one text."""
    return self.encode_all([text])[0]

  def looks(self, titles: Sequence[str]) -> list[tuple[int, ...]]:
    """What this vocabulary can tell titles apart by; see `data.catalog`."""
    return [tuple(ids) for ids in self._encode(titles)]

  def separator_ids(self, texts: Sequence[str]) -> tuple[int, ...]:
    """Ids of texts that separate others; see `tokenizer.separator_id`."""
    return tuple(tokenizer.separator_id(self.looks, text) for text in texts)

  def decode(self, ids: Iterable[int]) -> str:
    """Text of `ids` up to the first end token; special ids are dropped."""
    kept = itertools.takewhile(lambda i: i != self.eos_id, map(int, ids))
    rows = [self._exchanged(i) for i in kept if i != tokenizer.PAD_ID]
    size, is_text = self._pieces.size, self._pieces.is_text
    return self._pieces.decode([i for i in rows if i < size and is_text(i)])

  def _encode(self, texts: Sequence[str]) -> list[list[int]]:
    rows = self._pieces.encode(list(texts))
    if not self._padding_row:
      return rows
    return [[self._exchanged(i) for i in row] for row in rows]

  def _exchanged(self, token: int) -> int:
    places = {0: self._padding_row, self._padding_row: 0}
    return places.get(token, token)


class _Model:
  """A SentencePiece model."""

  def __init__(self, path: pathlib.Path) -> None:
    try:
      self._model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except RuntimeError as error:
      raise ValueError(f"{path} is no SentencePiece model: {error}") from error
    self._unknown = self._model.unk_id()

  @property
  def size(self) -> int:
    return self._model.get_piece_size()

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    return self._model.encode(list(texts))

  def decode(self, ids: list[int]) -> str:
    return self._model.decode(ids)

  def is_text(self, token: int) -> bool:
    # Texts have no unknown pieces where characters fall back to bytes.
    return not (
      self._model.is_control(token)
      or self._model.is_unused(token)
      or token == self._unknown
    )


class _Json:
  """A file of the library `tokenizers`."""

  def __init__(self, path: pathlib.Path) -> None:
    try:
      import tokenizers
    except ImportError as error:
      raise ImportError(
        f"{path} is read by the library tokenizers, which is not installed: "
        "pip install 'instructrec[tokenizers]'"
      ) from error
    try:
      self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
    # The library raises no narrower one.
    except Exception as error:
      raise ValueError(f"{path} is no tokenizer.json: {error}") from error
    added = self._tokenizer.get_added_tokens_decoder()
    self._special = {i for i, token in added.items() if token.special}
    unknown = getattr(self._tokenizer.model, "unk_token", None)
    number = None if unknown is None else self._tokenizer.token_to_id(unknown)
    if number is not None:
      self._special.add(number)

  @property
  def size(self) -> int:
    return self._tokenizer.get_vocab_size()

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    found = self._tokenizer.encode_batch(texts, add_special_tokens=False)
    return [encoding.ids for encoding in found]

  def decode(self, ids: list[int]) -> str:
    return self._tokenizer.decode(ids)

  def is_text(self, token: int) -> bool:
    return token not in self._special
