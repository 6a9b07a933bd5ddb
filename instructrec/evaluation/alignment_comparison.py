"""Runs that were aligned, beside each other: what each way came to over seeds.

All began with the same run, and were asked for lists of the same requests
before and after (`alignment_report`). Intervals are over training seeds; those
over requests stand in the report of each run.
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from instructrec import foreign_text
from instructrec.evaluation import (
  alignment_report,
  before_after,
  intervals,
  loss_log,
  markdown,
  published,
  published_page,
  report,
  report_folder,
  training_plots,
)

FOLDER = "alignment"
"""Of the report, in that of the aligned run."""
TABLE = "lists before and after"
CURVES = "curves.svg"
_HITS = "HR@10"
_SPLIT, _ASKED = "split", "requests asked for"
_DATA, _SEED = "instructions fingerprint", "seed of requests and intervals"
_SAME = ("before", _SPLIT, _ASKED, _DATA, _SEED)
"""Facts that runs have in common where they differ in how they were aligned."""
_PANELS = {
  "Reward of drawn lists": "reward/list",
  "Share of their places with an error": "lists/errors",
}


@dataclasses.dataclass(frozen=True)
class Aligned:
  """A run that was aligned.

  Attributes:
    path: its folder.
    record: the `report.json` of its alignment.
    log: rows of its `metrics.jsonl`.
  """

  path: pathlib.Path
  record: Mapping[str, Any]
  log: Sequence[Mapping[str, Any]]

  @property
  def name(self) -> str:
    """The folder's name."""
    return self.path.resolve().name

  @property
  def num_lists(self) -> int:
    """How many lists were asked for."""
    return sum(each["num_requests"] for each in self.record["groups"].values())

  def means(self, side: str) -> dict[str, float]:
    """Metrics over all requests that have them.

    Args:
      side: `before_after.BEFORE` or `before_after.AFTER`.

    Returns:
      Those that promotion rests on, what is wrong with free lists first, and
      hits of the target in lists of the catalogue's titles.
    """
    judged = self.record["promotion"]
    changes = {c["name"]: c for c in judged["control"] + judged["accuracy"]}
    names = sorted(changes, key=lambda n: before_after.MISTAKES not in n)
    found = {name: float(changes[name][side]) for name in names}
    groups = self.record["groups"].values()
    # The first method writes titles of the catalogue alone.
    method = next(iter(next(iter(groups))["methods"]))
    hits = [
      (group["num_requests"], group["methods"][method][_HITS][side]["mean"])
      for group in groups
      if _HITS in group["methods"][method]
    ]
    if hits:
      total = sum(count * mean for count, mean in hits)
      found[f"{_HITS}, {method}"] = total / sum(count for count, _ in hits)
    return found


def is_aligned(folder: str | os.PathLike[str]) -> bool:
  """Whether a folder is that of a run that `instructrec align` has judged."""
  return (pathlib.Path(folder) / FOLDER / report_folder.FILE).is_file()


def load(folder: str | os.PathLike[str]) -> Aligned:
  """Reads an aligned run's report and log.

  Args:
    folder: of the run.

  Returns:
    What they say.

  Raises:
    FileNotFoundError: where there is no report.
    DamagedError: where it was changed.
    ValueError: where it is of another version.
  """
  path = pathlib.Path(folder)
  record = alignment_report.read(path / FOLDER)
  return Aligned(path, record, loss_log.read(path / loss_log.FILE))


