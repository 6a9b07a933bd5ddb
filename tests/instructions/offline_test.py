"""The offline teacher: believable, varied, and silent about the target."""

import dataclasses
import re

import polars as pl
import pytest

from instructrec.data import catalog, synthetic
from instructrec.instructions import keyphrases, offline, quality
from instructrec.instructions.teacher import TextKind, TextRequest

_FIRST = re.compile(r"\b(I|my|me)\b", re.IGNORECASE)
_THIRD = re.compile(r"\b(they|their|them|this person)\b", re.IGNORECASE)
_WISHES = (TextKind.VAGUE, TextKind.VAGUE_SECOND)


@pytest.fixture(scope="module")
def shop():
  log, items = synthetic.generate(num_users=40, num_items=80, seed=6)
  return log, items, offline.OfflineTeacher(items)


@pytest.fixture(scope="module")
def requests(shop):
  """One of each kind for each user; the newest item is the hidden one."""
  log, items, _ = shop
  found = []
  for user, (_, frame) in enumerate(
    log.frame.group_by("user_id", maintain_order=True)
  ):
    bought = [items[item_id] for item_id in frame["item_id"]]
    review = frame["review"][-2]
    for kind in TextKind:
      about = (bought[-1],) if kind is TextKind.SPECIFIC else bought[:-1]
      found.append(
        TextRequest(
          kind=kind,
          items=tuple(about),
          review=None if kind is TextKind.SPECIFIC else review,
          history=tuple(bought[:-1]) if kind is TextKind.VAGUE_SECOND else (),
          hidden_title=bought[-1].title,
          key=user * 7919,
        )
      )
  return found


def request(kind, items, *, review=None, history=(), hidden="Nothing Said",
            key=0):  # fmt: skip
  return TextRequest(kind, tuple(items), review, tuple(history), hidden, key)


def test_the_same_requests_give_the_same_texts(shop, requests):
  _, items, teacher = shop
  texts = teacher.write(requests)
  assert texts == teacher.write(requests)
  other = offline.OfflineTeacher(items)
  # Whatever was asked before, and in whatever order.
  assert texts[::-1] == other.write(requests[::-1])


def test_every_text_can_be_used(shop, requests):
  for wanted, text in zip(requests, shop[2].write(requests), strict=True):
    is_query = wanted.kind is TextKind.SPECIFIC
    reason = quality.problem(text, wanted.hidden_title, is_query=is_query)
    assert reason is None, text
    assert text[0].isupper()
    assert text[-1] in ".?"
    assert "{" not in text


def test_preferences_are_in_the_third_person_queries_in_the_first(
  shop, requests
):
  for wanted, text in zip(requests, shop[2].write(requests), strict=True):
    if wanted.kind is TextKind.PREFERENCE:
      assert _THIRD.search(text) or text.startswith("A fan of"), text
      assert not _FIRST.search(text), text
    else:
      assert not _THIRD.search(text), text
    if wanted.kind is TextKind.OWN_PREFERENCE:
      for sentence in re.split(r"(?<=\.) ", text):
        assert _FIRST.search(sentence), text


def test_own_preferences_say_what_the_third_person_says(shop, requests):
  _, _, teacher = shop
  vary = str.maketrans("", "", ".,")
  person = {"I", "my", "they", "their", "this", "person", "a", "am", "an", "is"}
  verbs = {"mostly", "go", "goes"}
  for wanted in requests:
    if wanted.kind is not TextKind.PREFERENCE:
      continue
    own = dataclasses.replace(wanted, kind=TextKind.OWN_PREFERENCE)
    theirs, mine = (
      set(text.lower().translate(vary).split())
      for text in teacher.write([wanted, own])
    )
    assert theirs ^ mine <= {word.lower() for word in person | verbs}


@pytest.mark.parametrize("kind", TextKind)
def test_keys_choose_among_wordings(shop, requests, kind):
  _, _, teacher = shop
  wanted = next(r for r in requests if r.kind is kind)
  keyed = [dataclasses.replace(wanted, key=key) for key in range(24)]
  texts = teacher.write(keyed)
  assert len(set(texts)) >= 3
  assert texts[:8] != texts[1:9]


