"""How the pictures of a report look.

SVG without a background, whose text and lines follow the colour scheme of the
reader, light or dark, in a page and on its own.
"""

import io
import os
import pathlib
from typing import Any

import matplotlib as mpl
from matplotlib.backends import backend_svg
from matplotlib.figure import Figure

from instructrec import foreign_text

# Of Okabe and Ito's colours, told apart by the colour-blind, those (the last
# two darkened) that have a contrast of 3 to white and to a dark page.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#A87900", "#3D93C6")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Stands for the colour of text until the file is written.
INK = "#010203"
_STYLE = (
  "<style>svg { color: #1b1f24; } "
  "@media (prefers-color-scheme: dark) { svg { color: #e3e7ec; } }</style>"
)
LOOK: Any = {
  # The same figures give the same bytes.
  "svg.hashsalt": "instructrec",
  "text.color": INK,
  "axes.labelcolor": INK,
  "axes.edgecolor": INK,
  "axes.facecolor": "none",
  "figure.facecolor": "none",
  "xtick.color": INK,
  "ytick.color": INK,
  "grid.color": INK,
  "grid.alpha": 0.18,
  "legend.frameon": False,
}


def line(number: int) -> dict[str, Any]:
  """Colour and dashes of a line, as Matplotlib takes them.

  Args:
    number: of the line, from 0.

  Returns:
    The settings; colours come again, with other dashes.
  """
  again, colour = divmod(number, len(COLOURS))
  return {
    "color": COLOURS[colour],
    "linestyle": LINES[again % len(LINES)],
  }


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
  """Writes a picture.

  Args:
    figure: drawn within `LOOK`.
    path: the SVG to write.
  """
  text = io.StringIO()
  with mpl.rc_context(LOOK):
    backend_svg.FigureCanvasSVG(figure)
    figure.savefig(
      text, format="svg", bbox_inches="tight", metadata={"Date": None}
    )
  head, tag, rest = text.getvalue().partition("<defs>")
  drawn = head + _STYLE + tag + rest
  pathlib.Path(path).write_text(
    drawn.replace(INK, "currentColor"), encoding="utf-8"
  )


def label(name: str) -> str:
  """A name in a picture, which takes $ for formulas and hides a leading _.

  Args:
    name: of a method, say.

  Returns:
    What shows it as it is.
  """
  text = foreign_text.printable(name).replace("$", r"\$")
  return f" {text}" if text.startswith("_") else text
