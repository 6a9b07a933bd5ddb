"""`instructrec results`: published figures as data, and the page of them."""

import pathlib
from typing import Annotated

import typer


def publish(
  report: Annotated[
    pathlib.Path,
    typer.Argument(
      help="Folder of a report of `evaluate`, `retrieve evaluate` or `compare`."
    ),
  ],
  output: Annotated[
    pathlib.Path,
    typer.Option(help="File to write, such as docs/results/NAME.json."),
  ],
  title: Annotated[
    str | None, typer.Option(help="What it shows; the report's if left out.")
  ] = None,
  group: Annotated[
    list[str] | None,
    typer.Option(
      help="Groups that become tables; may be repeated; all if left out."
    ),
  ] = None,
  row: Annotated[
    list[str] | None,
    typer.Option(
      help="A row of the page, as NAME=METHOD of the report; may be repeated, "
      "in the order of the page; all methods if left out."
    ),
  ] = None,
  metric: Annotated[
    list[str] | None,
    typer.Option(help="Such as HR@1; may be repeated; all if left out."),
  ] = None,
  reference: Annotated[
    str | None,
    typer.Option(
      help="Row that differences are taken to; the best if left out."
    ),
  ] = None,
  compared: Annotated[
    list[str] | None,
    typer.Option(
      help="Metric whose differences have a column; may be repeated; the first "
      "if left out."
    ),
  ] = None,
  following: Annotated[
    bool,
    typer.Option(
      "--following", help="How far wishes are followed, and nothing else."
    ),
  ] = False,
) -> None:
  """Keep a report's figures as a small JSON file."""
  from instructrec.evaluation import published_report

  if following:
    if group or row or metric or reference or compared:
      raise ValueError(
        "--following publishes what a report says of following as it is; "
        "leave --group, --row, --metric, --reference and --compared out"
      )
    measured = published_report.following(report, output.stem, title=title)
    measured.save(output)
    typer.echo(f"following written to {output}")
    return
  rows: dict[str, str] = {}
  for name, method in map(_assignment, row or ()):
    if name in rows:
      raise typer.BadParameter(
        f"--row={name}={method}: {name} is {rows[name]} already; expected a "
        "name of its own for each row"
      )
    rows[name] = method
  found = published_report.from_folder(
    report,
    output.stem,
    title=title,
    groups=group or (),
    rows=rows or None,
    metrics=metric or (),
    reference=reference,
    compared=compared or (),
  )
  found.save(output)
  typer.echo(f"{len(found.tables)} tables written to {output}")


def write(
  page: Annotated[
    pathlib.Path, typer.Argument(help="Markdown file with markers.")
  ] = pathlib.Path("docs/results.md"),
  folder: Annotated[
    pathlib.Path, typer.Option(help="Of the JSON files.")
  ] = pathlib.Path("docs/results"),
) -> None:
  """Write a page's tables from published figures."""
  from instructrec.evaluation import published_page

  changed, unnamed = published_page.write(page, folder)
  typer.echo(f"{page} {'was written anew' if changed else 'is up to date'}")
  for name in sorted(unnamed):
    typer.echo(f"note: {page} has no marker <!-- results: {name} -->")


def _assignment(text: str) -> tuple[str, str]:
  name, equals, method = text.partition("=")
  if not equals:
    raise typer.BadParameter(
      f"--row={text}: expected NAME=METHOD, e.g. text=trained model"
    )
  return name, method
