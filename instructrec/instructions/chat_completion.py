"""A reply of a chat server, which may be anything: its text, or why not."""

import dataclasses
from collections.abc import Mapping

import pydantic

from instructrec.instructions.budget import Tokens


class _Reply(pydantic.BaseModel):
  """A text."""

  model_config = pydantic.ConfigDict(extra="forbid")
  text: str


class _Message(pydantic.BaseModel):
  content: str | None = None
  refusal: str | None = None


class _Choice(pydantic.BaseModel):
  message: _Message


class _Usage(pydantic.BaseModel):
  prompt_tokens: pydantic.NonNegativeInt
  completion_tokens: pydantic.NonNegativeInt = 0


class _Completion(pydantic.BaseModel):
  """What is read of a chat completion; the library does not check it."""

  choices: list[_Choice] = pydantic.Field(min_length=1)
  usage: _Usage | None = None


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
    most: tokens that count where it does not say how many it took.
    is_json: whether the text is to be within JSON of the schema.

  Returns:
    The text, empty where the model refuses; or why there is none.
  """
  try:
    completion = _Completion.model_validate_json(content)
  except pydantic.ValidationError as error:
    reason = f"a reply that is no chat completion: {_first(error)}"
    return Outcome(most, reason=reason)
  usage, message = completion.usage, completion.choices[0].message
  used = Tokens(usage.prompt_tokens, usage.completion_tokens) if usage else most
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
