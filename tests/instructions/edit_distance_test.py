"""Edit distance, and the title that is nearest."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructrec.instructions import edit_distance

_TEXTS = st.text("abcé", max_size=7)


@pytest.mark.parametrize(
  ("a", "b", "distance"),
  [
    ("", "", 0),
    ("kitten", "sitting", 3),
    ("flaw", "lawn", 2),
    ("abc", "", 3),
    ("intention", "execution", 5),
  ],
)
def test_known_distances(a, b, distance):
  assert edit_distance.levenshtein(a, b) == distance


@settings(deadline=None, max_examples=60)
@given(a=_TEXTS, b=_TEXTS, c=_TEXTS)
def test_it_is_a_distance(a, b, c):
  measure = edit_distance.levenshtein
  assert measure(a, b) == measure(b, a)
  assert (measure(a, b) == 0) == (a == b)
  assert measure(a, c) <= measure(a, b) + measure(b, c)
  assert abs(len(a) - len(b)) <= measure(a, b) <= max(len(a), len(b))


@settings(deadline=None, max_examples=60)
@given(titles=st.lists(_TEXTS, max_size=12, unique=True), text=_TEXTS)
def test_the_nearest_is_that_of_comparing_all(titles, text):
  """What is counted beforehand leaves out nothing that is near."""
  far = {t: edit_distance.levenshtein(text, t) for t in titles}
  near = {t: d for t, d in far.items() if d <= 3 and 2 * d < len(t)}
  best = [t for t, d in near.items() if d == min(near.values())]
  expected = titles.index(best[0]) if len(best) == 1 else None
  assert edit_distance.Nearest(titles, 3)(text) == expected


def test_no_edits_are_refused():
  with pytest.raises(ValueError, match="max_distance is 0"):
    edit_distance.Nearest(["a"], 0)
