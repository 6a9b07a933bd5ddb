"""Prepared data in, a folder of instructions out: `instructrec generate`."""

import importlib.util
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, cast

from instructrec import output_folder
from instructrec.alignment import control_rows
from instructrec.instructions import (
  budget,
  card,
  chat,
  plans,
  templates,
  units,
)
from instructrec.instructions.format import FINE_GRAINED
from instructrec.pipelines import generate as writing
from instructrec.settings import generation

_Tell = Callable[[str], None]


def generate(
  settings: generation.GenerationSettings, *, tell: _Tell = print
) -> pathlib.Path:
  """Turns requests into instructions: a TFDS data set for SeqIO.

  Args:
    settings: which prepared data, and how.
    tell: shows a line.

  Returns:
    The folder.

  Raises:
    BudgetExceededError: where a chat teacher would take more than it may.
    FileExistsError: where the output exists and is not to be replaced.
    InUseError: where another process makes the output.
    ValueError: where Beam is not installed, there are no requests, or the
      vocabulary cannot tell titles apart; see
      `alignment.control_rows.ControlSpec` also.
  """
  kinds = tuple(
    kind.value
    for kind in settings.kinds
    if kind != generation.InstructionKind.control
  )
  spec = units.Spec(
    prepared_dir=str(settings.data),
    seed=settings.seed,
    protocol=cast("plans.Protocol", settings.protocol.value),
    domain=None if settings.domain is None else settings.domain.value,
    max_history=settings.max_history,
    chat=_chat(settings.teaching),
    kinds=kinds,
    template_files=tuple(map(str, settings.template_files)) or None,
    eval_templates=settings.eval_templates or _eval_templates(kinds),
    control=_control(settings.control),
  )
  produce = _produce(settings, tell)
  with output_folder.locked(settings.output, "generate", tell):
    manifest = writing.write(
      spec,
      settings.output,
      produce=produce,
      vocabulary=settings.vocabulary,
      vocab_size=settings.vocab_size,
      overwrite=settings.overwrite,
    )
  _tell_result(settings.output, manifest, tell)
  return settings.output


def _eval_templates(kinds: Sequence[str]) -> tuple[str, ...]:
  names = {
    templates.INSTRUCTREC: plans.EVAL_TEMPLATES,
    templates.GENREC: plans.GENREC_EVAL_TEMPLATES,
  }
  return tuple(name for kind in kinds for name in names[kind])


def _control(
  settings: generation.ControlSettings,
) -> control_rows.ControlSpec | None:
  if settings.retriever is None:
    return None
  return control_rows.ControlSpec(
    retriever=str(settings.retriever),
    num_epochs=settings.num_epochs,
    kinds=tuple(name.value for name in settings.attributes),
  )


def _chat(settings: generation.TeacherSettings) -> chat.ChatConfig | None:
  if settings.teacher != generation.TeacherName.chat:
    return None
  assert settings.teacher_model is not None
  return chat.ChatConfig(
    model=settings.teacher_model,
    base_url=settings.teacher_base_url,
    cache=str(settings.teacher_cache),
    concurrency=settings.teacher_concurrency,
    budget=budget.Budget(
      max_tokens=settings.teacher_max_tokens,
      max_cost=settings.teacher_max_cost,
      price_in=settings.teacher_price_in,
      price_out=settings.teacher_price_out,
    ),
  )


def _produce(
  settings: generation.GenerationSettings, tell: _Tell
) -> writing.Produce:
  """What makes the shards."""
  if settings.runner == generation.Runner.beam:
    if importlib.util.find_spec("apache_beam") is None:
      raise ValueError(
        "--runner=beam needs Apache Beam: pip install 'instructrec[beam]'"
      )
    from instructrec.pipelines import beam_generate

    return beam_generate.produce(list(settings.beam_options))
  if settings.teaching.teacher == generation.TeacherName.chat:
    return writing.with_estimate(writing.produce_locally(1), tell)
  return writing.produce_locally(settings.num_workers)


def _tell_result(
  output: pathlib.Path, manifest: dict[str, Any], tell: _Tell
) -> None:
  """Says what was written, and how well the vocabulary fits."""
  for name, splits in manifest["rows"].items():
    counts = ", ".join(f"{n:,} {split}" for split, n in splits.items())
    tell(f"{name}: {counts}")
  texts = sum(manifest["rows"].get(FINE_GRAINED, {}).values())
  found = manifest["vocabulary"]
  unknown = card.unknown_tokens(found, manifest["items"]["count"])
  tell(
    f"{texts:,} fine-grained instructions, vocabulary of {found['size']:,} ids "
    f"({found['origin']}): {unknown}"
  )
  if found["titles_with_unknown"]:
    tell(
      "note: a model reads all unknown tokens alike; leave out --vocabulary to "
      "have one trained, which knows every character"
    )
  tell(
    f"written to {output}; read {output / writing.CARD}; fingerprint "
    f"{manifest['fingerprint'][:23]}"
  )
