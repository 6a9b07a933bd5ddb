"""One error body that the clients of all dialects can read."""

import dataclasses
import json
import logging
import re
import uuid
from typing import Any

from fastapi import exceptions, requests, responses
from starlette import exceptions as starlette_exceptions

_TYPES = {
  400: ("invalid_request_error", "bad_request"),
  401: ("authentication_error", "invalid_api_key"),
  403: ("permission_error", "forbidden"),
  404: ("not_found_error", "not_found"),
  405: ("invalid_request_error", "method_not_allowed"),
  408: ("timeout_error", "body_timeout"),
  413: ("invalid_request_error", "too_large"),
  422: ("invalid_request_error", "invalid_request"),
  429: ("overloaded_error", "queue_full"),
  499: ("cancelled_error", "cancelled"),
  500: ("internal_error", "internal"),
  503: ("unavailable_error", "not_ready"),
  504: ("timeout_error", "deadline"),
}
_LONGEST = 500
_SHOWN = 80
_FIELD = re.compile(r"\w+")
_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-")
"""The header of Trace Context."""
_NO_OBJECT = ("missing", "model_attributes_type")
_EXPECTED_OBJECT = (
  "the body is no JSON object; send one, with 'Content-Type: application/json'"
)
_log = logging.getLogger("instructrec.serving")


@dataclasses.dataclass(eq=False)
class ApiError(Exception):
  """What a request is refused with.

  Attributes:
    status: of HTTP.
    message: what was found, what was expected and what to do.
    param: the field that is wrong; None where it is none.
    code: a word for programs; that of the status if None.
    retry_after: seconds after which it may be asked again.
  """

  status: int
  message: str
  param: str | None = None
  code: str | None = None
  retry_after: int | None = None

  def __post_init__(self) -> None:
    super().__init__(self.message)


def new_id(kind: str) -> str:
  """An id for an answer, such as "rerank-5f0c..."."""
  return f"{kind}-{uuid.uuid4().hex}"


def body(
  status: int,
  message: str,
  *,
  param: str | None = None,
  code: str | None = None,
  number: str | None = None,
) -> dict[str, Any]:
  """The body of an error.

  Args:
    status: of HTTP.
    message: in words; long ones are cut.
    param: the field that is wrong.
    code: a word for programs; that of the status if None.
    number: the id by which the log has it; a new one if None.

  Returns:
    What Cohere's (`message`), Jina's (`detail`), OpenAI's (`error`) and TEI's
    clients (`error_type`) look for.
  """
  kind, usual = _TYPES.get(status, _TYPES[500 if status >= 500 else 400])
  if len(message) > _LONGEST:
    message = f"{message[: _LONGEST - 3]}..."
  return {
    "message": message,
    "detail": message,
    "error": {
      "message": message,
      "type": kind,
      "code": code or usual,
      "param": param,
    },
    "error_type": kind,
    "id": number or new_id("err"),
  }


def response(error: ApiError) -> responses.JSONResponse:
  """An error as it is sent."""
  headers = {}
  if error.retry_after is not None:
    headers["Retry-After"] = str(error.retry_after)
  if error.status == 401:
    headers["WWW-Authenticate"] = "Bearer"
  return responses.JSONResponse(
    body(error.status, error.message, param=error.param, code=error.code),
    error.status,
    headers,
  )


async def on_api_error(
  request: requests.Request, error: Exception
) -> responses.Response:
  """Answers what was refused."""
  assert isinstance(error, ApiError)
  return response(error)


async def on_http_error(
  request: requests.Request, error: Exception
) -> responses.Response:
  """Answers what has no route, and bodies that cannot be read."""
  assert isinstance(error, starlette_exceptions.HTTPException)
  message = str(error.detail)
  if error.status_code == 404:
    message = f"there is no {request.url.path[:200]!r}; /docs lists the routes"
  found = responses.JSONResponse(
    body(error.status_code, message), error.status_code, error.headers
  )
  return found


async def on_invalid(
  request: requests.Request, error: Exception
) -> responses.Response:
  """Answers a body that is no JSON, or has other fields than expected."""
  assert isinstance(error, exceptions.RequestValidationError)
  first = error.errors()[0]
  if first["type"] == "json_invalid":
    why = first.get("ctx", {}).get("error", first["msg"])
    return response(ApiError(400, f"the body is no JSON: {why}"))
  # First stands where it was found, "body" or "query"; among the names of
  # fields stand types that were tried, as "constrained-str".
  where = [str(part) for part in first["loc"][1:]]
  name = ".".join(filter(_FIELD.fullmatch, where)) or None
  message = first["msg"].removeprefix("Value error, ")
  found = first["input"]
  if not name and first["type"] in _NO_OBJECT:
    message = _EXPECTED_OBJECT
  elif name and first["type"] == "extra_forbidden":
    message = f"there is no field {name}; /docs lists them"
  elif name and isinstance(found, str | int | float | None):
    message = f"{name} is {json.dumps(found)[:_SHOWN]}: {message}"
  elif name:
    message = f"{name}: {message}"
  return response(ApiError(422, message, param=name))


async def on_fault(
  request: requests.Request, error: Exception
) -> responses.Response:
  """Answers a fault of ours: the log has what it was, the client its id."""
  number = new_id("err")
  traced = _TRACE.match(request.headers.get("traceparent", ""))
  trace = f" trace {traced[1]}" if traced else ""
  path = request.url.path
  _log.error("%s%s %s: %s", number, trace, path, error, exc_info=error)
  message = f"the server failed; its log says why under {number}"
  return responses.JSONResponse(body(500, message, number=number), 500)
