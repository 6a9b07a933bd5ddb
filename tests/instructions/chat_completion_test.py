"""What is read of a reply, and what it says where there is nothing to read."""

import json

import pytest

from instructrec.instructions import budget, chat_completion

MOST = budget.Tokens(100, 50)


def body(content, *, refusal=None, usage=None):
  message = {"content": content, "refusal": refusal}
  return json.dumps(
    {"choices": [{"message": message}], "usage": usage}
  ).encode()


@pytest.mark.parametrize(
  ("content", "is_json", "text"),
  [
    ('{"text": " A  player. "}', True, "A player."),
    ("1, 2\n", False, "1, 2\n"),
    (None, False, ""),
  ],
)
def test_a_text_is_read_as_it_was_asked_for(content, is_json, text):
  found = chat_completion.read(body(content), MOST, is_json)
  assert (found.text, found.reason, found.used) == (text, "", MOST)


def test_what_the_server_counted_is_used():
  usage = {"prompt_tokens": 7, "completion_tokens": 3}
  found = chat_completion.read(body("x", usage=usage), MOST, False)
  assert found.used == budget.Tokens(7, 3)


def test_a_refusal_is_an_empty_text():
  found = chat_completion.read(body(None, refusal="no"), MOST, True)
  assert (found.text, found.reason) == ("", "")


@pytest.mark.parametrize(
  ("content", "reason"),
  [
    (b"<html>", "a reply that is no chat completion: Invalid JSON"),
    (b'{"choices": []}', "a reply that is no chat completion: choices: List"),
    (body("prose"), 'a reply that is not {"text": "..."}: Invalid JSON'),
    (
      body('{"words": "x"}'),
      'a reply that is not {"text": "..."}: text: Field',
    ),
  ],
)
def test_what_is_wrong_is_named_without_its_text(content, reason):
  found = chat_completion.read(content, MOST, True)
  assert found.text is None
  assert found.reason.startswith(reason)
  assert "prose" not in found.reason


@pytest.mark.parametrize(
  ("value", "seconds"),
  [("2.5", 2.5), ("-1", 0.0), ("Wed, 21 Oct 2099 07:28:00 GMT", 0.0)],
)
def test_retry_after_is_read_in_seconds(value, seconds):
  assert chat_completion.retry_after({"retry-after": value}) == seconds
  assert chat_completion.retry_after({}) == 0.0
