"""Answers HEAD as GET."""

import dataclasses

from starlette import types


@dataclasses.dataclass(frozen=True)
class HeadAsGet:
  """ASGI: asks for what GET answers; whoever listens leaves the body out.

  Attributes:
    app: what answers.
  """

  app: types.ASGIApp

  async def __call__(
    self, scope: types.Scope, receive: types.Receive, send: types.Send
  ) -> None:
    """Passes a request on."""
    if scope["type"] == "http" and scope["method"] == "HEAD":
      scope = {**scope, "method": "GET"}
    await self.app(scope, receive, send)
