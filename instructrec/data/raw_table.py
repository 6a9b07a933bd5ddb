"""Raw tables: delimited text, a JSON object a line, Parquet, or in memory.

What a file is, is told by its content; its name matters where errors have to
say what was expected. Delimited text and JSON are read as text, and only the
columns that are wanted: some files have thousands.
"""

import dataclasses
import glob
import itertools
import json
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Literal

import polars as pl

from instructrec.data import python_lines, raw_errors, raw_file

ROW = "_row"
"""Column of `RawTable.read`: which record of the file a row is, from 0."""
DOUBLE_COLON = "::"
_SEPARATORS = ("\t", ",", ";", "|")
# Titles hold stray quotes; only CSV quotes its fields.
_QUOTED = (",", ";")
_JSON_ROWS = 1000
"""Lines whose fields are taken for those of a file of JSON."""
# RecBole's atomic files name the type of a field behind it.
_TYPED = re.compile(r"(?<=.):(token|token_seq|float|float_seq)$")

Kind = Literal["delimited", "json", "python", "parquet", "frame"]


@dataclasses.dataclass(frozen=True)
class RawTable:
  """A table and how it is read.

  Attributes:
    file: where it is.
    kind: its form; "python" is Amazon's of 2014: a Python literal a line,
      "frame" one that is in memory.
    columns: the names of its columns, those of JSON as far as its first lines
      have them.
    separator: of delimited text.
    has_header: whether delimited text names its columns.
    skip_lines: empty lines that delimited text begins with.
    frame: the table that is in memory.
  """

  file: raw_file.RawFile
  kind: Kind
  columns: tuple[str, ...]
  separator: str = ""
  has_header: bool = True
  skip_lines: int = 0
  frame: pl.DataFrame | None = dataclasses.field(
    default=None, compare=False, repr=False
  )

  @property
  def name(self) -> str:
    """What the user calls the file."""
    return self.file.name

  @property
  def is_quoted(self) -> bool:
    """Whether double quotes stand around fields with separators in them."""
    return self.separator in _QUOTED

  def read(self, wanted: Sequence[str]) -> pl.DataFrame:
    """Reads some columns.

    Args:
      wanted: names of columns; those that the table does not have are left out.

    Returns:
      `ROW` and the columns, text where the file is text. Empty lines are left
      out.

    Raises:
      ValueError: where the file does not parse; it says where and why.
    """
    names = [name for name in dict.fromkeys(wanted) if self._may_have(name)]
    read = {
      "delimited": self._read_delimited,
      "json": self._read_json,
      "python": self._read_python,
      "parquet": self._read_parquet,
      "frame": self._read_frame,
    }[self.kind]
    try:
      frame = read(names)
    except (pl.exceptions.PolarsError, OSError) as error:
      raise ValueError(raw_errors.explain(self, error)) from error
    # Fields that the first lines of JSON lack may come later, or not at all.
    empty = [
      name
      for name in names
      if name not in self.columns and frame[name].null_count() == frame.height
    ]
    return frame.drop(empty)

  def line_of(self, row: int) -> int:
    """The line of a record, or row of Parquet, from 1; reads up to it."""
    return next(itertools.islice(self._lines(), row, None))

  def _may_have(self, name: str) -> bool:
    return name in self.columns or self.kind in ("json", "python")

  def _lines(self) -> Iterator[int]:
    """The line of each record, as `ROW` counts them."""
    if self.kind in ("parquet", "frame"):
      yield from itertools.count(1)
    elif self.kind == "delimited":
      for line, _, _ in raw_errors.delimited_records(self):
        yield line
    else:
      for line, content in enumerate(self.file.lines(), 1):
        if content.strip():
          yield line

  def _read_parquet(self, names: list[str]) -> pl.DataFrame:
    return _typed(pl.read_parquet(self.file.path, columns=names, glob=False))

  def _read_frame(self, names: list[str]) -> pl.DataFrame:
    assert self.frame is not None
    return _typed(self.frame.select(names))

  def _read_json(self, names: list[str]) -> pl.DataFrame:
    return pl.read_ndjson(
      # Nothing else turns patterns off here.
      glob.escape(os.fspath(self.file.path)),
      schema=dict.fromkeys(names, pl.String) or {ROW: pl.String},
      low_memory=True,
    ).with_row_index(ROW)

  def _read_python(self, names: list[str]) -> pl.DataFrame:
    return python_lines.read(self.file, names).with_row_index(ROW)

  def _read_delimited(self, names: list[str]) -> pl.DataFrame:
    if self.separator == DOUBLE_COLON:
      frame = self._split_lines()
    else:
      frame = pl.scan_csv(
        self.file.path,
        separator=self.separator,
        has_header=self.has_header,
        skip_lines=self.skip_lines,
        with_column_names=lambda found: [*self.columns],
        infer_schema=False,
        quote_char='"' if self.is_quoted else None,
        glob=False,
      )
    empty = pl.all_horizontal(pl.col(self.columns).is_null())
    return (
      frame.with_row_index(ROW).filter(~empty).select(ROW, *names).collect()
    )

  def _split_lines(self) -> pl.LazyFrame:
    """Fields between `::`, which no CSV reader splits."""
    lines = pl.scan_lines(self.file.path, glob=False)
    parts = pl.col("line").str.strip_suffix("\r").str.split(self.separator)
    width = len(self.columns)
    split = lines.slice(self.skip_lines + self.has_header).select(
      parts.alias("part")
    )
    longest = split.select(pl.col("part").list.len().max()).collect().item()
    if longest is not None and longest > width:
      raise pl.exceptions.ComputeError("too many fields")
    return split.select(
      pl.col("part").list.get(i, null_on_oob=True).replace("", None).alias(name)
      for i, name in enumerate(self.columns)
    )


