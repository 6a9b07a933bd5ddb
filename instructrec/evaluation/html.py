"""A report's Markdown as one self-contained HTML page.

Pictures are inside, nothing is loaded and nothing runs: a strict content
policy stands at the top. Names of methods and groups come from folders and
users, so raw HTML and links of the Markdown are shown as the text they are.
"""

import base64
import html
import os
import pathlib
import re
import urllib.parse
from collections.abc import Sequence
from typing import Any

import markdown_it
from markdown_it import token

from instructrec import foreign_text

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --back: #ffffff;
  --soft: #f4f6f8; --line: #d5dae0; --link: #0b5cad; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e3e7ec; --back: #14171b; --soft: #1e2329;
    --line: #39414b; --link: #79b8ff; } }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; color: var(--text);
  background: var(--back); font: 1rem/1.5 system-ui, sans-serif;
  overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.25; margin: 2rem 0 0.75rem; }
h1 { margin-top: 0.5rem; }
h2 { padding-top: 1rem; border-top: 1px solid var(--line); }
a { color: var(--link); }
summary { cursor: pointer; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; padding: 0;
  list-style: none; }
blockquote { margin: 1rem 0; padding: 0.25rem 1rem; background: var(--soft);
  border-left: 4px solid #e69f00; }
pre { padding: 0.75rem; white-space: pre-wrap; overflow-wrap: anywhere;
  background: var(--soft);
  border: 1px solid var(--line); border-radius: 6px; font-size: 0.85rem; }
.table { overflow-x: auto; margin: 1rem 0; border: 1px solid var(--line);
  border-radius: 6px; }
table { border-collapse: collapse; width: 100%; font-size: 0.85rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.6rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
th, td:first-child { background: var(--soft); }
th:first-child, td:first-child { position: sticky; left: 0;
  min-width: 6rem; max-width: 45vw; }
thead:not(:has(th:not(:empty))) { display: none; }
td { min-width: 3.5rem; }
.picture { display: block; overflow-x: auto; margin: 1rem 0;
  padding: 0.5rem; border: 1px solid var(--line);
  border-radius: 6px; }
.picture img { display: block; min-width: 36rem; max-width: 100%;
  height: auto; margin: 0 auto; }
"""
# "[0.332, 0.418]", "p <0.001" and "d +0.13".
_FIGURES = re.compile(r"\[[+-]?[\d.]+, [+-]?[\d.]+\]|\b[pd] [<+-]?\d[\d.]*")
# More sections than these are folded: on a phone their names
# would fill the screen.
_MOST_LINKS = 12
_PAGE_OF_DOCS = re.compile(r"(?!//)(?:[^:<>?#]*/)?docs/\w+\.md|[\w.-]+\.svg")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}</body>
</html>
"""


def page(text: str, title: str, pictures: str | os.PathLike[str] = ".") -> str:
  """Renders a report.

  Args:
    text: Markdown with tables.
    title: of the window.
    pictures: the folder of the SVG files that the text shows.

  Returns:
    The page; links to its sections stand behind the first heading.

  Raises:
    FileNotFoundError: where a picture is missing.
  """
  parser = markdown_it.MarkdownIt("commonmark", {"html": False})
  parser.enable("table").disable(["autolink"])
  parser.validateLink = _is_page  # type: ignore[assignment]
  folder = pathlib.Path(pictures)

  def image(
    tokens: Sequence[token.Token], place: int, options: Any, env: Any
  ) -> str:
    del options, env
    return _image(tokens[place], folder)

  rules: dict[str, Any] = parser.renderer.rules  # type: ignore[attr-defined]
  rules["image"] = image
  rules["text"] = lambda tokens, place, *_: _text(tokens[place].content)
  # A wide table scrolls by itself; the keyboard reaches it.
  rules["table_open"] = lambda *_: '<div class="table" tabindex="0"><table>\n'
  rules["table_close"] = lambda *_: "</table></div>\n"
  tokens = parser.parse(text)
  contents = _contents(tokens)
  body = parser.renderer.render(tokens, parser.options, {})
  heading, end, rest = body.partition("</h1>\n")
  if end:
    body = heading + end + contents + rest
  title = html.escape(foreign_text.printable(title))
  return _PAGE.format(title=title, style=_STYLE, body=body)


def _is_page(address: str) -> bool:
  """Whether a link leads to a page of documentation, and nowhere else."""
  return bool(_PAGE_OF_DOCS.fullmatch(urllib.parse.unquote(address)))


def _text(content: str) -> str:
  """Text whose intervals and test figures stay on one line."""
  return html.escape(
    _FIGURES.sub(lambda found: found[0].replace(" ", "\u00a0"), content)
  )


def _contents(tokens: Sequence[token.Token]) -> str:
  """Links to the second-level headings, which get ids."""
  links: list[str] = []
  for place, each in enumerate(tokens):
    if each.type == "heading_open" and each.tag == "h2":
      each.attrSet("id", f"section-{len(links) + 1}")
      text = html.escape(tokens[place + 1].content)
      links.append(f'<li><a href="#{each.attrGet("id")}">{text}</a></li>')
  if not links:
    return ""
  items = "\n".join(links)
  found = f"<ul>\n{items}\n</ul>"
  if len(links) > _MOST_LINKS:
    summary = f"<summary>{len(links)} sections</summary>"
    found = f"<details>{summary}\n{found}</details>"
  return f'<nav aria-label="Sections">{found}</nav>\n'


def _image(found: token.Token, folder: pathlib.Path) -> str:
  """A picture of the folder as data; of anywhere else, its text alone."""
  alt = html.escape(found.content)
  name = urllib.parse.unquote(str(found.attrs["src"]))
  if pathlib.PurePath(name).name != name or not name.endswith(".svg"):
    return alt
  data = base64.b64encode((folder / name).read_bytes()).decode()
  return (
    '<span class="picture" tabindex="0">'
    f'<img alt="{alt}" src="data:image/svg+xml;base64,{data}"></span>'
  )
