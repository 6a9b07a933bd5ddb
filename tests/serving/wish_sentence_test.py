"""A wish ends as a sentence does."""

import pytest

from instructrec.serving import wish_sentence


@pytest.mark.parametrize(
  ("said", "expected"),
  [
    ("something  for\na trip", "something for a trip."),
    ("No cartoons!", "No cartoons!"),
    ("really?", "really?"),
    ('like "Alien."', 'like "Alien."'),
    ("like (Alien)", "like (Alien)."),
    ("a gift, ", "a gift."),
    ("安いもの。", "安いもの。"),
    ("  ", None),
    (None, None),
  ],
)
def test_a_wish_is_a_sentence(said, expected):
  assert wish_sentence.sentence(said) == expected
