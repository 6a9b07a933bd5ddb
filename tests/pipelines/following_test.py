"""Following, measured on simulated models."""

import numpy as np
import pytest

from instructrec.data import synthetic
from instructrec.instructions import (
  attributes,
  held_out_wishes,
  wish_reader,
)
from instructrec.pipelines import following


@pytest.fixture(scope="module")
def shop():
  log, catalog = synthetic.generate(150)
  histories = [
    group["item_id"].to_list()[:-1]
    for group in log.frame.partition_by("user_id", maintain_order=True)
  ]
  targets = [
    group["item_id"].to_list()[-1]
    for group in log.frame.partition_by("user_id", maintain_order=True)
  ]
  return catalog, histories, targets, attributes.Attributes.of(catalog)


class _Simulated:
  """Taste by category and brand, popularity, and what a reader reads.

  Args:
    shop: catalogue and attributes.
    wanted: weight of what is wanted.
    unwanted: weight of what is not.
  """

  def __init__(self, shop, wanted, unwanted):
    self.catalog, _, _, self.attributes = shop
    self.reader = wish_reader.WishReader(self.attributes)
    self.wanted, self.unwanted = wanted, unwanted
    rng = np.random.default_rng(1)
    self.popularity = rng.gumbel(size=len(self.catalog))
    self.calls = []

  def __call__(self, histories, wishes):
    self.calls.append((len(histories), list(wishes)))
    scores = np.tile(self.popularity, (len(histories), 1))
    for row, history, wish in zip(scores, histories, wishes, strict=True):
      for item in history:
        for number in self.attributes.of_item(self.catalog.index(item)):
          row[self.attributes.items(number)] += 0.1
      if wish is not None:
        read = self.reader.read(wish)
        wanted, unwanted = self.reader.scores(read)
        row += self.wanted * wanted + self.unwanted * unwanted
    return scores


class _Oracle(_Simulated):
  """Knows what is asked for, whatever the wording."""

  def __init__(self, shop, sign_of_no):
    super().__init__(shop, 0, 0)
    self.sign = sign_of_no
    names = {
      held_out_wishes.phrase(attribute): number
      for number, attribute in enumerate(self.attributes.attributes)
    }
    self.known = {}
    for frames, sign in (
      (held_out_wishes.WANTED, 1),
      (held_out_wishes.UNWANTED, sign_of_no),
    ):
      for frame in frames:
        for name, number in names.items():
          self.known[frame.format(a=name).lower()] = number, sign

  def __call__(self, histories, wishes):
    scores = super().__call__(histories, [None] * len(wishes))
    for row, wish in zip(scores, wishes, strict=True):
      if wish is not None and wish.lower() in self.known:
        number, sign = self.known[wish.lower()]
        row[self.attributes.items(number)] += 20 * sign
    return scores


def _evaluate(shop, model, **options):
  catalog, histories, _, found = shop
  return following.evaluate(
    catalog,
    histories,
    model,
    attributes=found,
    num_resamples=100,
    **options,
  )


def test_a_model_that_does_what_is_said_is_near_one(shop):
  found = _evaluate(shop, _Oracle(shop, -1))
  assert found.right_direction.mean > 0.99
  assert found.clean_first_five.mean == 1
  assert found.nonsense.mean == pytest.approx(1)
  assert found.share_of_a["A"].mean > found.share_of_a["plain"].mean + 0.3
  assert found.share_of_b["B"].mean > found.share_of_b["plain"].mean + 0.3
  assert found.num_histories > 140


def test_a_model_that_does_not_listen_is_near_zero(shop):
  found = _evaluate(shop, _Simulated(shop, 0, 0))
  assert found.directions["wanted"].mean < 0.05
  assert found.directions["against"].mean == 0
  # Right where A is in the hundred best but not among the ten.
  ignored = found.directions["unwanted"].mean
  assert ignored < 0.7
  assert found.nonsense.mean == pytest.approx(1)


def test_a_model_that_reads_no_a_as_a_is_caught(shop):
  found = _evaluate(shop, _Oracle(shop, 1))
  assert found.directions["wanted"].mean > 0.99
  assert found.directions["unwanted"].mean < 0.05
  assert found.clean_first_five.mean < 0.05
  assert found.right_direction.mean < 0.7


