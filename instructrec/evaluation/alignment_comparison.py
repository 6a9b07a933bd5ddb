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

FOLDERS = {"validation": "alignment", "test": "alignment_test"}
"""Of the reports, in that of the aligned run, by whose requests were asked."""
TABLE = "lists before and after"
CURVES = "curves.svg"
_HITS = "HR@10"
_DIRECTED = "TCP"
"""How metrics begin of which more is better under one wish, less under another.
"""
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

  @property
  def methods(self) -> list[str]:
    """Whose lists there are; the first writes titles of the catalogue alone."""
    return list(next(iter(self.record["groups"].values()))["methods"])

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
    method = self.methods[0]
    of_lists = self.means_of(method, side)
    if _HITS in of_lists:
      found[f"{_HITS}, {method}"] = of_lists[_HITS]
    return found

  def means_of(self, method: str, side: str) -> dict[str, float]:
    """All metrics of a method's lists that mean the same of every wish.

    Args:
      method: whose lists.
      side: see `means`.

    Returns:
      Means over groups that have the metric, by how many requests they are of.
    """
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for group in self.record["groups"].values():
      for name, figures in group["methods"][method].items():
        if name.startswith(_DIRECTED):
          continue
        number = group["num_requests"]
        sums[name] = sums.get(name, 0.0) + number * figures[side]["mean"]
        counts[name] = counts.get(name, 0) + number
    return {name: sums[name] / counts[name] for name in sums}


def is_aligned(folder: str | os.PathLike[str]) -> bool:
  """Whether a folder is that of a run that `instructrec align` has judged.

  Or that of its report of test requests.
  """
  return (_report(pathlib.Path(folder)) / report_folder.FILE).is_file()


def load(folder: str | os.PathLike[str]) -> Aligned:
  """Reads an aligned run's report and log.

  Args:
    folder: of the run, for the report of validation requests; or the report's
      of test requests.

  Returns:
    What they say.

  Raises:
    FileNotFoundError: where there is no report.
    DamagedError: where it was changed.
    ValueError: where it is of another version.
  """
  path = _report(pathlib.Path(folder))
  record = alignment_report.read(path)
  run = path.parent
  return Aligned(run, record, loss_log.read(run / loss_log.FILE))


def _report(folder: pathlib.Path) -> pathlib.Path:
  if folder.name == FOLDERS["test"]:
    return folder
  return folder / FOLDERS["validation"]


def tables(runs: Mapping[str, Sequence[Aligned]]) -> list[published.Table]:
  """Tables with a row for what all began with, and one for each way from it.

  Args:
    runs: by name, runs that differ in their training seed.

  Returns:
    What promotion rests on, and all metrics of each method's lists; differences
    are to what they began with.

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
  return [_table(runs, method) for method in (None, *first.methods)]


def _table(
  runs: Mapping[str, Sequence[Aligned]], method: str | None
) -> published.Table:
  """Metrics of a method's lists; of None, what promotion rests on."""

  def means(run: Aligned, side: str) -> dict[str, float]:
    return run.means(side) if method is None else run.means_of(method, side)

  first = next(iter(runs.values()))[0]
  before = means(first, before_after.BEFORE)
  metrics = list(before)
  rows = [
    published.Row(
      name=before_after.BEFORE,
      metrics={m: published.Figure(mean) for m, mean in before.items()},
    )
  ]
  for way, several in runs.items():
    after = [means(run, before_after.AFTER) for run in several]
    rows.append(
      published.Row(
        name=way,
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
    name=TABLE if method is None else method,
    metrics=metrics,
    rows=rows,
    num_requests=first.num_lists,
    reference=before_after.BEFORE,
    # Differences of all metrics are in the record; the page has no room.
    compared=metrics if method is None else [],
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
    runs: see `tables`.
    command: how the comparison was made.
    environment: versions and machine.

  Returns:
    The path of report.md.

  Raises:
    ValueError: see `tables`.
  """
  found = tables(runs)
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
    "figures": [dataclasses.asdict(each) for each in found],
    "following": None,
    "title": title,
    "commands": [command, *(run.record["command"] for run in everything)],
    "protocol": {
      "requests": "the same before and after, checked",
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
  found: Sequence[published.Table],
  runs: Mapping[str, Sequence[Aligned]],
  record: Mapping[str, Any],
) -> list[str]:
  """The tables, each run's decision, the curves, and what repeats it all."""
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
    f"{found[0].num_requests:,} lists of {record['protocol'][_SPLIT]} "
    "requests, before and after; intervals are Student's, over training seeds, "
    "and say nothing of other requests. Those over requests are in each run's "
    "own report.",
    "",
    *(
      line
      for each in found
      for line in (f"**{each.name}**", "", published_page.table(each), "")
    ),
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
