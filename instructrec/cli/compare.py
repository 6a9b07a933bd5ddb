"""`instructrec compare`: several reports in, one of all their methods out."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from instructrec.cli import command_line


def compare(
  report: Annotated[
    list[str],
    typer.Argument(
      help="Folder of a report, or NAME=FOLDER. Those of one name are runs of "
      "the same methods with other seeds. Or folders of runs that were aligned."
    ),
  ],
  output: Annotated[
    pathlib.Path, typer.Option(help="Folder of the comparison.")
  ] = pathlib.Path("comparison"),
  seeds: Annotated[
    bool,
    typer.Option(
      "--seeds", help="Take all reports as runs with other seeds (no names)."
    ),
  ] = False,
  method: Annotated[
    list[str] | None,
    typer.Option(help="Of the reports; may be repeated; all if left out."),
  ] = None,
  seed: Annotated[int, typer.Option(help="Of bootstrap and test.", min=0)] = 0,
) -> None:
  """Compare the methods of several reports on the same requests."""
  run(report, output, seeds=seeds, methods=method or (), seed=seed)


def run(
  given: Sequence[str],
  output: pathlib.Path,
  *,
  seeds: bool = False,
  methods: Sequence[str] = (),
  seed: int = 0,
) -> pathlib.Path:
  """Compares; the function behind the command.

  Args:
    given: folders of reports, or NAME=FOLDER.
    output: the folder of the comparison.
    seeds: whether all reports are runs of the same methods.
    methods: which methods; empty for all.
    seed: of the bootstrap and of the randomisation test.

  Returns:
    The path of report.md.
  """
  import time

  from instructrec import output_folder
  from instructrec.evaluation import compare as comparison
  from instructrec.evaluation import environment, markdown, report

  started = time.perf_counter()
  output_folder.check_folder(output)
  runs = _runs(given, output, seeds)
  if _are_aligned(runs):
    return _compare_aligned(runs, output, methods)
  found = comparison.compare(runs, methods=methods, seed=seed)
  reports = [each for several in runs.values() for each in several]
  groups = {result.group for result in found}
  left_out = {g for each in reports for g in each.groups} - groups
  warnings = [w for each in reports for w in each.record["warnings"]]
  if left_out:
    warnings.append(f"groups that not all reports have: {sorted(left_out)}")
  context = report.Context(
    title=f"Comparison of {len(reports)} reports",
    commands=[
      command_line.given(),
      *dict.fromkeys(c for each in reports for c in each.record["commands"]),
    ],
    protocol={
      "requests": "the same requests and candidates in all reports, checked",
      "ties": "expected value under random tie-breaking",
      "intervals": "95% percentile bootstrap over requests, or over users "
      "where some have several",
      "test": "paired randomisation, two-sided; Holm over all pairs of a group "
      "at a metric",
    },
    data={
      f"{each.path}, {key}": value
      for each in reports
      for key, value in each.record["data"].items()
      if "fingerprint" in key
    },
    seeds={
      "comparison": seed,
      **{
        f"{each.path}, {key}": value
        for each in reports
        for key, value in each.record["seeds"].items()
      },
    },
    environment=environment.describe(),
    config="\n".join(str(each.path) for each in reports),
    warnings=list(dict.fromkeys(warnings)),
    training_log=(),
    wall_seconds={"comparison": time.perf_counter() - started},
  )
  path = report.write(output, found, context)
  for result in found:
    typer.echo(f"\n{result.group} ({result.num_requests:,} requests)")
    typer.echo(markdown.metric_table(result))
    if result.differences:
      typer.echo("\n" + markdown.difference_table(result))
  typer.echo(f"\nreport: {path}")
  return path


def _are_aligned(runs: Mapping[str, Sequence[Any]]) -> bool:
  """Whether they are runs that were aligned, and no reports."""
  from instructrec.evaluation import alignment_comparison

  kinds = [
    isinstance(each, alignment_comparison.Aligned)
    for several in runs.values()
    for each in several
  ]
  if any(kinds) and not all(kinds):
    raise ValueError(
      "some of the folders are runs that were aligned, others reports; compare "
      "one kind at a time"
    )
  return all(kinds)


def _compare_aligned(
  runs: Mapping[str, Sequence[Any]],
  output: pathlib.Path,
  methods: Sequence[str],
) -> pathlib.Path:
  """What ways of aligning a run came to."""
  from instructrec.evaluation import (
    alignment_comparison,
    environment,
    published_page,
  )

  if methods:
    raise ValueError(
      f"--method={methods[0]}: runs that were aligned are compared by what "
      "promotion rests on; leave it out"
    )
  path = alignment_comparison.write(
    output,
    runs,
    command=command_line.given(),
    environment=environment.describe(),
  )
  typer.echo(published_page.table(alignment_comparison.tables(runs)[0]))
  typer.echo(f"\nreport: {path}")
  return path


def _runs(
  given: Sequence[str], output: pathlib.Path, seeds: bool
) -> dict[str, list[Any]]:
  """Opened reports, or runs that were aligned, by name."""
  from instructrec.evaluation import alignment_comparison
  from instructrec.evaluation import compare as comparison

  runs: dict[str, list[Any]] = {}
  own_names: set[str] = set()
  folders: set[pathlib.Path] = set()
  for text in given:
    name, equals, folder = text.partition("=")
    if not equals or pathlib.Path(text).exists():
      name, folder = "", text
    elif seeds:
      raise ValueError(
        f"{text}: --seeds takes all reports as runs of the same methods; pass "
        "folders without names, or names without --seeds"
      )
    if pathlib.Path(folder).resolve() == output.resolve():
      raise ValueError(
        f"the comparison would replace {folder}, which it compares; choose "
        "another --output"
      )
    aligned = alignment_comparison.is_aligned(folder)
    opened: Any = (alignment_comparison if aligned else comparison).load(folder)
    if opened.path.resolve() in folders:
      raise ValueError(f"{folder} is given twice, expected different reports")
    folders.add(opened.path.resolve())
    has_name = bool(name) or seeds
    name = name if has_name else opened.name
    if name in own_names or (name in runs and not has_name):
      raise ValueError(
        f"two reports are called {name!r}; name both, as in A={folder}. Those "
        "of one given name are taken as runs with other seeds"
      )
    if not has_name:
      own_names.add(name)
    runs.setdefault(name, []).append(opened)
  return runs
