"""Items meet what is asked."""

import numpy as np

from instructrec.serving import list_limits
from instructrec.serving.messages import Message


def test_what_binds_keeps_items_out(shop):
  items, shelf = shop.shelf.catalog, shop.shelf
  state = shop.read([Message("user", "no puzzles, under 20 dollars")])
  allowed = shelf.allowed(state.kept)
  expected = [
    "Puzzles" not in items[i].categories and items[i].price <= 20
    for i in items.item_ids
  ]
  assert allowed.tolist() == expected
  wanted = shop.read([Message("user", "puzzles")])
  assert shelf.allowed(wanted.kept).all()
  only = shop.read([Message("user", "only puzzles")])
  assert shelf.allowed(only.kept).tolist() == [
    "Puzzles" in items[i].categories for i in items.item_ids
  ]
  at_most = shop.read([Message("user", "at most two puzzles")])
  order = np.arange(len(items))
  first = list_limits.first(order, shelf.limits(at_most.kept, 100), 100)
  puzzles = [
    i for i in first if "Puzzles" in items[items.item_ids[i]].categories
  ]
  every = [i for i in order if "Puzzles" in items[items.item_ids[i]].categories]
  assert puzzles == every[:2]
  share = shop.read([Message("user", "at most 30% puzzles")])
  found = {k: shelf.limits(share.kept, k)[0].most for k in (3, 7, 10)}
  assert found == {3: 0, 7: 2, 10: 3}
  assert share.kept[0].to_json()["percent"]
  others = [i for i in order if i not in every]
  assert [i for i in first if i not in puzzles] == others[:98]
