"""The routes and their fields as one page, without a script and from here."""

import html
from collections.abc import Iterator
from typing import Any

_FORM = "application/json"


def page(schema: dict[str, Any]) -> str:
  """A page of all routes.

  Args:
    schema: of the server, as OpenAPI has it.

  Returns:
    HTML.
  """
  title = html.escape(f"{schema['info']['title']} {schema['info']['version']}")
  parts = [
    "<!doctype html>",
    f'<html lang="en"><meta charset="utf-8"><title>{title}</title>',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    '<link rel="stylesheet" href="page.css">',
    f"<main><h1>{title}</h1>",
    '<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>',
  ]
  for path, operations in schema["paths"].items():
    for method, operation in operations.items():
      parts += _operation(schema, f"{method.upper()} {path}", operation)
  parts.append("</main></html>")
  return "\n".join(parts)


def _operation(
  schema: dict[str, Any], name: str, operation: dict[str, Any]
) -> Iterator[str]:
  yield f"<section><h2>{html.escape(name)}</h2>"
  yield f"<p>{html.escape(operation.get('description', ''))}</p>"
  for one in operation.get("parameters", ()):
    yield f"<p><code>?{html.escape(one['name'])}=</code></p>"
  if body := operation.get("requestBody"):
    for model in _models(schema, body["content"][_FORM]["schema"]):
      yield from _fields(model)
  statuses = ", ".join(operation["responses"])
  yield f"<p>Answers: {html.escape(statuses)}</p></section>"


def _models(
  schema: dict[str, Any], found: dict[str, Any]
) -> Iterator[dict[str, Any]]:
  """The objects that a body may be."""
  if reference := found.get("$ref"):
    yield schema["components"]["schemas"][reference.rpartition("/")[2]]
  for one in (*found.get("oneOf", ()), *found.get("anyOf", ())):
    yield from _models(schema, one)


def _fields(model: dict[str, Any]) -> Iterator[str]:
  required = model.get("required", ())
  yield f"<h3>{html.escape(model['title'])}</h3>"
  yield f"<pre>{html.escape(model.get('description', ''))}</pre><ul>"
  for name, field in model["properties"].items():
    told = "required" if name in required else f"or {field.get('default')!r}"
    yield (
      f"<li><code>{html.escape(name)}</code>: {html.escape(_type(field))}, "
      f"{html.escape(told)}</li>"
    )
  yield "</ul>"


def _type(field: dict[str, Any]) -> str:
  """What a field holds, in words."""
  if reference := field.get("$ref"):
    return reference.rpartition("/")[2]
  if options := field.get("anyOf"):
    return " or ".join(map(_type, options))
  kind = field.get("type", "anything")
  if kind == "array":
    return f"a list of {_type(field['items'])}"
  return kind
