"""The SentencePiece vocabulary that the registered SeqIO tasks use."""

import os

import seqio

from instructrec.models import tokenizer

ENVIRONMENT_VARIABLE = "INSTRUCTREC_VOCABULARY"
PUBLIC_T5 = "gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model"
"""The vocabulary of the public T5 and Flan-T5 checkpoints."""


def default_path() -> str:
  """The model file named by `INSTRUCTREC_VOCABULARY`, else T5's public one."""
  return os.environ.get(ENVIRONMENT_VARIABLE) or PUBLIC_T5


def default() -> seqio.SentencePieceVocabulary:
  """The vocabulary of the tasks; the file is read on first use.

  The public file already holds its 100 sentinels as pieces; any other gets
  them behind its own pieces.
  """
  path = default_path()
  extra_ids = 0 if path == PUBLIC_T5 else tokenizer.EXTRA_IDS
  return seqio.SentencePieceVocabulary(path, extra_ids=extra_ids)
