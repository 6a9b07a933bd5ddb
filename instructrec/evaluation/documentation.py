"""How to read a report, and where its documentation is."""

import os
import pathlib

import instructrec

_PAGES = {
  "evaluation.md": "how each figure is made, and what it does not say",
  "results.md": "figures on public data",
}
_METRICS = (
  "HR@K is the share of requests whose target, the item that was really taken "
  "next, is among the first K; NDCG@K counts less the further down it is, MRR "
  "is the mean of 1 / rank. Higher is better, and 1 the most."
)
_DIGITS = (
  "Another processor or another version of the packages adds in another order "
  "and gives other last digits: the same commands elsewhere may end as far off "
  "as another training seed would, which no interval on this page covers."
)


def section(folder: pathlib.Path) -> list[str]:
  """What a first reader needs.

  Args:
    folder: of the report, from which links lead.

  Returns:
    Lines of Markdown; pages that are at hand are linked.
  """
  pages = [f"- {_link(folder, name)}: {text}" for name, text in _PAGES.items()]
  return ["## How to read this page", "", _METRICS, "", _DIGITS, "", *pages, ""]


def _link(folder: pathlib.Path, name: str) -> str:
  """A page of the checkout that the package runs or was started from."""
  root = pathlib.Path(instructrec.__file__).parents[1]
  for path in (root / "docs" / name, pathlib.Path("docs") / name):
    if path.is_file():
      target = pathlib.Path(os.path.relpath(path, folder)).as_posix()
      # Brackets and blanks of folders would end it.
      return f"[docs/{name}](<{target}>)"
  return f"docs/{name}"
