"""What a request passes before it is read: its key, and its size.

Plain ASGI, so that a body is refused while it comes, and answers can stream.
"""

import asyncio
import collections
import dataclasses
import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import Any

from starlette import types

from instructrec import limits
from instructrec.serving.server import errors

API_KEYS, ADMIN_KEY = "INSTRUCTREC_API_KEYS", "INSTRUCTREC_ADMIN_KEY"
_GUARDED = ("/v1/", "/v2/", "/rerank", "/info", "/models")
_ADMIN = ("/v1/reload",)


def _hashed(key: bytes) -> bytes:
  return hashlib.sha256(key).digest()


@dataclasses.dataclass(frozen=True)
class Keys:
  """The keys that open the routes; only their hashes are kept.

  Attributes:
    api: any of them will do; none asks for none.
    admin: for what changes the server; None closes it.
  """

  api: tuple[bytes, ...] = ()
  admin: bytes | None = None

  @classmethod
  def of(cls, environment: Mapping[str, str]) -> "Keys":
    """The keys that environment variables name, several by commas.

    Args:
      environment: of the process.

    Returns:
      The keys.

    Raises:
      ValueError: where a variable is set, and holds no key.
    """
    found = {}
    for name in (API_KEYS, ADMIN_KEY):
      keys = [key.strip() for key in environment.get(name, "").split(",")]
      if name in environment and not all(keys):
        raise ValueError(
          f"{name} holds an empty key; expected keys with commas between "
          "them, or unset it to ask for none"
        )
      found[name] = tuple(_hashed(os.fsencode(key)) for key in keys if key)
    if len(found[ADMIN_KEY]) > 1:
      raise ValueError(f"{ADMIN_KEY} holds several keys, expected one")
    return cls(found[API_KEYS], next(iter(found[ADMIN_KEY]), None))

  def of_path(self, path: str) -> tuple[bytes, ...]:
    """The hashes of the keys that open a path; none where it needs none."""
    if path.rstrip("/") in _ADMIN:
      return () if self.admin is None else (self.admin,)
    return self.api if path.startswith(_GUARDED) else ()

  def check(self, path: str, authorization: str) -> None:
    """Refuses a request without the key that its path needs.

    All keys are compared, each in a time that says nothing of it.

    Args:
      path: of the request.
      authorization: its header of that name, a character a byte; "" where there
        is none.

    Raises:
      ApiError: 401 for a missing or wrong key, 403 where no key opens it.
    """
    if path.rstrip("/") in _ADMIN and self.admin is None:
      raise errors.ApiError(
        403,
        f"no key opens {path}: the server was started without {ADMIN_KEY}",
      )
    wanted = self.of_path(path)
    if not wanted:
      return
    kind, _, key = authorization.partition(" ")
    given = _hashed(key.strip().encode("latin-1"))
    matches = [hmac.compare_digest(given, one) for one in wanted]
    if kind.lower() != "bearer" or not any(matches):
      raise errors.ApiError(
        401,
        "the key is missing or wrong; send it as 'Authorization: Bearer KEY'",
      )


@dataclasses.dataclass(frozen=True)
class Gates:
  """ASGI: refuses requests without a key, and bodies that do not fit or come.

  Attributes:
    app: what answers the others.
    keys: that open it.
    refused: counts what was refused, by reason.
    seconds: of a request's time, from its first byte to its answer. When it is
      over, in the event loop's time, stands in the request's state as `ends`.
  """

  app: types.ASGIApp
  keys: Keys
  refused: Any
  seconds: float

  async def __call__(
    self, scope: types.Scope, receive: types.Receive, send: types.Send
  ) -> None:
    """Passes a request on, or refuses it."""
    if scope["type"] != "http":
      await self.app(scope, receive, send)
      return
    ends = asyncio.get_running_loop().time() + self.seconds
    scope.setdefault("state", {})["ends"] = ends
    # A header that comes twice is both of its values, and two keys are none: a
    # proxy before this server may have read the other one.
    headers: dict[bytes, str] = {}
    for name, value in scope["headers"]:
      before = headers.get(name.lower())
      found = value.decode("latin-1")
      headers[name.lower()] = found if before is None else f"{before}, {found}"
    try:
      self.keys.check(scope["path"], headers.get(b"authorization", ""))
      length = headers.get(b"content-length", "")
      body = await self._whole(receive, length, ends)
    except errors.ApiError as error:
      reason = "key" if error.status in (401, 403) else "body"
      self.refused.labels(reason).inc()
      answer = errors.response(error)
      # What is still coming is not read: the connection ends here.
      answer.headers["Connection"] = "close"
      await answer(scope, receive, send)
      return
    messages = collections.deque([body])

    async def read() -> types.Message:
      return messages.popleft() if messages else await receive()

    await self.app(scope, read, send)

  async def _whole(
    self, receive: types.Receive, length: str, ends: float
  ) -> types.Message:
    """The whole body as one message, where it comes and is not too large."""
    limit = limits.BODY_BYTES
    if length.isascii() and length.isdigit() and int(length[:20]) > limit.value:
      raise _too_large(f"{length[:20]} bytes", limit)
    try:
      async with asyncio.timeout_at(ends):
        return await _received(receive, limit)
    except TimeoutError as error:
      raise errors.ApiError(
        408,
        f"the body did not end within {self.seconds:g} seconds; send it whole",
      ) from error


async def _received(
  receive: types.Receive, limit: limits.Limit
) -> types.Message:
  """The chunks of a body as one message; fails where they are too much."""
  chunks, size = [], 0
  while True:
    message = await receive()
    if message["type"] != "http.request":
      return message
    chunks.append(message.get("body", b""))
    size += len(chunks[-1])
    if size > limit.value:
      raise _too_large("more", limit)
    if not message.get("more_body"):
      return {
        "type": "http.request",
        "body": b"".join(chunks),
        "more_body": False,
      }


def _too_large(found: str, limit: limits.Limit) -> errors.ApiError:
  return errors.ApiError(
    413,
    f"the body has {found}, expected at most {limit.value:,} bytes; send less "
    f"at once, or have {limit.variable} set for the server",
  )
