"""Items are known by titles, and by their place in an answer."""

import polars as pl
import pytest

from instructrec.data import catalog
from instructrec.serving import item_names
from instructrec.serving.messages import Message


def test_answers_are_known_by_items_or_by_titles_in_their_text(shop):
  items = shop.shelf.catalog
  ids, titles = items.item_ids[3:6], items.titles[3:6]
  text = "Here you are:\n" + "\n".join(
    f"{n}. {title} (because of puzzles)" for n, title in enumerate(titles, 1)
  )
  for answer in (
    Message("assistant", text),
    Message("assistant", "", (ids[0], titles[1].upper(), ids[2])),
    Message.from_json(
      {"role": "assistant", "content": None, "items": [{"id": i} for i in ids]}
    ),
  ):
    state = shop.read([answer, Message("user", "more like the second")])
    assert state.shown == tuple(ids)
    assert state.history == (ids[1],)


@pytest.mark.parametrize("count", [1, 3])
def test_titles_that_reasons_name_have_no_number(shop, count):
  items = shop.shelf.catalog
  liked, *shown = items.titles[2 : 3 + count]
  lines = [f"Understood: puzzles, like {liked!r}."]
  for number, title in enumerate(shown, 1):
    lines.append(f"{number}. {title}")
    lines.append(f"   (raised by the history's {liked!r})")
  state = shop.read(
    [Message("assistant", "\n".join(lines)), Message("user", "not the first")]
  )
  assert state.shown == tuple(items.item_ids[3 : 3 + count])
  (kept,) = state.kept
  assert kept.item_id == items.item_ids[3]


def test_the_reason_in_a_line_of_a_list_has_no_number(shop):
  items = shop.shelf.catalog
  liked, *shown = items.titles[2:5]
  text = "\n".join(
    f"{number}) **{title}**, as you liked {liked}"
    for number, title in enumerate(shown, 1)
  )
  state = shop.read(
    [Message("assistant", text), Message("user", "more like the second")]
  )
  assert state.history == (items.item_ids[4],)


@pytest.mark.parametrize(
  "answer",
  [
    "Understood: like {!r}.\nNo item is known to meet all of that.",
    "I would take {}.",
  ],
)
def test_titles_outside_a_list_have_no_number(shop, answer):
  text = answer.format(shop.shelf.catalog.titles[2])
  state = shop.read(
    [Message("assistant", text), Message("user", "not the first")]
  )
  assert not state.shown
  assert not state.kept
  assert state.understood == (
    "nothing is asked for; not done: 'not the first' (0 items were shown)"
  )


def test_films_are_known_by_their_names_without_the_year(films):
  items = films.shelf.catalog
  state = films.read([Message("user", "something like Night Train 1")])
  assert state.history == (items.item_ids[1],)


def test_words_of_every_day_are_no_titles(opened):
  names = ["More", "Alien", *(f"Film {n} (1990)" for n in range(20))]
  frame = {"item_id": [str(n) for n in range(22)], "title": names}
  conversations = opened(catalog.Catalog(pl.DataFrame(frame)))
  for said, expected in (
    ("no more of it", set()),
    ("more like alien", {"like 'Alien'"}),
    ("not Alien", {"not 'Alien'"}),
  ):
    state = conversations.read([Message("user", said)])
    assert {one.text for one in state.kept} == expected


def test_a_line_is_gone_through_once(shop, monkeypatch):
  names = shop._turns.names
  title = " ".join(names.catalog.titles[5].split())
  line = "1. " + "a " * 2000 + title
  assert list(names.in_line(line)) == [names.catalog.item_ids[5]]
  asked, whole = [], item_names.spoken.words

  def counted(text):
    asked.append(text)
    return whole(text)

  monkeypatch.setattr(item_names.spoken, "words", counted)
  assert list(names.in_line(line)) == [names.catalog.item_ids[5]]
  assert len(asked) < 2100
  # Nor does the beginning of a title, again and again, take long.
  compared = []

  def kept(key):
    compared.append(key)
    return begins(key)

  begins = names._begins
  object.__setattr__(names, "_begins", kept)
  assert not list(names.in_line(f"1. {title.split()[0]} " * 500))
  object.__delattr__(names, "_begins")
  assert len(compared) < 3000
