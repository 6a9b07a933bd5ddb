"""Stated wishes: measured, silent about the target, held-out wordings apart."""

import collections
import math
import re

import numpy as np
import pytest

from instructrec.data import candidates, catalog, dataset, splits, synthetic
from instructrec.instructions import (
  attributes,
  domains,
  generate,
  keyphrases,
  offline,
  quality,
  templates,
  wish_frames,
  wishes,
)
from instructrec.instructions.domains import Domain
from instructrec.instructions.draws import mix
from instructrec.instructions.format import FineGrained, Instruction, Origin
from instructrec.instructions.wish import Stance

TEMPLATES = templates.load()


def shop_data():
  log, items = synthetic.generate(num_users=150, num_items=200, seed=4)
  split = splits.leave_one_out(log)
  requests = candidates.sample_candidates(split.requests, items, log, seed=1)
  split = splits.Split(**{**vars(split), "requests": requests})
  return dataset.PreparedData(log, items, split, {})


def generator(prepared, **changes):
  teacher = offline.OfflineTeacher(prepared.catalog)
  return generate.Generator(prepared, teacher, TEMPLATES, **changes)


@pytest.fixture(scope="module")
def shop():
  return shop_data()


@pytest.fixture(scope="module")
def rows(shop):
  return [r for r in generator(shop).rows() if isinstance(r, Instruction)]


@pytest.fixture(scope="module")
def stated(rows):
  return [row for row in rows if row.intention_origin == Origin.STATED]


@pytest.fixture(scope="module")
def requests(shop):
  return {
    row["request_id"]: row for row in shop.split.requests.iter_rows(named=True)
  }


def having(items, name):
  """The items with an attribute as rows write it, found anew."""
  found = attributes.Attributes.of(items)
  kind, _, name = name.removeprefix("-").partition(":")
  (number,) = (
    n
    for n, attribute in enumerate(found.attributes)
    if attribute.kind == kind and attribute.name == name
  )
  return set(found.items(number).tolist())


@pytest.fixture(scope="module")
def sets(shop, stated):
  names = {name for row in stated for name in row.wish_attributes}
  return {name: having(shop.catalog, name) for name in names}


def test_every_personalised_wish_is_stated_and_nothing_else_is(rows):
  for row in rows:
    wished = row.intention != "I0" and row.task == "personalized_search"
    if wished:
      assert row.intention_origin == Origin.STATED
    if row.intention_origin == Origin.STATED:
      assert row.task == "personalized_search"
      assert row.wish_stance in set(Stance)
      assert row.wish_text in row.inputs + row.targets
      assert row.wish_sources
    else:
      assert (row.wish_stance, row.wish_sources, row.wish_attributes) == (
        "", (), (),
      )  # fmt: skip
      assert row.wish_bits == 0


def test_the_target_has_what_is_wanted_and_nothing_of_what_is_not(
  shop, stated, requests, sets
):
  for row in stated:
    target = shop.catalog.index(requests[row.request_id]["target"])
    for name in row.wish_attributes:
      assert (target in sets[name]) != name.startswith("-"), row
      if name.startswith("-"):
        unwanted = name.partition(":")[2]
        item = shop.catalog[shop.catalog.item_ids[target]]
        said = " ".join((item.title, *item.categories, item.brand)).lower()
        assert not re.search(rf"\b{re.escape(unwanted.lower())}\b", said)


def test_bits_are_those_of_a_count(shop, stated, sets):
  every = set(range(len(shop.catalog)))
  for row in stated:
    fits = set(every)
    for name in row.wish_attributes:
      fits = fits - sets[name] if name[0] == "-" else fits & sets[name]
    assert row.wish_bits == pytest.approx(math.log2(len(every) / len(fits)))


def test_what_is_unwanted_is_known_or_popular(shop, stated, requests, sets):
  taken = collections.Counter(
    shop.catalog.index(row["target"])
    for row in requests.values()
    if row["split"] == "train"
  )
  weight = {n: sum(taken[i] for i in found) for n, found in sets.items()}
  for row in stated:
    history = {
      shop.catalog.index(i) for i in requests[row.request_id]["history"]
    }
    for name in row.wish_attributes:
      if name[0] == "-":
        share = weight[name] / taken.total()
        assert history & sets[name] or share > 0.03, (name, share)


