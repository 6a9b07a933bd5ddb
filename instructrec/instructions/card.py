"""The data card of an instruction set, and the audit sheet for people."""

import csv
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from instructrec import foreign_text
from instructrec.instructions import generate, quality, tally, wish_card
from instructrec.instructions.format import (
  CONTROL,
  FineGrained,
  Instruction,
  TaskType,
)
from instructrec.instructions.teacher import TextKind

NUM_SHEET_ROWS = 100
QUESTIONS = (
  "derived from the user's related information?",
  "adds related world knowledge?",
  "reflects the preference or intention?",
  "related to the target item?",
)
"""The audit questions of the InstructRec paper, Table 3."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A cell that begins so could be a formula in a spreadsheet."""
_KINDS = {
  "preference": (TextKind.PREFERENCE,),
  "intention": (TextKind.VAGUE, TextKind.VAGUE_SECOND),
}
_PAPER_TEXTS = {"preference": 151_638, "intention": 101_092}
_PAPER_AUDIT = {
  "derived": {"preference": "93%", "intention": "90%"},
  "related_to_target": {"preference": "48%", "intention": "69%"},
}
_AUDIT_NAMES = {
  "derived": "derived from the user's information "
  "(shares a content word with its source)",
  "related_to_target": "related to the target "
  "(shares a content word with its title or categories)",
}


class _Sources:
  """What the sampled texts were made from."""

  def __init__(
    self, generator: generate.Generator, texts: Iterable[FineGrained]
  ) -> None:
    self._catalog = generator.prepared.catalog
    self._max_history = generator.max_history
    found = generator.prepared.requests.find(text.request_id for text in texts)
    self._rows = {row["request_id"]: row for row in found.iter_rows(named=True)}

  def _describe(self, item_id: str) -> str:
    item = self._catalog[item_id]
    known = (item.title, *item.categories, item.brand)
    return " | ".join(part for part in known if part)

  def of(self, text: FineGrained) -> tuple[list[str], str | None, str]:
    """Items, review and target of a text."""
    row = self._rows[text.request_id]
    target = self._describe(row["target"])
    if text.origin.startswith(("target", "stated")):
      return [target], row["target_review"], target
    history = row["history"][-self._max_history :]
    review = row["history_review"]
    return [self._describe(item) for item in history], review, target


def _texts(counted: tally.Tally, kinds: Sequence[str]) -> list[FineGrained]:
  return [
    record
    for kind in kinds
    for record in counted.sample(kind)
    if isinstance(record, FineGrained)
  ]


def write_audit(
  path: pathlib.Path, counted: tally.Tally, generator: generate.Generator
) -> None:
  """Writes the sheet on which people answer the paper's audit questions.

  Args:
    path: the CSV file.
    counted: counts and samples.
    generator: what the texts were made with.
  """
  texts = [
    text
    for kind in TextKind
    for text in _texts(counted, [kind])[:NUM_SHEET_ROWS]
  ]
  sources = _Sources(generator, texts)
  with path.open("w", newline="", encoding="utf-8") as file:
    sheet = csv.writer(file)
    sheet.writerow(
      ["kind", "text", "made from", "review", "target", *QUESTIONS]
    )
    for text in texts:
      items, review, target = sources.of(text)
      row = [text.kind, text.text, "; ".join(items), review or "", target]
      safe = ["'" + c if c.startswith(_FORMULA) else c for c in row]
      sheet.writerow([*safe, *[""] * len(QUESTIONS)])


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
  lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
  lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
  return "\n".join(lines) + "\n"


def _mean(counted: tally.Tally, names: Sequence[str]) -> str:
  rows = sum(counted.counted[name] for name in names)
  words = sum(counted.words[name] for name in names)
  return f"{words / rows:.1f}" if rows else "-"


