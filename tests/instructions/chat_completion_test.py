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


@pytest.mark.parametrize(
  ("usage", "used"),
  [
    # Nothing, or nothing that can be: the most that it can have been.
    (None, MOST),
    ({}, MOST),
    ([], MOST),
    ("many", MOST),
    ({"prompt_tokens": None, "completion_tokens": None}, MOST),
    ({"prompt_tokens": "7", "completion_tokens": 3.5}, MOST),
    ({"prompt_tokens": True, "completion_tokens": float("inf")}, MOST),
    ({"prompt_tokens": -7, "completion_tokens": -3}, MOST),
    ({"prompt_tokens": 0, "completion_tokens": 0}, MOST),
    ({"prompt_tokens": 10**30, "completion_tokens": 10**30}, MOST),
    ({"prompt_tokens": 10**18, "completion_tokens": 2**63}, MOST),
    ({"prompt_tokens": 1_000_101, "completion_tokens": 1_000_051}, MOST),
    # Each for itself.
    ({"prompt_tokens": 7}, budget.Tokens(7, 50)),
    ({"completion_tokens": 3}, budget.Tokens(100, 3)),
    ({"prompt_tokens": 10**30, "completion_tokens": 3}, budget.Tokens(100, 3)),
    # Thoughts, and what a server says before the prompt, are charged for.
    (
      {"prompt_tokens": 20_000, "completion_tokens": 90_000},
      budget.Tokens(20_000, 90_000),
    ),
  ],
)
def test_a_count_that_cannot_be_loses_no_reply_and_no_budget(usage, used):
  found = chat_completion.read(body("x", usage=usage), MOST, False)
  assert (found.text, found.used) == ("x", used)


@pytest.mark.parametrize("digits", [30, 4301, 100_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_number_of_any_length_loses_no_reply(digits, sign):
  content = body("x", usage={"prompt_tokens": 1, "completion_tokens": 3})
  content = content.replace(b": 1,", f": {sign}{'9' * digits},".encode())
  found = chat_completion.read(content, MOST, False)
  assert (found.text, found.used) == ("x", budget.Tokens(100, 3))


def test_a_reply_longer_than_asked_for_counts_by_its_length():
  found = chat_completion.read(body("word " * 1000), MOST, False)
  assert found.used == budget.Tokens(100, 5000 // 4)


def test_deep_json_is_no_completion():
  found = chat_completion.read(b"[" * 200_000, MOST, False)
  assert found.text is None
  assert found.reason.startswith("a reply that is no chat completion: Invalid")


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