def test_stances(shop, stated, requests, sets):
  seen = collections.Counter()
  for row in stated:
    seen[row.wish_stance] += 1
    if row.wish_stance == Stance.USELESS:
      assert (row.wish_sources, row.wish_attributes) == (("none",), ())
      continue
    ratings = shop.ratings.of([row.user_id])[row.user_id]
    ids = requests[row.request_id]["history"][-20:]
    mean = np.mean([ratings[i] for i in ids])
    liked = [i for i in ids if ratings[i] >= mean and ratings[i] > 2]
    history = {shop.catalog.index(i) for i in liked or ids}
    agrees = all(
      bool(history & sets[name]) != name.startswith("-")
      for name in row.wish_attributes
    )
    assert (row.wish_stance == Stance.AGREEING) == agrees
  assert min(seen["agreeing"], seen["odds"]) > 0.2 * seen.total()


def test_a_tenth_is_of_no_use(rows, stated):
  plain = [row for row in stated if not row.example_id.endswith("wanted")]
  useless = sum(row.wish_stance == Stance.USELESS for row in plain)
  # Four standard deviations around a tenth.
  count = len(plain)
  assert abs(useless - count / 10) < 4 * math.sqrt(0.09 * count)
  pairs = [row for row in stated if row.example_id.endswith("wanted")]
  assert not any(row.wish_stance == Stance.USELESS for row in pairs)


def test_wishes_never_say_the_title_the_id_or_its_own_words(shop, stated):
  counts = collections.Counter(
    word
    for title in shop.catalog.titles
    for word in set(keyphrases.content_words(title))
  )
  by_title = {shop.catalog.title(i): i for i in shop.catalog.item_ids}
  for row in stated:
    title = row.targets if row.targets in by_title else None
    if title is None:
      continue
    wish = re.sub(r'"[^"]*"', " ", row.wish_text)
    assert not quality.says_title(wish, title)
    assert f'"{by_title[title]}"' not in wish
    own = {w for w in keyphrases.content_words(title) if counts[w] < 3}
    assert not own & set(keyphrases.tokens(wish))


def test_distinguishing_words_are_kept_even_where_frames_have_them(made_up):
  titles = [f"Wooden Puzzle {n}" for n in range(12)]
  titles += ["Something For The Mood", "Looking At Anything Please"]
  rows = [(title, "Toys > Puzzles", "Oak", 5.0 + n) for n, title in
          enumerate(titles)]  # fmt: skip
  rows += [(f"Filler Kite{n}", "Toys > Kites", "Elm", 9.0) for n in range(14)]
  items = made_up.catalog_of(rows)
  maker = wishes.WishMaker(
    items, attributes.Attributes.of(items), Domain.PRODUCTS, {"i0": 3}
  )
  for target, own in ((12, {"something", "mood"}),
                      (13, {"looking", "anything", "please"})):  # fmt: skip
    assert maker.hidden_words(target) == own
    for key in range(300):
      _, words = maker.make(
        target, [0, 15], None, mix(key, 1), split="train", specific=False
      )
      assert not own & set(keyphrases.tokens(words)), words


def test_the_same_request_has_the_same_wish_whatever_else_is_made(shop, rows):
  again = generator(shop)
  tests = [r for r in again.rows(["test"]) if isinstance(r, Instruction)]
  assert tests == [row for row in rows if row.split == "test"]
  other = generator(shop, seed=1)
  changed = [r for r in other.rows(["test"]) if isinstance(r, Instruction)]
  pairs = [
    (a.wish_text, b.wish_text)
    for a, b in zip(tests, changed, strict=True)
    if a.wish_stance
  ]
  assert sum(a != b for a, b in pairs) > 0.9 * len(pairs)


def pattern(frame):
  """What a sentence can look like: its slots anything, case aside."""
  parts = re.split(r"\{\w+\}", frame)
  return re.compile(".+".join(map(re.escape, parts)), re.IGNORECASE)


ALL_FRAMES = [
  value
  for value in vars(wish_frames).values()
  if isinstance(value, wish_frames.Frames)
]


