"""A reply of a chat server, which may be anything: its text, or why not."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pydantic

from instructrec.instructions.budget import Tokens

_BYTES_PER_TOKEN = 4
_MOST_DIGITS = 18
_MOST_UNSEEN = 1_000_000
"""Tokens that a server may add (its own prompt, thoughts) and be believed."""


class _Reply(pydantic.BaseModel):
  """A text."""

  model_config = pydantic.ConfigDict(extra="forbid")
  text: str


class _Message(pydantic.BaseModel):
  content: str | None = None
  refusal: str | None = None


class _Choice(pydantic.BaseModel):
  message: _Message


class _Completion(pydantic.BaseModel):
  """What is read of a chat completion; the library does not check it."""

  choices: list[_Choice] = pydantic.Field(min_length=1)
  # Whatever it is, the text was paid for.
  usage: Any = None


SCHEMA = _Reply.model_json_schema()
"""What a reply in JSON looks like: an object with one text."""
RESPONSE_FORMAT = {
  "type": "json_schema",
  "json_schema": {"name": "text", "strict": True, "schema": SCHEMA},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
  """What came of one try.

  Attributes:
    used: tokens that the server will charge for; at most, where it did not
      say.
    text: the text; None where there is none.
    reason: why there is none.
    after: seconds that the server asks to wait before the next try.
    final: whether trying again is of no use.
  """

  used: Tokens
  text: str | None = None
  reason: str = ""
  after: float = 0.0
  final: bool = False


def read(content: bytes, most: Tokens, is_json: bool) -> Outcome:
  """The text of a chat completion.

  Args:
    content: the body that the server sent.
    most: tokens that count where it does not say how many it took, or says
      what cannot be.
    is_json: whether the text is to be within JSON of the schema.

  Returns:
    The text, empty where the model refuses; or why there is none.
  """
  try:
    completion = _Completion.model_validate_json(_plain(content))
  except pydantic.ValidationError as error:
    reason = f"a reply that is no chat completion: {_first(error)}"
    return Outcome(most, reason=reason)
  message = completion.choices[0].message
  used = _used(completion.usage, most, message.content or "")
  if message.refusal:
    return Outcome(used, text="")
  if not is_json:
    return Outcome(used, text=message.content or "")
  try:
    text = _Reply.model_validate_json(message.content or "").text
  except pydantic.ValidationError as error:
    reason = f'a reply that is not {{"text": "..."}}: {_first(error)}'
    return Outcome(used, reason=reason)
  return Outcome(used, text=" ".join(text.split()))


def _plain(content: bytes) -> bytes:
  """JSON in which no number is too long, for one would lose the whole reply."""
  try:
    found = json.loads(
      content, parse_int=lambda digits: int(digits[:_MOST_DIGITS])
    )
    return json.dumps(found).encode()
  except (ValueError, RecursionError):
    return content  # It is no JSON, and `read` names the fault.


def _used(usage: Any, most: Tokens, text: str) -> Tokens:
  """What a reply took: the server's count, where that can be, else the most.

  A server that says nothing, or nonsense, must not make a budget endless; nor
  must it end one for good.
  """
  counts = usage if isinstance(usage, Mapping) else {}
  # A server that does not keep to the longest reply may say nothing of it.
  reply = max(most.reply, len(text.encode()) // _BYTES_PER_TOKEN)
  return Tokens(
    _believed(counts.get("prompt_tokens"), most.prompt, least=1),
    _believed(counts.get("completion_tokens"), reply, least=min(1, len(text))),
  )


def _believed(count: Any, own: int, *, least: int) -> int:
  if isinstance(count, bool) or not isinstance(count, int):
    return own
  return count if least <= count <= own + _MOST_UNSEEN else own


def _first(error: pydantic.ValidationError) -> str:
  """The first fault, without the text it was found in."""
  fault = error.errors(include_input=False, include_url=False)[0]
  place = ".".join(str(part) for part in fault["loc"])
  return f"{place}: {fault['msg']}" if place else fault["msg"]


def retry_after(headers: Mapping[str, str]) -> float:
  """Seconds that a server asks to wait.

  Args:
    headers: of its response.

  Returns:
    The seconds; 0 where it names none.
  """
  try:
    return max(0.0, float(headers.get("retry-after", "0")))
  except ValueError:
    return 0.0  # A date, which chat servers do not send: the backoff is left.