def _typed(frame: pl.DataFrame) -> pl.DataFrame:
  """A table of values that have types, its nested ones as JSON."""
  nested = [name for name in frame.columns if frame[name].dtype.is_nested()]
  return frame.with_columns(
    # Some writers do not say which of their bytes are text.
    pl.col(pl.Binary).cast(pl.String),
    *(
      pl.Series(name, [_json(value) for value in frame[name].to_list()])
      for name in nested
    ),
  ).with_row_index(ROW)


def of_frame(frame: pl.DataFrame, name: str) -> RawTable:
  """A table that is in memory.

  Args:
    frame: its rows.
    name: what messages call it.

  Returns:
    The table.
  """
  file = raw_file.RawFile(pathlib.Path(), name, b"")
  return RawTable(file, "frame", tuple(frame.columns), frame=frame)


def open_table(
  path: str | os.PathLike[str],
  *,
  names: Sequence[str] | None = None,
  has_header: bool = True,
  separator: str | None = None,
  latin1: bool = False,
  python: bool = False,
) -> RawTable:
  """Opens a table; reads no more than its beginning.

  Args:
    path: see `raw_file.open_raw`.
    names: of the columns of delimited text that does not name them.
    has_header: whether delimited text names its columns; without `names`
      and header they are called 1, 2, 3 and so on.
    separator: of delimited text; None tells it by the first line.
    latin1: whether text that is no UTF-8 is taken for Latin-1.
    python: whether Python literals are read.

  Returns:
    The table.

  Raises:
    FileNotFoundError: where there is no such file.
    ValueError: where it is no table.
  """
  file = raw_file.open_raw(path)
  if latin1:
    file = raw_file.as_utf8(file)
  name = re.sub(r"\.gz$", "", file.name)
  begin = file.head.lstrip()
  if not begin:
    raise ValueError(f"{file.name} is empty")
  if begin.startswith(b"PAR1"):
    return RawTable(file, "parquet", tuple(_parquet_columns(file)))
  if name.endswith((".parquet", ".pq")):
    raise ValueError(
      f"{file.name} is no Parquet file: it begins with {file.head[:8]!r}, "
      "expected b'PAR1'"
    )
  is_json = name.endswith((".jsonl", ".json", ".ndjson"))
  if is_json or begin.startswith((b"{", b"[{", b"[\n", b"[\r")):
    return _open_json(file, python)
  has_header = has_header and names is None
  return _open_delimited(file, names, has_header, separator)


