"""What the schema says beyond the routes: errors, and which need a key."""

from typing import Any

import fastapi

from instructrec.serving.server import gates, rerank_schema

_SECONDS = {
  "description": "Seconds after which it may be asked again.",
  "schema": {"type": "integer"},
}
_SCHEME = {"description": "How a key is sent.", "schema": {"type": "string"}}
ERRORS: dict[int | str, dict[str, Any]] = {
  status: {"model": rerank_schema.Error}
  for status in (400, 401, 404, 408, 413, 422, 429, 500, 503, 504)
}
"""Of all routes."""
ERRORS[401]["headers"] = {"WWW-Authenticate": _SCHEME}
for _status in (429, 503):
  ERRORS[_status]["headers"] = {"Retry-After": _SECONDS}


def add_keys(app: fastapi.FastAPI, keys: gates.Keys) -> None:
  """Has the schema say which routes need a key of this server.

  Args:
    app: the server.
    keys: that open its routes.
  """
  of_routes = app.openapi

  def openapi() -> dict[str, Any]:
    if app.openapi_schema is None:
      schema = of_routes()
      schemes = {"key": {"type": "http", "scheme": "bearer"}}
      schema["components"]["securitySchemes"] = schemes
      for path, operations in schema["paths"].items():
        if keys.of_path(path):
          for operation in operations.values():
            operation["security"] = [{"key": []}]
    return of_routes()

  app.openapi = openapi  # type: ignore[method-assign]
