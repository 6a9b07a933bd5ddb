"""The SentencePiece vocabulary that the registered SeqIO tasks use."""

from typing import Any

import seqio

from instructrec.models import tokenizer


class _Named(seqio.SentencePieceVocabulary):
  """The vocabulary that is named when it is used.

  Tasks are registered once a process, which may read several data folders,
  each with a vocabulary of its own. A copy stays with the file that is named
  when it is made, and so does what another process gets.
  """

  def __init__(self) -> None:
    super().__init__(tokenizer.default_path())
    self._counted: str | None = None

  def _follow(self) -> None:
    """Reads what is named, unless it was read last."""
    if self._counted == (path := tokenizer.default_path()):
      return
    tokenizer.check_form(path)
    pieces = seqio.SentencePieceVocabulary(path).tokenizer
    super().__init__(path, extra_ids=tokenizer.missing_sentinels(pieces))
    self._counted = path

  def _model_context(self) -> Any:
    self._follow()
    return super()._model_context()

  @property
  def sentencepiece_model_file(self) -> str:
    return tokenizer.default_path()

  @property
  def extra_ids(self) -> int:
    self._follow()
    return super().extra_ids

  def __getstate__(self) -> dict[str, Any]:
    # SeqIO compares vocabularies by their states.
    self._follow()
    state: dict[str, Any] = super().__getstate__()
    return {name: value for name, value in state.items() if name != "_counted"}

  def __reduce__(self) -> tuple[Any, ...]:
    path = tokenizer.default_path()
    return seqio.SentencePieceVocabulary, (path, self.extra_ids)


def separator_ids() -> tuple[int, ...]:
  """The tokens between titles of lists in that vocabulary: its sentinels."""
  return tokenizer.counting_sentinels(default().vocab_size)


def default() -> seqio.SentencePieceVocabulary:
  """The vocabulary of the tasks: the file that is named, each time.

  The file is read on first use.
  """
  return _Named()