@pytest.mark.parametrize(
  "columns",
  [["item_id", "title", "categories", "brand", "price"], ["item_id", "title"]],
)
def test_a_query_has_at_most_half_of_the_titles_words(shop, columns):
  items = catalog.Catalog(shop[1].frame.select(columns))
  teacher = offline.OfflineTeacher(items)
  for item_id in items.item_ids:
    item = items[item_id]
    (text,) = teacher.write(
      [request(TextKind.SPECIFIC, [item], hidden=item.title)]
    )
    title = set(keyphrases.content_words(item.title))
    said = title & set(keyphrases.content_words(text))
    assert len(said) <= max(1, len(title) // 2), (item.title, text)


def test_a_query_names_the_kind_of_product_and_its_price(shop):
  _, items, teacher = shop
  by_price = sorted(
    (items[i] for i in items.item_ids), key=lambda item: item.price
  )
  third = len(by_price) // 3
  levels = {
    "not too expensive": by_price[:third],
    "medium priced": by_price[third + 2 : 2 * third],
    "top quality": by_price[-third:],
  }
  for words, found in levels.items():
    for item in found:
      (text,) = teacher.write([request(TextKind.SPECIFIC, [item])])
      assert item.categories[-1].lower() in text.lower()
      assert [level for level in levels if level in text] == [words]


@pytest.mark.parametrize(
  ("review", "who"),
  [
    ("Bought this for my nephew, who loves it.", "nephew"),
    ("A gift for our best friend and it was fine.", "best friend"),
    ("FOR HIS GRANDSON it is great fun.", "grandson"),
    ("It is for a school.", None),
    ("My nephew broke it.", None),
  ],
)
def test_a_wish_says_whom_the_review_was_for(shop, review, who):
  _, items, teacher = shop
  keyed = [
    request(TextKind.VAGUE, [items["i1"]], review=review, key=key)
    for key in range(6)
  ]
  for text in teacher.write(keyed):
    assert (f"my {who}" in text.lower()) if who else ("my " not in text), text


@pytest.mark.parametrize(
  ("review", "said"),
  [
    ("The graphics are beautiful.", "{like} a fine look"),
    ("I did not open it. The story is great", "{like} a good story"),
    ("The controls are terrible!", "{miss} easy handling"),
    ("The sound is not good.", "{miss} good sound"),
    ("It isn't boring, the music.", "{like} good sound"),
    ("It has a story.", None),
    ("It is great.", None),
    ("Great. The story goes on.", None),
    (None, None),
  ],
)
@pytest.mark.parametrize("kind", [TextKind.PREFERENCE, TextKind.OWN_PREFERENCE])
def test_praise_and_complaint_become_likes_and_dislikes(
  shop, review, said, kind
):
  _, items, teacher = shop
  who = "They" if kind is TextKind.PREFERENCE else "I"
  for key in (0, 1 << 8, 2 << 8):
    wanted = request(kind, [items["i1"]], review=review, key=key)
    (text,) = teacher.write([wanted])
    sentences = re.split(r"(?<=\.) ", text)
    assert len(sentences) == (1 if said is None else 2)
    if said is not None:
      feeling, aspect = said.split("} ")
      frames = {
        "{like": rf"{who} (like to see|care for|set store by) {aspect}\.",
        "{miss": rf"{who} (complain where {aspect} is missing|"
        rf"miss {aspect} where there is none)\.",
      }
      assert re.fullmatch(frames[feeling], sentences[1])


def test_a_wish_says_what_the_review_praises(shop):
  _, items, teacher = shop
  (text,) = teacher.write(
    [request(TextKind.VAGUE, [items["i1"]], review="The music is great.")]
  )
  assert "good sound" in text


def test_a_second_wording_joins_the_past_and_the_present(shop, requests):
  _, _, teacher = shop
  pairs = 0
  for wanted in requests:
    if wanted.kind is not TextKind.VAGUE_SECOND:
      continue
    first, second, alone = teacher.write(
      [
        dataclasses.replace(wanted, kind=TextKind.VAGUE),
        wanted,
        dataclasses.replace(wanted, history=(), review=None),
      ]
    )
    # Without a past it is another wording of the first.
    assert second != first
    assert alone != second
    known = {p for item in wanted.history for p in teacher._phrases.of(item)}
    pairs += sum(phrase in second for phrase in known) >= 2
  assert pairs > 20


def series(**columns):
  """A catalogue in which a series is called like one of its items."""
  titles = ["Resident Evil", *(f"Resident Evil {n}" for n in range(2, 8))]
  titles += [f"Quilt Thing{n}" for n in range(4)]
  titles += [f"Filler{n}" for n in range(20)]
  frame = pl.DataFrame(
    {
      "item_id": [f"i{n}" for n in range(len(titles))],
      "title": titles,
      **{name: make(len(titles)) for name, make in columns.items()},
    }
  )
  return catalog.Catalog(frame)


@pytest.mark.parametrize("kind", TextKind)
def test_a_series_called_like_the_target_is_not_said(kind):
  items = series()
  teacher = offline.OfflineTeacher(items)
  about = [items["i1"], items["i7"], items["i2"]]
  wanted = request(kind, about, history=about, hidden="Resident Evil")
  (text,) = teacher.write([wanted])
  assert not quality.says_title(text, "Resident Evil")
  # It is said where nothing forbids it.
  (free,) = teacher.write([dataclasses.replace(wanted, hidden_title="Ludo")])
  if kind is not TextKind.SPECIFIC:  # Half of the title's words at most.
    assert "Resident Evil" in free


@pytest.mark.parametrize(
  "hidden",
  [
    "Now and Then",
    "In Between",
    "In the Mood",
    "The Price",
    "Top Quality",
    "A Good Story",
    "Looking For",
    "Looking for a Present",
    "Would Be Nice",
    "Electronic Arts",
    "I Want",
  ],
)
@pytest.mark.parametrize("kind", TextKind)
def test_a_title_that_is_an_everyday_phrase_is_not_said(kind, hidden):
  items = series(
    price=lambda count: [float(n) for n in range(count)],
    brand=lambda count: ["Electronic Arts"] * count,
  )
  teacher = offline.OfflineTeacher(items)
  about = [items["i1"], items["i8"], items["i30"], items["i10"]]
  review = "For my son. The story is great."
  for key in range(0, 1 << 11, 77):
    (text,) = teacher.write(
      [request(kind, about, review=review, history=about, hidden=hidden,
               key=key)]
    )  # fmt: skip
    assert not quality.says_title(text, hidden), text


def test_items_that_say_nothing_still_get_texts():
  items = catalog.Catalog(
    pl.DataFrame({"item_id": ["a", "b"], "title": ["Ab", "Cd"]})
  )
  teacher = offline.OfflineTeacher(items)
  for kind in TextKind:
    (text,) = teacher.write([request(kind, [items["a"]], history=[items["b"]])])
    is_query = kind is TextKind.SPECIFIC
    assert quality.problem(text, is_query=is_query) is None
