"""Values of raw files: text to numbers, prices, times and lists.

Each function takes a column and returns one of the same length, null where
there is nothing or where a value does not convert.
"""

import ast
import json

import polars as pl

_NOTHING = ("", "null", "NULL", "None")
_YEAR = r"(?:^|\D)((?:18|19|20)\d\d)(?:\D|$)"
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_PRICE = (
  r"^[$€£¥]?\s*([0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?)$"
)
_DATE = (
  r"^([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})"
  r"(?:[T ]\s*([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?)?"
  r"\s*(Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})?$"
)
MICROSECONDS = 1_000_000
"""Ticks of our times in a second."""
# Unix times up to the year 5138 in seconds; the next unit begins where the
# largest of a column is beyond.
_UNITS = ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000), (1e20, 1_000_000_000))
_LAST = 2.5e11
"""Seconds; later times are typing errors."""


def texts(values: pl.Series) -> pl.Series:
  """Text without blanks around it; whole floats lose their ".0"."""
  text = values.cast(pl.String)
  if values.dtype.is_float():
    # Ids that shared a column with gaps: 7.0 is the item 7.
    text = text.str.replace(r"\.0$", "")
  text = text.str.strip_chars()
  return text.set(text.is_in(_NOTHING), None)


def numbers(values: pl.Series) -> pl.Series:
  """Finite numbers."""
  text = texts(values)
  # Else "inf", "nan" and their like convert as well.
  plain = text.set(~text.str.contains(_NUMBER), None)
  number = plain.cast(pl.Float64, strict=False)
  return number.set(~number.is_finite(), None)


def wholes(values: pl.Series) -> pl.Series:
  """Whole numbers; 1.26e9 and 7.0 are, too."""
  exact = texts(values).cast(pl.Int64, strict=False)
  number = numbers(values)
  rounded = number.set(number != number.floor(), None)
  return exact.zip_with(
    exact.is_not_null(), rounded.cast(pl.Int64, strict=False)
  )


def prices(values: pl.Series) -> pl.Series:
  """Numbers, also behind a sign of currency and with commas in thousands."""
  found = texts(values).str.extract(_PRICE).str.replace_all(",", "")
  number = numbers(values)
  return number.zip_with(number.is_not_null(), numbers(found))


def years(values: pl.Series) -> pl.Series:
  """Years, also of dates."""
  return texts(values).str.extract(_YEAR).cast(pl.Int64)


def times(values: pl.Series, ticks: int | None = None) -> pl.Series:
  """Unix times in microseconds.

  Args:
    values: dates, times, their ISO text, or Unix times. Without a zone they
      are UTC.
    ticks: of a Unix time in a second; None tells seconds, milli-, micro- and
      nanoseconds by the size of the largest.

  Returns:
    Int64.
  """
  if values.dtype in (pl.Date, pl.Datetime):
    return values.dt.epoch("us")
  if values.dtype.is_temporal():
    return pl.Series(values.name, [None] * len(values), pl.Int64)
  number = numbers(values)
  if ticks is None:
    largest = float(number.abs().fill_null(0.0).to_numpy().max(initial=0.0))
    ticks = next((unit for end, unit in _UNITS if largest < end), 1)
  number = number.set((number / ticks).abs() > _LAST, None)
  rounded = (number * (MICROSECONDS / ticks)).round().cast(pl.Int64)
  # A double has 53 bits: nanoseconds and large counts stay integers.
  exact = texts(values).cast(pl.Int64, strict=False)
  exact = exact.set(number.is_null(), None)
  exact = (
    exact * (MICROSECONDS // ticks)
    if ticks <= MICROSECONDS
    else exact // (ticks // MICROSECONDS)
  )
  found = exact.zip_with(exact.is_not_null(), rounded)
  if not found.null_count():
    return found
  return found.zip_with(found.is_not_null(), _dates(values))


def _dates(values: pl.Series) -> pl.Series:
  """Microseconds of ISO dates and times."""
  part = texts(values).str.extract_groups(_DATE).struct.field
  if part("1").null_count() == len(values):
    return pl.Series(values.name, [None] * len(values), pl.Int64)

  def padded(name: str, width: int) -> pl.Expr:
    return pl.col(name).fill_null("").str.zfill(width)

  frame = pl.DataFrame([part(str(number)) for number in range(1, 9)])
  zone = pl.col("8").str
  minutes = zone.slice(1, 2).cast(pl.Int64, strict=False) * 60 + zone.tail(
    2
  ).cast(pl.Int64, strict=False)
  offset = pl.when(zone.starts_with("-")).then(-minutes).otherwise(minutes)
  clock = pl.format(
    "{}-{}-{} {}:{}:{}.{}",
    "1",
    *(padded(str(number), 2) for number in range(2, 7)),
    pl.col("7").fill_null("").str.pad_end(6, "0").str.head(6),
  )
  moment = clock.str.to_datetime(
    "%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us"
  )
  return frame.select(
    (moment.dt.epoch("us") - offset.fill_null(0) * 60 * MICROSECONDS).alias(
      values.name
    )
  ).to_series()


def strings(values: pl.Series, separator: str) -> pl.Series:
  """Lists of texts.

  Args:
    values: each a list, one in JSON or as Python writes it, with lists in it
      or not, or text that is split.
    separator: what splits other text.

  Returns:
    List(String), without empty texts. Of lists within a list, each text
    stands once, in the order of its first place.
  """
  if isinstance(values.dtype, pl.List):
    return values.cast(pl.List(pl.String))
  # Through JSON: polars takes long for lists of Python.
  dumped = [
    None if text is None else _dumped(text, separator) for text in texts(values)
  ]
  found = pl.Series(values.name, dumped, pl.String).str.json_decode(
    pl.List(pl.String)
  )
  stripped = found.list.eval(pl.element().str.strip_chars())
  return stripped.list.eval(pl.element().filter(pl.element() != ""))


def _dumped(text: str, separator: str) -> str:
  """The texts of a list as JSON; those of split text where it is none."""
  parts = literal(text) if text.startswith("[") else None
  if parts is None:
    parts = text.split(separator)
  if any(isinstance(part, list) for part in parts):
    parts = list(dict.fromkeys(_flat(parts)))
  return json.dumps([str(part) for part in parts if part is not None])


def _flat(parts: list) -> list[str]:
  return [
    text
    for part in parts
    if part is not None
    for text in (_flat(part) if isinstance(part, list) else [str(part)])
  ]


def literal(text: str) -> list | None:
  """A list in JSON or as Python writes it; None for any other text.

  Nothing is evaluated: what is no literal is no list.
  """
  try:
    found = json.loads(text)
  except ValueError:
    try:
      found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
      return None
  except RecursionError:
    return None
  return found if isinstance(found, list) else None
