"""What is no message is refused."""

import pytest

from instructrec.serving.messages import Message


@pytest.mark.parametrize(
  ("message", "expected"),
  [
    ("hello", "found the message 'hello', expected an object whose role"),
    ({"role": "boss"}, "expected an object whose role is one of user"),
    ({"role": "user", "content": 3}, "content of a message is '3', expected"),
    ({"role": "user", "content": [{"image": "x"}]}, "expected text alone"),
    ({"role": "user", "content": "x", "items": "y"}, "items is 'y', expected"),
    (
      {"role": "user", "content": "x", "items": [None]},
      "found the item 'None'",
    ),
    (
      {"role": "assistant", "content": "x", "items": ["y"] * 1001},
      "has 1,001 items, expected at most 1,000",
    ),
    ({"role": "user", "content": "a \ud800"}, r"'\\ud800', which is half a"),
    (
      {"role": "user", "content": [{"type": "text", "text": "\udfff"}]},
      "half a character",
    ),
  ],
)
def test_what_is_no_message_is_named(message, expected):
  with pytest.raises(ValueError, match=expected):
    Message.from_json(message)
