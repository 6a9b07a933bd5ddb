"""The page's files, with headers that keep the page to this server."""

import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from starlette import exceptions, responses, staticfiles

FOLDER = pathlib.Path(__file__).parents[1] / "page"
HEADERS = {
  # Scripts, styles and answers come from here, and from nowhere else; nothing
  # inline runs, whatever a title holds; no other site frames the page.
  "Content-Security-Policy": (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
  ),
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  # Asked for again, and not sent again where nothing changed: the modules of
  # two versions never meet.
  "Cache-Control": "no-cache",
}


class PageFiles(staticfiles.StaticFiles):
  """Serves the page, behind all routes.

  Args:
    routes: paths that are not the page's, with the methods that they answer.
  """

  def __init__(
    self, routes: Mapping[str, Collection[str]] | None = None
  ) -> None:
    super().__init__(directory=FOLDER, html=True)
    self._routes = routes or {}

  async def get_response(self, path: str, scope: Any) -> responses.Response:
    """A file, or 304 where the client has it; 404 where there is none."""
    methods = self._routes.get(scope["path"], ("GET", "HEAD"))
    if scope["path"] in self._routes or scope["method"] not in methods:
      allow = ", ".join(sorted(methods))
      raise exceptions.HTTPException(405, headers={"Allow": allow})
    found = await super().get_response(path, scope)
    found.headers.update(HEADERS)
    return found
