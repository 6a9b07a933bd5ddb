"""Published figures as data: a small JSON file for each set of tables.

A page's tables are written from these files (`published_page`), and whoever
wants a figure reads it here rather than off a page. A file has

    schema_version, name, title,
    tables: name, num_requests, num_users, num_candidates, metrics, chance,
            reference, compared,
            rows: name, description,
                  metrics: metric -> mean, low, high,
                  differences: metric -> mean, low, high, p_holm,
                  runs: metric -> a mean for each training seed,
    commands, protocol, data, seeds, environment, warnings

`differences` are a row's less the row called `reference`, paired on the same
requests; of those at the metrics in `compared` tables have a column. A metric
is anything with a mean, a share of right directions as well as HR@1; what has
no interval has null ends, what is not known of a table is null, and a row need
not have every metric. Nothing of single requests is in a file.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Self

from instructrec import records
from instructrec.evaluation import significance

SCHEMA_VERSION = 1
SUFFIX = ".json"
_DIGITS = 6


class PublishedError(ValueError):
  """A file of figures is not as the schema says, or lacks what is asked."""


@dataclasses.dataclass(frozen=True)
class Figure:
  """A mean with its 95% interval.

  Attributes:
    mean: the figure.
    low: lower end; None where there is no interval.
    high: upper end.
  """

  mean: float
  low: float | None = None
  high: float | None = None


@dataclasses.dataclass(frozen=True)
class Gap(Figure):
  """A paired difference.

  Attributes:
    p_holm: of the randomisation test after Holm's correction; None where there
      was no test.
  """

  p_holm: float | None = None

  @property
  def is_clear(self) -> bool:
    """Whether the interval leaves out 0, and the test, if any, agrees."""
    if self.low is None or self.high is None:
      return False
    tested = self.p_holm is None or self.p_holm < significance.LEVEL
    return tested and (self.low > 0 or self.high < 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
  """One method of a table.

  Attributes:
    name: of the method.
    description: what it is; may be empty.
    metrics: figures by metric.
    differences: of this row to the table's reference, by metric.
    runs: metric -> mean of each training seed, where there are several.
  """

  name: str
  metrics: dict[str, Figure]
  description: str = ""
  differences: dict[str, Gap] = dataclasses.field(default_factory=dict)
  runs: dict[str, list[float]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
  """Methods on the same requests.

  Attributes:
    name: such as the task type.
    metrics: the columns.
    rows: in the order of the page.
    num_requests: how many requests; None where these are none.
    num_users: whose they are.
    num_candidates: shortest and longest list.
    chance: metric -> what an order gets that knows nothing.
    reference: the row that differences are taken to.
    compared: metrics whose differences have a column.
  """

  name: str
  metrics: list[str]
  rows: list[Row]
  num_requests: int | None = None
  num_users: int | None = None
  num_candidates: list[int] | None = None
  chance: dict[str, float] = dataclasses.field(default_factory=dict)
  reference: str | None = None
  compared: list[str] = dataclasses.field(default_factory=list)

  def row(self, name: str) -> Row:
    """A row by name.

    Args:
      name: of the method.

    Returns:
      The row.

    Raises:
      PublishedError: where there is none.
    """
    for found in self.rows:
      if found.name == name:
        return found
    raise PublishedError(
      f"table {self.name!r} has no row {name!r}; it has "
      f"{[found.name for found in self.rows]}"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
  """A file of figures; see the module.

  Attributes:
    name: of the file, without `.json`.
    title: a line on what it shows.
    tables: the figures.
    commands: how they were made.
    protocol: facts of the evaluation.
    data: facts of the data, fingerprints among them.
    seeds: seeds by what they fix.
    environment: versions and machine.
    warnings: what limits the figures.
  """

  name: str
  title: str
  tables: list[Table]
  commands: list[str]
  protocol: dict[str, Any] = dataclasses.field(default_factory=dict)
  data: dict[str, Any] = dataclasses.field(default_factory=dict)
  seeds: dict[str, Any] = dataclasses.field(default_factory=dict)
  environment: dict[str, Any] = dataclasses.field(default_factory=dict)
  warnings: list[str] = dataclasses.field(default_factory=list)

  def table(self, name: str) -> Table:
    """A table by name.

    Args:
      name: such as the task type.

    Returns:
      The table.

    Raises:
      PublishedError: where there is none.
    """
    for found in self.tables:
      if found.name == name:
        return found
    raise PublishedError(
      f"{self.name} has no table {name!r}; it has "
      f"{[found.name for found in self.tables]}"
    )

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes the file; what stood there is replaced.

    Args:
      path: the file, called after `name`.

    Raises:
      PublishedError: where the name has another suffix, or the contents are
        not as the schema says.
    """
    final = pathlib.Path(path)
    check_name(final)
    record = {
      "schema_version": SCHEMA_VERSION,
      **_rounded(dataclasses.asdict(self)),
    }
    # What cannot be read again is not written.
    _read(record, final)
    final.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
    records.replace(final, text + "\n")

  @classmethod
  def load(cls, path: str | os.PathLike[str]) -> Self:
    """Reads a file.

    Args:
      path: the file.

    Returns:
      What it holds.

    Raises:
      FileNotFoundError: where there is no such file.
      PublishedError: where it is not as the schema says; what is wrong is
        named.
    """
    final = pathlib.Path(path)
    try:
      record = json.loads(final.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
      raise PublishedError(f"{path} is no JSON: {error}") from error
    return cls(**_read(record, final))


def check_name(path: pathlib.Path) -> None:
  """Fails for a file that no page would find; asked before the work.

  Args:
    path: of the figures.

  Raises:
    PublishedError: where it has another suffix.
  """
  if path.suffix != SUFFIX:
    raise PublishedError(
      f"{path} does not end in {SUFFIX}, and no page would find it; name the "
      f"file {path.stem}{SUFFIX}"
    )


def _rounded(value: Any) -> Any:
  """Six digits: what is behind them says nothing, and diffs stay small."""
  if isinstance(value, Mapping):
    return {key: _rounded(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_rounded(item) for item in value]
  if isinstance(value, float) and math.isfinite(value):
    return round(value, _DIGITS)
  return value


def _is_number(value: Any) -> bool:
  numeric = isinstance(value, int | float) and not isinstance(value, bool)
  return numeric and math.isfinite(value)


def _is_count(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_texts(value: Any) -> bool:
  return isinstance(value, list) and all(isinstance(v, str) for v in value)


# What a field holds, in words and as a check.
_KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
  str: ("a text", lambda v: isinstance(v, str)),
  str | None: ("a text or null", lambda v: v is None or isinstance(v, str)),
  float: ("a finite number", _is_number),
  float | None: (
    "a finite number or null",
    lambda v: v is None or _is_number(v),
  ),
  int | None: ("a count or null", lambda v: v is None or _is_count(v)),
  list[str]: ("a list of texts", _is_texts),
  list[int] | None: (
    "two counts or null",
    lambda v: (
      v is None
      or (isinstance(v, list) and len(v) == 2 and all(map(_is_count, v)))
    ),
  ),
  dict[str, Any]: ("an object", lambda v: isinstance(v, Mapping)),
  dict[str, float]: (
    "an object of finite numbers",
    lambda v: isinstance(v, Mapping) and all(map(_is_number, v.values())),
  ),
  dict[str, list[float]]: (
    "an object of lists of finite numbers",
    lambda v: (
      isinstance(v, Mapping)
      and all(
        isinstance(means, list) and all(map(_is_number, means))
        for means in v.values()
      )
    ),
  ),
  dict[str, Figure]: ("an object", lambda v: isinstance(v, Mapping)),
  dict[str, Gap]: ("an object", lambda v: isinstance(v, Mapping)),
  list[Row]: ("a list", lambda v: isinstance(v, list)),
  list[Table]: ("a list", lambda v: isinstance(v, list)),
}


def _fields(record: Any, kind: type, place: str) -> dict[str, Any]:
  """The fields of an object, each of the right kind."""
  if not isinstance(record, Mapping):
    raise PublishedError(f"{place} is {record!r:.80}, expected an object")
  known = {field.name: field for field in dataclasses.fields(kind)}
  if unknown := sorted(set(record) - set(known)):
    raise PublishedError(
      f"{place} has {unknown}, expected some of {list(known)}"
    )
  for name, field in known.items():
    if name in record:
      words, is_right = _KINDS[field.type]
      if not is_right(record[name]):
        raise PublishedError(
          f"{place}: {name} is {record[name]!r:.80}, expected {words}"
        )
    elif (
      field.default is dataclasses.MISSING
      and field.default_factory is dataclasses.MISSING
    ):
      raise PublishedError(f"{place} lacks {name!r}")
  return dict(record)


def _figure(record: Any, kind: type[Figure], place: str) -> Any:
  found = kind(**_fields(record, kind, place))
  low, high = found.low, found.high
  if (low is None) != (high is None):
    raise PublishedError(f"{place} has one end of an interval, expected both")
  if low is not None and high is not None and low > high:
    raise PublishedError(f"{place} goes from {low} to {high}")
  return found


def _row(record: Any, place: str) -> Row:
  fields = _fields(record, Row, place)
  place = f"{place} ({fields['name']})"
  for key, kind in (("metrics", Figure), ("differences", Gap)):
    fields[key] = {
      name: _figure(value, kind, f"{place}: {key} of {name}")
      for name, value in fields.get(key, {}).items()
    }
  return Row(**fields)


def _table(record: Any, place: str) -> Table:
  fields = _fields(record, Table, place)
  place = f"{place} ({fields['name']})"
  fields["rows"] = [
    _row(row, f"{place}, row {i}") for i, row in enumerate(fields["rows"])
  ]
  table = Table(**fields)
  names = [row.name for row in table.rows]
  if not names or len(set(names)) < len(names):
    raise PublishedError(f"{place} has the rows {names}, expected different")
  if table.reference not in (None, *names):
    raise PublishedError(
      f"{place}: the reference is {table.reference!r}, expected one of {names}"
    )
  used = [("chance", table.chance), ("compared", table.compared)]
  for row in table.rows:
    used += [(f"row {row.name}", row.metrics), (row.name, row.differences)]
    used.append((row.name, row.runs))
    if row.differences and table.reference is None:
      raise PublishedError(f"{place}: {row.name} differs from no reference")
  for owner, metrics in used:
    if unknown := sorted(set(metrics) - set(table.metrics)):
      raise PublishedError(
        f"{place}: {owner} has the metrics {unknown}, expected some of "
        f"{table.metrics}"
      )
  return table


def read_table(record: Any, place: str) -> Table:
  """A table of a JSON record, checked.

  Args:
    record: as `dataclasses.asdict` makes it.
    place: where it stands, for messages.

  Returns:
    The table.

  Raises:
    PublishedError: where it is not as the schema says; what is wrong is named.
  """
  return _table(_rounded(record), place)


def _read(record: Any, path: pathlib.Path) -> dict[str, Any]:
  """The fields of `Published`, checked."""
  if not isinstance(record, Mapping):
    raise PublishedError(f"{path} holds {record!r:.80}, expected an object")
  version = record.get("schema_version")
  if version != SCHEMA_VERSION:
    raise PublishedError(
      f"{path} has schema_version {version!r}, expected {SCHEMA_VERSION}; "
      "publish it anew with `instructrec results publish`"
    )
  rest = {k: v for k, v in record.items() if k != "schema_version"}
  fields = _fields(rest, Published, str(path))
  if fields["name"] != path.stem:
    raise PublishedError(
      f"{path} is called {fields['name']!r} inside, expected {path.stem!r}"
    )
  fields["tables"] = [
    _table(table, f"{path}, table {i}")
    for i, table in enumerate(fields["tables"])
  ]
  names = [table.name for table in fields["tables"]]
  if not names or len(set(names)) < len(names):
    raise PublishedError(f"{path} has the tables {names}, expected different")
  return fields
