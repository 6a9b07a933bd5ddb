"""What a message asks after an answer."""

import pytest

from instructrec.serving.messages import Message


@pytest.mark.parametrize(
  ("said", "expected"),
  [
    ("puzzles under $20", "puzzles, a price of at most 20"),
    ("puzzles for 1,250 dollars or less", "puzzles, a price of at most 1250"),
    ("19.99 tops", "a price of at most 19.99"),
    ("my budget is twenty", "a price of at most 20"),
    ("at least 5 euros", "a price of at least 5"),
    ("under 50 cents", "a price of at most 0.5"),
    ("at least fifty pence", "a price of at least 0.5"),
    *(
      (said, "a price of at least 5, a price of at most 10")
      for said in (
        "5 to 10 dollars",
        "5-10 dollars",
        "5 \u2013 10 euros",
        "$5-$10",
        "$5-10",
        "from 5 to 10 dollars",
        "between 5-10",
        "10 to 5 dollars",
        "a price of 5-10",
      )
    ),
    ("50-99 cents", "a price of at least 0.5, a price of at most 0.99"),
    # What is denied of a price is the other bound.
    ("it shouldn't cost more than 15 dollars", "a price of at most 15"),
    ("I don't want to spend more than 20", "a price of at most 20"),
    ("I don\u00b4t want to pay over $9", "a price of at most 9"),
    ("nothing under 10 dollars", "a price of at least 10"),
    ("puzzles, but none over $20", "puzzles, a price of at most 20"),
    (
      "no dinosaur puzzles over $20",
      "Dinosaur, puzzles, a price of at most 20",
    ),
    ("no puzzles, over 20 dollars", "no puzzles, a price of at least 20"),
    ("kites more expensive than $5", "kites, a price of at least 5"),
    ("not more expensive than $5", "a price of at most 5"),
    ("not too expensive puzzles", "no expensive, puzzles"),
    ("cheap for 2-4 players", "cheap; not understood: '2-4 players'"),
    ("for kids 5-10", "not understood: 'kids 5-10'"),
    ("only two kites", "at most 2 of kites"),
    ("only kites", "among kites"),
    ("just kites, please", "among kites"),
    ("nothing but kites", "among kites"),
    ("kites only", "among kites"),
    ("kites and nothing else", "among kites"),
    ("solely kites", "among kites"),
    ("only show me kites", "among kites"),
    ("show me kites instead", "among kites"),
    ("only kites or puzzles", "among kites, among puzzles"),
    ("kites and puzzles only", "among kites, among puzzles"),
    ("only dinosaur kites", "Dinosaur, among kites"),
    ("only kites under $20", "among kites, a price of at most 20"),
    ("only kites, no puzzles", "among kites, no puzzles"),
    ("kites only under $20", "kites, a price of at most 20"),
    ("I just want kites", "kites"),
    ("not only kites", "kites"),
    ("just no kites", "no kites"),
    ("kites instead of puzzles", "kites, no puzzles"),
    ("one kite at most", "at most 1 of kites"),
    ("at most 20% kites", "at most 20% of kites"),
    ("20 per cent kites at most", "at most 20% of kites"),
    ("at most half of them kites", "at most 50% of kites"),
    ("at most 120% kites", "kites; not understood: 'most 120'"),
    ("at most twelve kites", "at most 12 of kites"),
    ("at most a dozen kites", "at most 12 of kites"),
    ("fewer than three kites", "at most 2 of kites"),
    ("I don't want more than two kites", "at most 2 of kites"),
    ("at most two different kites", "at most 2 of kites"),
    ("at most two (2) kites", "at most 2 of kites"),
    ("at most one of the 5 may be a kite", "at most 1 of kites"),
    ("kites, at most two by Oakline", "kites, at most 2 of Oakline"),
    ("at most 20 with robots", "a price of at most 20, Robot"),
    ("kites for at most 10 with robots", "kites, a price of at most 10, Robot"),
    ("kites, at most two with dinosaurs", "kites, at most 2 of Dinosaur"),
    ("kites, at most 2 of them", "kites, at most 2 of kites"),
    ("no more than zero kites", "at most 0 of kites"),
    ("0 kites", "no kites"),
    ("at most 20 for a kite", "a price of at most 20, kites"),
    *(
      (said, "5 items")
      for said in (
        "give me five films",
        "show me 5",
        "top five",
        "5 suggestions, please",
        "I'd like five",
        "only five results",
        "at most 5 films",
        "fewer than six films",
      )
    ),
    ("show me two kites", "2 items, kites"),
    ("the best 3 puzzles under $20", "3 items, puzzles, a price of at most 20"),
    ("one game, please", "1 item"),
    # What counts something else.
    ("show me one with dinosaurs", "Dinosaur"),
    ("up to 5", "a price of at most 5"),
    ("find me 2 player games", "not understood: '2 player'"),
    ("my 3 kids", "not understood: '3 kids'"),
    (
      "give me 3 puzzles and 2 kites",
      "puzzles, kites; not understood: '3', '2'",
    ),
    ("kites under 20%", "kites; not understood: 'under 20'"),
    (
      "I don't want to spend more than 20 dollars on a kite",
      "a price of at most 20, kites",
    ),
    ("no kites over 20 dollars", "kites, a price of at most 20"),
    ("no kites, over 20 dollars", "no kites, a price of at least 20"),
    ("no kites and over 20 dollars", "no kites, a price of at least 20"),
    ("I won't pay over 20", "a price of at most 20"),
    (
      "I don't mind paying more than $20",
      "a price of at least 20; not understood: 'paying'",
    ),
    ("kites for ages 3 or less", "kites; not understood: 'ages', '3 or less'"),
    (
      "kites for 30 minutes or less",
      "kites; not understood: '30 minutes or less'",
    ),
    ("at most one or two kites", "at most 2 of kites"),
    ("at most 2-3 kites", "at most 3 of kites"),
    ("at most 3 items", "3 items"),
    ("fewer puzzles", "at most 0 of puzzles"),
    ("under 90 minutes", "not understood: 'under 90 minutes'"),
    ("for kids under 8", "not understood: 'kids under 8'"),
    ("under 2", "a price of at most 2"),
    ("not the second or the fourth", "not 1, not 3"),
    ("hide the last two", "not 3, not 4"),
    ("show me others", "not 0, not 1, not 2, not 3, not 4"),
    ("I loved number 3", "like 2"),
    (
      "more like the seventh",
      "not done: 'more like the seventh' (5 items were shown)",
    ),
    ("the second is too expensive", "a price of at most 8.09"),
    ("cheaper than the last one", "a price of at most 16.82"),
    ("the third is nice, more of that", "like 2"),
    ("something purple", "not understood: 'purple'"),
    ("hello, thanks a lot!", "nothing is asked for"),
    (
      "the first one is odd",
      "not understood: 'odd'; not done: 'first one' (what of it is not known)",
    ),
    (
      "ein Geschenk ohne Puzzles",
      "not understood: 'ein Geschenk ohne Puzzles'",
    ),
  ],
)
def test_a_message_after_an_answer(said, expected, shop):
  items = shop.shelf.catalog
  shown = tuple(items.item_ids[3:8])
  state = shop.read([Message("assistant", "", shown), Message("user", said)])
  found = state.understood.replace("nothing is asked for; ", "")
  for number, item in enumerate(shown):
    found = found.replace(repr(items.title(item)), str(number))
  assert found == expected


@pytest.mark.parametrize(
  ("wish", "said", "expected"),
  [
    ("kites", "Fewer of those, please.", "kites, at most 2 of kites"),
    ("kites", "fewer of those kites", "kites, at most 2 of kites"),
    ("kites", "too many kites", "kites, at most 2 of kites"),
    ("kites", "half as many kites", "kites, at most 2 of kites"),
    (
      "kites, puzzles",
      "fewer of them",
      "kites, puzzles; not done: 'fewer of them' (of what is not said)",
    ),
    (
      "something nice",
      "fewer of them",
      "nothing is asked for; not done: 'fewer of them' (of what is not said)",
    ),
  ],
)
def test_fewer_of_what_was_shown(wish, said, expected, shop):
  every = shop.shelf.attributes
  kites, puzzles = (
    [shop.shelf.catalog.item_ids[i] for i in every.items(every.find(name))]
    for name in ("kites", "puzzles")
  )
  shown = Message("assistant", "", (*kites[:4], *puzzles[:2]))
  messages = [Message("user", wish), shown, Message("user", said)]
  assert shop.read(messages).understood == expected
