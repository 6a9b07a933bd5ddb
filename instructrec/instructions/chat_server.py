"""One chat server: its address, and bounds on what comes from it."""

import base64
import contextlib
import contextvars
import dataclasses
import importlib
import urllib.parse
from collections.abc import Iterator
from typing import Any

from instructrec import foreign_text, limits

_PORTS = {"http": 80, "https": 443}
_WATCH: contextvars.ContextVar["Watch"] = contextvars.ContextVar("watch")


class RefusedError(Exception):
  """What a server sends is not followed, or not read on.

  Attributes:
    is_charged: whether the server may charge for it.
  """

  def __init__(self, reason: str, *, is_charged: bool = True) -> None:
    super().__init__(reason)
    self.is_charged = is_charged


@dataclasses.dataclass
class Watch:
  """How far a request came.

  Attributes:
    was_sent: whether any of it reached a server.
  """

  was_sent: bool = False


@contextlib.contextmanager
def watch() -> Iterator[Watch]:
  """Watches the requests of a task, until it is left."""
  token = _WATCH.set(Watch())
  try:
    yield _WATCH.get()
  finally:
    _WATCH.reset(token)


@dataclasses.dataclass(frozen=True)
class Server:
  """Where a server is.

  Attributes:
    url: its address, without user and password; None for OpenAI's own.
    user: who asks, where the address named someone.
    password: likewise.
  """

  url: str | None = None
  user: str | None = None
  password: str | None = dataclasses.field(default=None, repr=False)

  @classmethod
  def parse(cls, address: str | None) -> "Server":
    """Takes an address apart.

    Args:
      address: such as "http://user:password@127.0.0.1:8000/v1".

    Returns:
      The server.

    Raises:
      ValueError: where it is no address; the message has no password.
    """
    if address is None:
      return cls()
    try:
      parts = urllib.parse.urlsplit(address)
      known = parts.scheme in _PORTS and bool(parts.hostname)
      # What stands behind a / that nobody escaped may be half a password.
      known = known and (parts.port or 1) > 0 and "@" not in parts.path
    except ValueError:
      known = False
    if not known:
      # What it is made of is not known, nor where a password ends.
      shown = address.rpartition("@")[2]
      raise ValueError(
        f"base_url is {shown!r}, expected an address such as "
        "'http://127.0.0.1:8000/v1'; in a password, / is written %2F and @ is "
        "written %40"
      )
    host = parts.netloc.rpartition("@")[2]
    user, password = parts.username, parts.password
    return cls(
      urllib.parse.urlunsplit(
        (parts.scheme, host, parts.path, parts.query, "")
      ),
      None if user is None else urllib.parse.unquote(user),
      None if password is None else urllib.parse.unquote(password),
    )

  @property
  def secrets(self) -> list[str]:
    """What must not be shown, whoever says it."""
    if not self.password:
      return []
    pair = f"{self.user or ''}:{self.password}".encode()
    return [self.password, base64.b64encode(pair).decode()]


def _is_same(url: Any, own: Any) -> bool:
  """Whether a request stays with a server; it may change to TLS."""
  at, home = (
    (u.scheme, u.host, u.port or _PORTS.get(u.scheme)) for u in (url, own)
  )
  tls = ("https", own.host, 443)
  return at == home or (home == ("http", own.host, 80) and at == tls)


def open_client(openai: Any, server: Server, api_key: str) -> Any:
  """A client of the `openai` library that stays with its server.

  Redirects to another host are refused, and so are replies beyond
  `limits.REPLY_BYTES`. It neither tries again nor gives up by itself: the
  library's time-out starts anew with each byte, and its retries would be hidden
  from a budget.

  Args:
    openai: the library.
    server: who is asked.
    api_key: sent along, unless the address names a user.

  Returns:
    An `AsyncOpenAI`, to be closed.
  """

  async def send(request: Any) -> None:
    if not _is_same(request.url, client.base_url):
      there = foreign_text.without_user(
        f"{request.url.scheme}://{request.url.host}"
      )
      raise RefusedError(
        f"it redirects to another host, {there}, which was not asked; if that "
        "is the server, name its address",
        is_charged=False,
      )
    current = _WATCH.get(None)

    async def trace(event: str, info: Any) -> None:
      del info
      if current is not None and event.endswith(
        ".send_request_headers.started"
      ):
        current.was_sent = True

    request.extensions = {**request.extensions, "trace": trace}

  async def receive(response: Any) -> None:
    encoding = response.headers.get("content-encoding", "identity").lower()
    if encoding not in ("", "identity"):
      raise RefusedError(
        f"a reply in {encoding[:40]}, expected none to be compressed"
      )
    response.stream = _bounded(openai, response.stream)

  client = openai.AsyncOpenAI(
    # Servers of one's own ask for no key; the library does.
    api_key=api_key or "none",
    base_url=server.url,
    timeout=None,
    max_retries=0,
    http_client=openai.DefaultAsyncHttpxClient(
      timeout=None,
      auth=None
      if server.user is None
      else (server.user, server.password or ""),
      # What is unpacked could be a thousand times as large.
      headers={"Accept-Encoding": "identity"},
      event_hooks={"request": [send], "response": [receive]},
    ),
  )
  return client


def _bounded(openai: Any, stream: Any) -> Any:
  """A reply's bytes as they come, up to the limit."""
  # The library brings its own: httpx, or what came after it.
  base = next(
    cls
    for cls in openai.DefaultAsyncHttpxClient.__mro__
    if cls.__name__ == "AsyncClient"
  )
  http = importlib.import_module(base.__module__.partition(".")[0])

  class Bounded(http.AsyncByteStream):  # type: ignore[name-defined, misc]
    async def __aiter__(self) -> Any:
      size = 0
      async for part in stream:
        size += len(part)
        try:
          limits.REPLY_BYTES.check(size, "a reply")
        except limits.LimitError as error:
          raise RefusedError(str(error)) from error
        yield part

    async def aclose(self) -> None:
      await stream.aclose()

  return Bounded()