def _open_json(file: raw_file.RawFile, python: bool) -> RawTable:
  if python and python_lines.is_python(file):
    return RawTable(file, "python", tuple(python_lines.fields(file)))
  found: dict[str, None] = {}
  lines = (line for line in file.lines() if line.strip())
  for _, line in zip(range(_JSON_ROWS), lines, strict=False):
    try:
      row = json.loads(line)
    except ValueError:
      break  # Reading says what is wrong, and with which line.
    if not isinstance(row, dict):
      break
    found.update(dict.fromkeys(row))
  table = RawTable(file, "json", tuple(found))
  if not found:
    # Else it would be said that columns are missing.
    reason = ValueError("its first objects have no fields")
    raise ValueError(raw_errors.explain(table, reason))
  return table


def _open_delimited(
  file: raw_file.RawFile,
  names: Sequence[str] | None,
  has_header: bool,
  separator: str | None,
) -> RawTable:
  text = file.head.decode("utf-8", errors="replace")
  begin = text.lstrip("\r\n")
  if "\n" not in begin and "\r" in begin:
    raise ValueError(
      f"{file.name} ends its lines with CR alone, expected LF or CR LF; "
      "convert it: tr '\\r' '\\n'"
    )
  skip = text[: len(text) - len(begin)].count("\n")
  line = begin.split("\n", 1)[0].rstrip("\r")
  separator = separator or _separator(file.name, line)
  table = RawTable(file, "delimited", (), separator, has_header, skip)
  fields = raw_errors.first_record(table)
  if names is None:
    names = fields if has_header else [str(i + 1) for i in range(len(fields))]
  if len(names) != len(fields):
    raise ValueError(
      f"{file.name}, line {skip + 1}: found {len(fields)} fields, expected "
      f"{len(names)}: {', '.join(names)}"
    )
  return dataclasses.replace(table, columns=_cleaned(names, file.name))


def _cleaned(names: Sequence[str], file: str) -> tuple[str, ...]:
  """Names without blanks around them, and without RecBole's types."""
  stripped = [_TYPED.sub("", name.strip()) for name in names]
  for name in stripped:
    if stripped.count(name) > 1 and name:
      raise ValueError(f"{file} has two columns called {name!r}; rename one")
  # Row names that a data frame was saved with have no name of their own.
  return tuple(n or f"column {i}" for i, n in enumerate(stripped, 1))


def _separator(name: str, line: str) -> str:
  """What separates the fields of a line."""
  if DOUBLE_COLON in line and "\t" not in line:
    return DOUBLE_COLON
  own = {".csv": ",", ".tsv": "\t"}.get(
    os.path.splitext(name.removesuffix(".gz"))[1]
  )
  for separator in (own, *_SEPARATORS):
    if separator and separator in line:
      return separator
  if own:
    return own
  shown = line if len(line) <= 60 else line[:60] + "..."
  raise ValueError(
    f"{name} is no table: its first line {shown!r} has no tab, comma, "
    "semicolon, bar or double colon between fields, and it is neither JSON nor "
    "Parquet"
  )


def _parquet_columns(file: raw_file.RawFile) -> list[str]:
  try:
    return pl.scan_parquet(file.path, glob=False).collect_schema().names()
  except pl.exceptions.PolarsError as error:
    raise ValueError(
      f"{file.name} is a damaged Parquet file: {error}"
    ) from error


def _json(value: object) -> str | None:
  """A nested value as the readers of JSON leave it."""
  if value is None:
    return None
  return json.dumps(value, ensure_ascii=False, default=str)
