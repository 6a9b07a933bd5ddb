"""Lists of titles: what is written is read, and nothing else is an item."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.data import item_text
from instructrec.instructions import title_list

_TITLES = (
  'Half-Life 2: "Episode One"',
  "1,000 Miles, 2. edition",
  "Go",
  "FIFA 12",
  "FIFA 14",
  "Café (2004)",
  "l'Œuvre; it's <b> & more",
  "extra_id_0",
)
_SEPARATORS = (
  title_list.SENTINELS,
  title_list.SENTINELS[:2],
  title_list.NEWLINES,
  ("<sep>",),
  ("|1>", "|2>"),
)
_INVALID, _BLANK = title_list.INVALID, title_list.BLANK
_SEP, _TWO = title_list.SENTINELS[:2]


@pytest.fixture(scope="module", name="strict")
def strict_fixture():
  return title_list.Reader(_TITLES)


@pytest.fixture(scope="module", name="fuzzy")
def fuzzy_fixture():
  return title_list.Reader(_TITLES, max_distance=title_list.MAX_DISTANCE)


_LINES = (
  st.text("aB0,.;'\"<>|_sepxtr \n\u00e9\u0301\u200b\uff1c", max_size=12)
  .map(lambda text: " ".join(text.split()))
  .filter(item_text.look)
)


@settings(deadline=None, max_examples=60)
@given(
  titles=st.lists(
    st.one_of(_LINES, st.sampled_from(_TITLES)),
    max_size=6,
    unique_by=item_text.look,
  ),
  separators=st.sampled_from(_SEPARATORS),
  order=st.randoms(use_true_random=False),
)
def test_what_is_written_is_read(titles, separators, order):
  for text in separators:
    titles = [t for t in titles if text not in t + "\n" + item_text.look(t)]
  reader = title_list.Reader(titles, separators=separators)
  numbers = list(range(len(titles)))
  order.shuffle(numbers)
  wanted = [titles[i] for i in numbers]
  text = title_list.write(wanted, separators)
  assert title_list.split(text, separators) == (wanted, 0)
  assert reader.read(text).items == tuple(numbers)
  assert not any(reader.read(text).edited)
  assert not reader.read(text).misnumbered


def test_separators_count_down():
  assert title_list.write(_TITLES[2:5]) == (
    "Go <extra_id_2> FIFA 12 <extra_id_1> FIFA 14"
  )
  # As far as there are numbers.
  long = title_list.write(["Go"] * 103).split()
  numbers = [99, 99, 99, 99, *reversed(range(1, 99))]
  assert long[1::2] == [f"<extra_id_{number}>" for number in numbers]
  assert title_list.split(" ".join(long)).misnumbered == 0
  assert title_list.write(["Go", "Ur", "Go"], ("\n",)) == "Go\nUr\nGo"


@pytest.mark.parametrize(
  ("said", "misnumbered"),
  [((), 0), ((1,), 0), ((2,), 1), ((3, 2, 1), 0), ((3, 3, 1), 1),
   ((2, 1, 1), 2), ((1, 2, 3), 2), ((4, 3, 2, 1, 1), 4)],
)  # fmt: skip
def test_wrong_numbers_are_counted(said, misnumbered, strict):
  """They end titles all the same; what is behind the last counts, too."""
  text = "Go" + "".join(f" <extra_id_{number}> FIFA 12" for number in said)
  reading = strict.read(text)
  assert reading.items == (2, *[3] * len(said))
  assert reading.misnumbered == misnumbered
  # In tokens likewise.
  ids = {"separator_ids": tuple(range(30, 39)), "eos_id": 1}
  tokens = [5, *[i for number in said for i in (29 + number, 6)], 1]
  parts = title_list.split_tokens(tokens, **ids)
  assert parts == ([[5], *[[6]] * len(said)], misnumbered)


@pytest.mark.parametrize(
  ("text", "items"),
  [
    ("", ()),
    ("   ", ()),
    ("Go", (2,)),
    (f"Go {_SEP} FIFA 12", (2, 3)),
    (f"Go{_SEP}FIFA 12", (2, 3)),
    (f"  Go   {_SEP}\n FIFA   12 ", (2, 3)),
    (f"Go {_SEP} Go", (2, 2)),
    (f"Go {_SEP}", (2, _BLANK)),
    (f"{_SEP} Go", (_BLANK, 2)),
    (f"Go {_SEP} {_SEP} FIFA 12", (2, _BLANK, 3)),
    (_SEP, (_BLANK, _BLANK)),
    ("go", (_INVALID,)),
    ("FIFA 13", (_INVALID,)),
    ("1. Go", (_INVALID,)),
    ("Go, FIFA 12", (_INVALID,)),
    ("Go\nFIFA 12", (_INVALID,)),
    ("Cafe\u0301 (2004)", (5,)),
    ('"Go"', (_INVALID,)),
    ("extra_id_0", (7,)),
    ("<extra_id_0>", (_INVALID,)),
    ("<extra_id_100>", (_INVALID,)),
    (f"Go {_TWO} FIFA 12", (2, 3)),
  ],
)
def test_reading_is_strict(text, items, strict):
  assert strict.read(text).items == items


@pytest.mark.parametrize(
  ("text", "item", "edited"),
  [
    ("FIFA 12", 3, False),
    ("FIFA12", 3, True),
    # As near to 14 as to 12.
    ("FIFA 13", _INVALID, False),
    ("FIFA 2014", 4, True),
    ("Half-Life 2: Episode One", 0, True),
    ("Half-Life 2: Episode Two", _INVALID, False),
    ("half-Life 2: 'Episode One'", 0, True),
    ("half-life 2: 'Episode One'", _INVALID, False),
    # Half of the letters of a short title make another one.
    ("Ga", _INVALID, False),
    ("Golf", _INVALID, False),
    ("", _BLANK, False),
  ],
)
def test_a_fuzzy_reader_takes_the_one_nearest_title(text, item, edited, fuzzy):
  reading = fuzzy.read_entries([text])
  assert reading.items == (item,)
  assert reading.edited == (edited,)
  # The second time it is remembered.
  assert fuzzy.read_entries([text]) == reading


def test_readers_have_names(strict, fuzzy):
  assert strict.name == "strict"
  assert fuzzy.name == "fuzzy (distance 3)"


@pytest.mark.parametrize(
  ("title", "message"),
  [
    (f"Go {_SEP} on", "separates titles"),
    (_SEP, "separates titles"),
    # SentencePiece reads these as the separator.
    ("\uff1cextra_id_1\uff1e", "separates titles"),
    ("<extra_id_99>", "separates titles"),
    ("", "could not be read back"),
    (" Go", "could not be read back"),
    ("Go  on", "could not be read back"),
    ("Go\non", "could not be read back"),
    ("\u200b", "could not be read back"),
  ],
)
def test_titles_that_could_not_be_read_back_are_refused(title, message):
  with pytest.raises(ValueError, match=message):
    title_list.write(["FIFA 12", title])
  with pytest.raises(ValueError, match=message):
    title_list.Reader([title])


@pytest.mark.parametrize("separators", [(), ("",), ("|", "a b"), ("|", "|>")])
def test_a_separator_is_one_word(separators):
  with pytest.raises(ValueError, match="the separators are"):
    title_list.write(["Go"], separators)


def test_titles_that_look_alike_are_refused():
  with pytest.raises(ValueError, match="items 0 and 1 are both called"):
    title_list.Reader(["Rocky II", "Rocky \u2161"])


_IDS = st.integers(5, 99)


@settings(deadline=None, max_examples=60)
@given(
  rows=st.lists(st.lists(_IDS, min_size=1, max_size=5), max_size=5),
  ended=st.booleans(),
  behind=st.lists(_IDS, max_size=3),
)
def test_tokens_that_are_joined_are_split(rows, ended, behind):
  ids = {"separator_ids": (3, 4), "eos_id": 1}
  given_rows = [[*row, 1] for row in rows] if ended else rows
  joined = title_list.join_tokens(given_rows, **ids)
  assert joined[-1] == 1
  assert joined.count(3) == (len(rows) > 1)
  assert joined.count(4) == max(0, len(rows) - 2)
  found = title_list.split_tokens([*joined, *behind, 0, 0], **ids)
  assert found == (rows, 0)


def test_tokens_of_a_list_are_those_of_its_titles():
  ids = {"separator_ids": (3, 4), "eos_id": 1}
  assert title_list.join_tokens([[5, 6], [7]], **ids) == [5, 6, 3, 7, 1]
  rows = [[5], [6], [7]]
  assert title_list.join_tokens(rows, **ids) == [5, 4, 6, 3, 7, 1]
  assert title_list.split_tokens([3, 5, 3], **ids) == ([[], [5], []], 1)
  for row in ([], [1], [5, 3], [4], [1, 5]):
    with pytest.raises(ValueError, match="title 1 of the list"):
      title_list.join_tokens([[5], row], **ids)


def test_arrays_say_where_a_list_has_no_entry(strict):
  texts = (f"Go {_SEP} what {_SEP}", "", "FIFA 14")
  readings = [strict.read(text) for text in texts]
  empty = title_list.EMPTY
  wanted = [[2, _INVALID, _BLANK], [empty] * 3, [4, empty, empty]]
  assert title_list.to_array(readings).tolist() == wanted
  wider = title_list.to_array(readings, 5)
  assert wider.shape == (3, 5)
  assert (wider[:, 3:] == empty).all()
  assert title_list.to_array([], 4).shape == (0, 4)
  assert np.issubdtype(wider.dtype, np.integer)
