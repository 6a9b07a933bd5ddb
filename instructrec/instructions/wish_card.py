"""What the data card says of stated wishes: what a wish knows."""

import collections
from collections.abc import Callable, Sequence

from instructrec.instructions import tally

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
_NUM_SOURCES = 20


def summary(counted: tally.Tally) -> dict[str, dict[str, float]]:
  """Figures of stated wishes, for the manifest.

  Args:
    counted: counts of records.

  Returns:
    By intention: rows, shares of stances, share with something unwanted, mean
    and quantiles of bits; empty where no wish is stated.
  """
  found: dict[str, dict[str, float]] = {}
  for intention in sorted({key[0] for key in counted.wishes}):
    stances: collections.Counter[str] = collections.Counter()
    against = 0
    for (name, stance, sources), count in counted.wishes.items():
      if name == intention:
        stances[stance] += count
        against += count * ("-" in sources)
    total = stances.total()
    bits = sorted(
      (tenths / 10, count)
      for (name, tenths), count in counted.bits.items()
      if name == intention
    )
    found[intention] = {
      "rows": total,
      **{s: round(stances[s] / total, 4) for s in _STANCES},
      "unwanted": round(against / total, 4),
      "mean_bits": round(sum(b * n for b, n in bits) / total, 3),
      **{f"bits_{int(100 * q)}%": _quantile(bits, q) for q in _QUANTILES},
    }
  return found


_STANCES = ("agreeing", "odds", "useless")


def _quantile(counts: Sequence[tuple[float, int]], share: float) -> float:
  left = share * sum(count for _, count in counts)
  for value, count in counts:
    left -= count
    if left <= 0:
      return value
  return counts[-1][0]


def markdown(counted: tally.Tally, table: Callable[..., str]) -> str:
  """The card's section; empty where no wish is stated.

  Args:
    counted: counts of records.
    table: makes a table of a header and rows.

  Returns:
    Markdown.
  """
  figures = summary(counted)
  if not figures:
    return ""
  rows = [
    (
      name,
      f"{found['rows']:,.0f}",
      *(f"{found[s]:.0%}" for s in (*_STANCES, "unwanted")),
      f"{found['mean_bits']:.1f}",
      *(f"{found[f'bits_{int(100 * q)}%']:.1f}" for q in _QUANTILES),
    )
    for name, found in figures.items()
  ]
  header = [
    *("intention", "rows", *_STANCES, "against something", "mean bits"),
    *(f"{q:.0%}" for q in _QUANTILES),
  ]
  sources: collections.Counter[str] = collections.Counter()
  for (_, _, source), count in counted.wishes.items():
    sources[source] += count
  total = sources.total()
  common = [
    (f"`{name}`", f"{count:,}", f"{count / total:.1%}")
    for name, count in sources.most_common(_NUM_SOURCES)
  ]
  return f"""## What a wish knows

Bits are log2(items of the catalogue / items that fit), by attributes alone:
what a wish says of a person, an occasion or an aspect counts nothing. A wish
of many bits names few items; it never names the target. *Agreeing* is a wish
for what the history has, or against what it has not; at *odds* is the
opposite; *useless* is politeness, delivery, the weather.

{table(header, rows)}
What wishes were made from, `-` before what is not wanted:

{table(("sources", "rows", "share"), common)}
"""