def test_the_reader_follows_wordings_that_it_was_not_written_for(shop):
  found = _evaluate(shop, _Simulated(shop, 20, -20))
  assert found.directions["wanted"].mean > 0.95
  assert found.directions["against"].mean > 0.95
  assert found.nonsense.mean == pytest.approx(1)


def test_hit_rates_compare_own_anothers_and_no_wish(shop):
  catalog, _, targets, _ = shop
  rng = np.random.default_rng(0)
  lists = following.Lists(
    [[target, *rng.choice(catalog.item_ids, 9).tolist()] for target in targets],
    targets,
  )
  found = _evaluate(shop, _Oracle(shop, -1), lists=lists)
  assert found.own_added.mean > 0.2
  assert found.own_added.excludes_zero
  assert found.other_lost.mean < found.own_added.mean
  deaf = _evaluate(shop, _Simulated(shop, 0, 0), lists=lists)
  assert deaf.own_added.mean == 0
  assert deaf.other_lost.mean == 0


def test_the_same_seed_asks_the_same_questions(shop):
  asked = []
  for seed in (0, 0, 1):
    model = _Simulated(shop, 0, 0)
    _evaluate(shop, model, num_histories=30, seed=seed)
    asked.append(model.calls)
  assert asked[0] == asked[1]
  assert asked[0] != asked[2]


def test_a_history_is_asked_the_same_whoever_else_is(shop):
  few, many = _Simulated(shop, 0, 0), _Simulated(shop, 0, 0)
  catalog, histories, _, found = shop
  for model, count in ((few, 20), (many, 150)):
    following.evaluate(
      catalog,
      histories[:count],
      model,
      attributes=found,
      num_resamples=5,
    )
  wishes = [
    {wish for _, block in model.calls for wish in block if wish}
    for model in (few, many)
  ]
  assert wishes[0] < wishes[1]


def test_blocks_are_small_and_histories_are_left_out(shop):
  catalog, histories, _, _ = shop

  class Repeats(_Simulated):
    def __call__(self, histories, wishes):
      scores = super().__call__(histories, wishes)
      for row, history in zip(scores, histories, strict=True):
        row[[catalog.index(item) for item in history]] = 1000
      return scores

  model = Repeats(shop, 0, 0)
  asker = following._Asker(catalog, histories, model, None)
  rows = list(range(100))
  top = asker.ask(rows, [None] * 100).top
  assert max(count for count, _ in model.calls) <= 64
  for row, items in zip(rows, top, strict=True):
    known = {catalog.index(item) for item in histories[row]}
    assert not known & set(items.tolist())


@pytest.mark.parametrize(
  ("scores", "message"),
  [
    (lambda n: np.zeros((n, 7)), r"shape \(\d+, 7\), expected \(\d+, 400\)"),
    (lambda n: np.full((n, 400), np.nan), "item 'i0' has no number"),
  ],
)
def test_scores_that_are_wrong_are_named(scores, message, shop):
  with pytest.raises(ValueError, match=message):
    _evaluate(shop, lambda histories, wishes: scores(len(histories)))


def test_lists_that_do_not_fit_are_named(shop):
  _, _, targets, _ = shop
  model = _Simulated(shop, 0, 0)
  with pytest.raises(ValueError, match="0 candidate lists and 150 targets"):
    _evaluate(shop, model, lists=following.Lists([], targets))
  wrong = following.Lists([["i0"]] * 150, ["i1"] * 150)
  with pytest.raises(ValueError, match="lacks its target 'i1'"):
    _evaluate(shop, model, lists=wrong)


def test_a_catalogue_without_attributes_is_named(shop):
  catalog, histories, _, found = shop
  nothing = attributes.Attributes([], [], len(catalog))
  wished = following.NothingToWishForError
  with pytest.raises(wished, match="none has two attributes"):
    following.evaluate(
      catalog, histories, _Simulated(shop, 0, 0), attributes=nothing
    )
  everything = [list(catalog.item_ids[:395])]
  with pytest.raises(wished, match="5 items are left beside a history of 395"):
    _evaluate((catalog, everything, [], found), _Simulated(shop, 0, 0))
  with pytest.raises(ValueError, match="there are no histories"):
    following.evaluate(catalog, [], _Simulated(shop, 0, 0))