def _paper_table(counted: tally.Tally, generator: generate.Generator) -> str:
  """The paper's Table 2 beside ours."""
  totals = {
    group: sum(counted.counted[kind] for kind in kinds)
    for group, kinds in _KINDS.items()
  }
  paper = [t for t in generator.template_set.templates if t.paper]
  in_group = {
    task: sum(template.task is task for template in paper) for task in TaskType
  }
  bare = sum(len(t.inputs.split()) for t in paper) / max(1, len(paper))
  every = [kind for kinds in _KINDS.values() for kind in kinds]
  rows = [
    ("fine-grained instructions", "252,730", f"{sum(totals.values()):,}"),
    *(
      (f"- {group}s", f"{_PAPER_TEXTS[group]:,}", f"{total:,}")
      for group, total in totals.items()
    ),
    ("- average words", "23.5", _mean(counted, every)),
    ("coarse templates", "39", len(paper)),
    ("- preference related", "17", in_group[TaskType.SEQUENTIAL]),
    ("- intention related", "9", in_group[TaskType.PRODUCT_SEARCH]),
    ("- combined", "13", in_group[TaskType.PERSONALIZED_SEARCH]),
    ("- average words, slots empty", "41.4", f"{bare:.1f}"),
    ("- average words, filled", "-", _mean(counted, list(TaskType))),
  ]
  return _table(("", "paper", "this set"), rows)


def _audit_table(counted: tally.Tally, generator: generate.Generator) -> str:
  """Shares of texts, by rule, beside what people said in the paper."""
  shares: dict[str, dict[str, str]] = {}
  for group, kinds in _KINDS.items():
    texts = _texts(counted, kinds)
    sources = _Sources(generator, texts)
    sums = dict.fromkeys(_AUDIT_NAMES, 0)
    for text in texts:
      items, review, target = sources.of(text)
      found = quality.audit(text.text, [*items, review or ""], [target])
      for name, holds in found.items():
        sums[name] += holds
    for name, count in sums.items():
      share = f"{count / len(texts):.0%} of {len(texts):,}" if texts else "-"
      shares.setdefault(name, {})[group] = share
  return _table(
    ("question", "preference", "paper", "intention", "paper"),
    (
      (
        label,
        shares[name]["preference"],
        _PAPER_AUDIT[name]["preference"],
        shares[name]["intention"],
        _PAPER_AUDIT[name]["intention"],
      )
      for name, label in _AUDIT_NAMES.items()
    ),
  )


def _example(row: Instruction) -> str:
  parts = f"`{row.template_id}` {row.preference}, {row.intention}"
  inputs, targets = map(foreign_text.in_markdown, (row.inputs, row.targets))
  return f"- {parts}\n  - {inputs}\n  - **{targets}**\n"


def _control(manifest: Mapping[str, Any]) -> str:
  """What rows of control tasks are made from; nothing where there are none."""
  found = manifest["control"]
  if not found:
    return ""
  retriever, unseen = found["retriever"], found["unseen"]
  facts = {
    "lists of": f"{retriever['method']}, seed {retriever['seed']}",
    "epochs of draws": found["num_epochs"],
    "asked for": ", ".join(found["attributes"]),
    "drawn from": found["drawn_from"],
    "only in test rows": f"k {unseen['k']}, {unseen['threshold']} of "
    f"{found['list_length']}, {len(unseen['wording'])} wordings",
  }
  return f"## Control tasks\n\n{_table(('', ''), facts.items())}\n"


def _examples(counted: tally.Tally) -> str:
  parts = []
  control = [CONTROL] if counted.sample(CONTROL) else []
  for task in (*TaskType, *control):
    rows = [r for r in counted.sample(task) if isinstance(r, Instruction)]
    parts.append(f"### {task}\n\n" + "".join(map(_example, rows)))
  return "\n".join(parts)


def _templates(
  manifest: Mapping[str, Any], generator: generate.Generator
) -> str:
  counts = manifest["templates"]
  return _table(
    ("template", "paper", "kind", "form", "training rows"),
    (
      (
        f"`{t.id}`",
        t.paper or "-",
        t.kind,
        t.form,
        "held out" if t.held_out else f"{counts.get(t.id, 0):,}",
      )
      for t in generator.template_set.templates
    ),
  )


