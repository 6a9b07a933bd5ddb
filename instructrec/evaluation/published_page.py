"""Writes published figures into a page, between markers.

    <!-- results: games_random9 -->
    <!-- end -->

takes all tables of `games_random9.json`, and `games_random9/sequential_p1_i0`
one of them. Whatever stands between the markers is replaced; the rest of the
page is written by hand.
"""

import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence

from instructrec import foreign_text, records
from instructrec.evaluation import markdown, published
from instructrec.evaluation.published import PublishedError

_START = re.compile(r"<!-- results: (?P<name>[\w.-]+)(?:/(?P<table>.+?))? -->")
_END = "<!-- end -->"


def load_all(
  folder: str | os.PathLike[str],
) -> dict[str, published.Published]:
  """Reads the files of a folder.

  Args:
    folder: with the JSON files.

  Returns:
    What they hold, by name.

  Raises:
    FileNotFoundError: where there is no such folder.
    PublishedError: where a file is not as the schema says.
  """
  path = pathlib.Path(folder)
  if not path.is_dir():
    raise FileNotFoundError(
      f"{folder} is no folder; `instructrec results publish` writes files of "
      "figures into one"
    )
  return {
    file.stem: published.Published.load(file)
    for file in sorted(path.glob(f"*{published.SUFFIX}"))
  }


def filled(
  text: str, found: dict[str, published.Published], folder: str = "results"
) -> str:
  """A page with its tables written anew.

  Args:
    text: the page.
    found: figures by the name of their file.
    folder: where the files are, as seen from the page.

  Returns:
    The page.

  Raises:
    PublishedError: where a marker has no end, or names a file or table that is
      not there.
  """
  lines = iter(text.split("\n"))
  return "\n".join(_filled(lines, found, folder))


def _filled(
  lines: Iterator[str], found: dict[str, published.Published], folder: str
) -> Iterator[str]:
  for line in lines:
    yield line
    start = _START.fullmatch(line.strip())
    if not start:
      continue
    name, table = start["name"], start["table"]
    if name not in found:
      raise PublishedError(
        f"the page asks for the results {name!r}; there are {sorted(found)}"
      )
    for between in lines:
      if between.strip() == _END:
        break
      if _START.fullmatch(between.strip()):
        raise PublishedError(
          f"the results {name!r} have no {_END} before {between.strip()!r}"
        )
    else:
      raise PublishedError(f"the results {name!r} have no {_END}")
    one = found[name]
    tables = one.tables if table is None else [one.table(table)]
    yield ""
    yield section(tables, f"{folder}/{name}.json")
    yield ""
    yield _END


def named(text: str) -> set[str]:
  """The files that a page takes figures from.

  Args:
    text: the page.

  Returns:
    Their names.
  """
  starts = (_START.fullmatch(line.strip()) for line in text.split("\n"))
  return {start["name"] for start in starts if start}


def section(tables: Sequence[published.Table], file: str) -> str:
  """Tables as Markdown, with the link to their figures.

  Args:
    tables: of one file.
    file: the link.

  Returns:
    The text.
  """
  lines: list[str] = []
  for each in tables:
    name = foreign_text.in_markdown(each.name)
    lines += [f"**{name}**{_size(each)}", "", table(each), ""]
    if runs := list(_runs(each)):
      lines += [*runs, ""]
  return "\n".join([*lines, f"[Figures, commands and versions]({file})"])


def table(found: published.Table) -> str:
  """A table of figures, the last columns differences to the reference.

  Args:
    found: the table.

  Returns:
    The text.
  """
  compared = found.compared if found.reference is not None else []
  head = [
    "method",
    *map(markdown.cell, found.metrics),
    *(
      markdown.cell(f"{metric} less {found.reference}'s") for metric in compared
    ),
  ]
  rows = [
    [
      markdown.cell(row.name),
      *(_figure(row.metrics.get(metric)) for metric in found.metrics),
      *(_gap(row.differences.get(metric)) for metric in compared),
    ]
    for row in found.rows
  ]
  if found.chance:
    level = [
      f"{found.chance[m]:.3f}" if m in found.chance else ""
      for m in found.metrics
    ]
    rows.append(["*chance*", *level, *("" for _ in compared)])
  return markdown.table(head, rows)


def _size(found: published.Table) -> str:
  """How many requests, and of how many candidates, where that is known."""
  if found.num_requests is None:
    return ""
  text = f", {found.num_requests:,} requests"
  if found.num_users is not None and found.num_users < found.num_requests:
    text += f" of {found.num_users:,} users"
  if found.num_candidates is not None:
    short, long = found.num_candidates
    length = f"{short:,}" if short == long else f"{short:,} to {long:,}"
    text += f", {length} candidates"
  return text


def _figure(found: published.Figure | None) -> str:
  if found is None:
    return ""
  if found.low is None or found.high is None:
    return f"{found.mean:.3f}"
  return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _gap(found: published.Gap | None) -> str:
  if found is None:
    return ""
  if found.low is None or found.high is None:
    return f"{found.mean:+.3f}"
  text = f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
  return f"**{text}**" if found.is_clear else text


def _runs(found: published.Table) -> Iterable[str]:
  """The first metric of each training seed."""
  metric = found.metrics[0]
  for row in found.rows:
    if metric in row.runs:
      means = ", ".join(f"{mean:.3f}" for mean in row.runs[metric])
      name = foreign_text.in_markdown(row.name)
      yield f"- {name}, {metric} of each training seed: {means}"


def write(
  page: str | os.PathLike[str], folder: str | os.PathLike[str]
) -> tuple[bool, set[str]]:
  """Writes a page's tables anew.

  Args:
    page: a Markdown file with markers.
    folder: with the JSON files.

  Returns:
    Whether the page changed, and the files that it does not name.

  Raises:
    FileNotFoundError: where page or folder are missing.
    PublishedError: see `filled` and `load_all`.
  """
  path = pathlib.Path(page)
  before = path.read_text(encoding="utf-8")
  found = load_all(folder)
  link = pathlib.Path(os.path.relpath(folder, path.parent)).as_posix()
  after = filled(before, found, link)
  if after != before:
    records.replace(path, after)
  return after != before, set(found) - named(after)