def test_a_quarter_of_the_wordings_is_held_out_and_none_is_shared():
  train = [frame for found in ALL_FRAMES for frame in found.train]
  held_out = [frame for found in ALL_FRAMES for frame in found.held_out]
  assert 0.2 < len(held_out) / (len(train) + len(held_out)) < 0.3
  assert len({*train, *held_out}) == len(train) + len(held_out)


def telling(frames):
  """Sentences with words enough to be known again."""
  return [
    frame
    for frame in frames
    if len(re.findall(r"[a-z]{3,}", re.sub(r"\{\w+\}", "", frame))) >= 2
  ]


def test_training_never_has_a_held_out_wording_and_others_no_other(stated):
  held_out = [pattern(f) for x in ALL_FRAMES for f in telling(x.held_out)]
  train = [pattern(f) for x in ALL_FRAMES for f in telling(x.train)]
  found = collections.Counter()
  for row in stated:
    is_train = row.split == "train"
    patterns = held_out if is_train else train
    assert not any(p.fullmatch(row.wish_text) for p in patterns), row.wish_text
    own = train if is_train else held_out
    found[is_train] += any(p.fullmatch(row.wish_text) for p in own)
  assert min(found.values()) > 100


def test_pairs_of_opposite_wishes_on_one_history(rows, requests):
  pairs = collections.defaultdict(dict)
  for row in rows:
    if row.example_id.endswith(("/wanted", "/unwanted")):
      assert row.split == "train"
      pairs[row.request_id][row.example_id.rpartition("/")[2]] = row
  train = sum(row["split"] == "train" for row in requests.values())
  assert 0.1 < len(pairs) / train < 0.3
  for pair in pairs.values():
    wanted, unwanted = pair["wanted"], pair["unwanted"]
    assert wanted.history_ids == unwanted.history_ids
    assert wanted.template_id == unwanted.template_id
    assert wanted.targets == unwanted.targets or wanted.task_form == "T0"
    assert not any(name[0] == "-" for name in wanted.wish_attributes)
    assert all(name[0] == "-" for name in unwanted.wish_attributes)
    assert wanted.wish_attributes
    assert unwanted.wish_attributes
    before, after = wanted.inputs, unwanted.inputs
    assert before.replace(wanted.wish_text, "") == after.replace(
      unwanted.wish_text, ""
    )


def test_fine_grained_intentions_are_stated_and_preferences_are_not(shop):
  texts = [r for r in generator(shop).rows() if isinstance(r, FineGrained)]
  origins = {(text.kind, text.origin) for text in texts}
  assert {o for kind, o in origins if kind.startswith("I1")} == {"stated"}
  assert "stated" not in {o for kind, o in origins if kind == "P2"}


def test_person_occasion_and_aspect_come_from_the_targets_review(made_up):
  items = made_up.catalog_of(made_up.BEAUTY)
  maker = wishes.WishMaker(
    items, attributes.Attributes.of(items), domains.Domain.PRODUCTS, {}
  )
  found = collections.defaultdict(set)
  said = list[bool]()
  review = "For my niece, for her birthday. The quality is great."
  for key in range(200):
    wish, words = maker.make(
      4, [0, 1], review, mix(key, 3), split="train", specific=bool(key % 2)
    )
    for name in ("person", "occasion", "aspect"):
      if value := getattr(wish, name):
        found[name].add(value)
        said.append(value.lower() in words.lower())
  assert len(said) >= 20
  assert sum(said) >= 0.9 * len(said)  # But for slips of the pen.
  assert found == {
    "person": {"niece"},
    "occasion": {"a birthday"},
    "aspect": {"lasting quality"},
  }


def test_a_catalogue_without_attributes_gives_wishes_that_say_nothing(made_up):
  items = catalog.Catalog(
    made_up.catalog_of(made_up.BEAUTY[:8]).frame.select("item_id", "title")
  )
  found = attributes.Attributes.of(items)
  maker = wishes.WishMaker(items, found, Domain.PRODUCTS, {})
  for key in range(50):
    wish, words = maker.make(
      0, [1], None, mix(key, 5), split="test", specific=True
    )
    assert wish.bits == 0 or wish.wanted
    assert words