def markdown(
  manifest: Mapping[str, Any],
  counted: tally.Tally,
  generator: generate.Generator,
) -> str:
  """The data card.

  Args:
    manifest: what the manifest of the data set holds.
    counted: counts and samples.
    generator: what it was made with.

  Returns:
    Markdown.
  """
  origins = [
    (name, origin, f"{count:,}")
    for name, found in manifest["origins"].items()
    for origin, count in found.items()
  ]
  rows = [
    (f"`{config}`", *(f"{found.get(s, 0):,}" for s in _SPLITS))
    for config, found in manifest["rows"].items()
  ]
  total = sum(counted.rows.values())
  teacher = manifest["teacher"]
  replaced = teacher["replaced_by_offline"] or "none"
  return f"""# Data card

{_facts(manifest)}
{_PROTOCOLS[manifest["protocol"]]}

## Counts

{_paper_table(counted, generator)}
The paper does not say whether its 41.4 words count filled slots. A user's
three preferences belong to the newest training, the validation and the test
request; the two intentions are two wordings for the newest training request.

{_table(("data set", *_SPLITS), rows)}
## What texts were made from

{_table(("", "origin", "rows"), origins)}
`history_review` and `target_review` had a review to go by; the other texts
were made from titles, categories, brands and prices alone. Texts that the
offline teacher wrote instead of the named one, by reason: {replaced}.

{wish_card.markdown(counted, _table)}{_control(manifest)}## Leaks

All {total:,} records were checked while they were written: no target title or
id, no later item and no held-out review in the inputs, outside the choices
that are offered (see `instructrec/instructions/leaks.py`). One leak would have
stopped the run.

## Audit

By rule, on a random sample, beside the answers of people in Table 3 of the
paper. Whether a text adds world knowledge (paper: 87% and 22%) and whether it
reflects the preference or intention (88% and 69%) cannot be told by rule:
`audit.csv` has {NUM_SHEET_ROWS} rows a kind for people.

{_audit_table(counted, generator)}
## Templates

{_templates(manifest, generator)}
## Examples

{tally.NUM_EXAMPLES} random training rows of each task type: instruction, and
**response**.

{_examples(counted)}"""


def unknown_tokens(vocabulary: Mapping[str, Any], num_titles: int) -> str:
  """What a vocabulary does not know of titles, in words.

  Args:
    vocabulary: its figures, as the manifest has them.
    num_titles: of the catalogue.

  Returns:
    Such as "0.04% of the tokens of titles are unknown, in 9 of 16,859 titles".
  """
  return (
    f"{vocabulary['unknown_share']:.2%} of the tokens of titles are unknown, "
    f"in {vocabulary['titles_with_unknown']:,} of {num_titles:,} titles"
  )


def _facts(manifest: Mapping[str, Any]) -> str:
  teacher, vocabulary = manifest["teacher"], manifest["vocabulary"]
  cleaning = manifest["catalog"].get("cleaning", {})
  num_items = manifest["items"]["count"]
  facts = {
    "source": ", ".join(
      foreign_text.in_markdown(f"{name} {value}").replace("|", "\\|")
      for name, value in manifest["source"].items()
      if value
    ),
    "prepared data": f"`{manifest['prepared_fingerprint'][:23]}`",
    "teacher": foreign_text.in_markdown(
      f"{teacher['name']}, version {teacher['version']}"
    ).replace("|", "\\|"),
    "longest history": f"{manifest['max_history']} items",
    "catalogue": f"{num_items:,} items; "
    f"{manifest['catalog'].get('rare_items_left_out', 0):,} left out, which "
    "are outside the k-core",
    "brands and categories": f"{cleaning.get('num_cleaned', 0):,} cleaned of "
    f"markup and links, {cleaning.get('num_left_out', 0):,} left out",
    "vocabulary": f"{vocabulary['origin']}, {vocabulary['size']:,} ids; "
    + unknown_tokens(vocabulary, num_items),
    "seed": manifest["seed"],
    "fingerprint": f"`{manifest['fingerprint'][:23]}`",
  }
  return _table(("", ""), facts.items())


_SPLITS = ("train", "validation", "test")
_PROTOCOLS = {
  "stated": "**Protocol: stated.** The wish of a personalised search is what a "
  "person knows of what they want: it is made from what the target has, never "
  "from its title's distinguishing words or its id, and every row says what it "
  "was made from and how many bits it tells. Preferences come from the history "
  "alone. Figures of tasks with a wish are not comparable with those of "
  "`strict` or `paper`.",
  "strict": "**Protocol: strict.** Nothing of the target reaches a preference "
  "or intention that a task with a user is given. Product search knows no "
  "user and can only describe the wanted item: its queries come from the "
  "item's attributes, and every row says so.",
  "paper": "**Protocol: paper.** As in the InstructRec paper, intentions are "
  "made from the target's review, or from its attributes where it has none: "
  "they describe the item that is to be found. Figures of tasks with an "
  "intention are not comparable with those of `strict`.",
}