def table(runs: Mapping[str, Sequence[Aligned]]) -> published.Table:
  """A row for what all began with, and one for each way of aligning it.

  Args:
    runs: by name, runs that differ in their training seed.

  Returns:
    The table; differences are to what they began with.

  Raises:
    ValueError: where they were asked for different lists, or did not begin
      with the same run.
  """
  everything = [run for several in runs.values() for run in several]
  first = everything[0]
  for other in everything[1:]:
    for fact in _SAME:
      ours, theirs = (run.record["facts"].get(fact) for run in (first, other))
      if ours != theirs:
        raise ValueError(
          f"{first.path} and {other.path} differ in {fact!r}: {ours!r} and "
          f"{theirs!r}; expected runs that differ in how they were aligned"
        )
  before = first.means(before_after.BEFORE)
  metrics = list(before)
  rows = [
    published.Row(
      name=before_after.BEFORE,
      metrics={m: published.Figure(mean) for m, mean in before.items()},
    )
  ]
  for name, several in runs.items():
    after = [run.means(before_after.AFTER) for run in several]
    rows.append(
      published.Row(
        name=name,
        metrics={m: _figure([one[m] for one in after]) for m in metrics},
        differences={
          m: published.Gap(
            **dataclasses.asdict(_figure([one[m] - before[m] for one in after]))
          )
          for m in metrics
        },
        runs={m: [one[m] for one in after] for m in metrics},
      )
    )
  return published.Table(
    name=TABLE,
    metrics=metrics,
    rows=rows,
    num_requests=first.num_lists,
    reference=before_after.BEFORE,
    compared=metrics,
  )


def _figure(means: Sequence[float]) -> published.Figure:
  if len(means) < 2:
    return published.Figure(means[0])
  return published.Figure(**dataclasses.asdict(intervals.over_seeds(means)))


def write(
  folder: str | os.PathLike[str],
  runs: Mapping[str, Sequence[Aligned]],
  *,
  command: str,
  environment: Mapping[str, Any],
) -> pathlib.Path:
  """Writes report.md, report.html, report.json and the curves.

  `results publish` takes the figures of `report.json` as those of any report.

  Args:
    folder: made where it is missing; an earlier report in it is replaced.
    runs: see `table`.
    command: how the comparison was made.
    environment: versions and machine.

  Returns:
    The path of report.md.

  Raises:
    ValueError: see `table`.
  """
  found = table(runs)
  path = pathlib.Path(folder)
  path.mkdir(parents=True, exist_ok=True)
  everything = [run for several in runs.values() for run in several]
  training_plots.seed_curves(
    {name: [run.log for run in several] for name, several in runs.items()},
    _PANELS,
    path / CURVES,
  )
  facts = everything[0].record["facts"]
  title = f"Comparison of {len(everything)} aligned runs"
  record = {
    "schema_version": report.SCHEMA_VERSION,
    "results": [],
    "figures": [dataclasses.asdict(found)],
    "following": None,
    "title": title,
    "commands": [command, *(run.record["command"] for run in everything)],
    "protocol": {
      "requests": "the same validation requests before and after, checked",
      "intervals": "Student's 95% over training seeds",
      **{name: facts[name] for name in (_SPLIT, _ASKED)},
    },
    "data": {_DATA: facts[_DATA]},
    "seeds": {
      _SEED: facts[_SEED],
      **{
        f"training of {name}": [
          run.record["facts"]["seed of training"] for run in several
        ]
        for name, several in runs.items()
      },
    },
    "environment": environment,
    "warnings": [],
  }
  text = foreign_text.printable("\n".join(_page(found, runs, record)))
  return report_folder.write(path, record, text, title=title)


def _page(
  found: published.Table,
  runs: Mapping[str, Sequence[Aligned]],
  record: Mapping[str, Any],
) -> list[str]:
  """The table, each run's decision, the curves, and what repeats it all."""
  decisions = [
    (
      markdown.cell(name),
      markdown.cell(str(run.path)),
      markdown.cell(run.record["facts"]["seed of training"]),
      "promoted" if run.record["promotion"]["promoted"] else "refused",
      markdown.cell("; ".join(run.record["promotion"]["reasons"])),
    )
    for name, several in runs.items()
    for run in several
  ]
  head = ("way", "run", "seed", "decision", "why")
  text = "Rewards and errors of drawn lists against the training step"
  lines = [
    f"# {record['title']}",
    "",
    f"{found.num_requests:,} lists of validation requests, before and after; "
    "intervals are Student's, over training seeds, and say nothing of other "
    "requests. Those over requests are in each run's own report.",
    "",
    published_page.table(found),
    "",
    markdown.table(head, decisions),
    "",
    markdown.picture(text, CURVES),
    "",
    markdown.fenced("\n".join(record["commands"])),
    "",
  ]
  for heading in ("protocol", "data", "seeds", "environment"):
    lines += [f"## {heading.title()}", "", markdown.facts(record[heading]), ""]
  return lines
