"""`instructrec serve`: a run over HTTP."""

import dataclasses
import importlib.util
import logging

import typer

from instructrec.cli import options
from instructrec.cli.train import split_gin_args
from instructrec.settings import serving


@options.from_settings
def serve(context: typer.Context, settings: serving.ServingSettings) -> None:
  """Serve a run over HTTP: recommendations, reranking, chat, and a page.

  Needs the extra of the same name. What it answers, and how it is run:
  docs/serving.md.
  """
  if missing := [
    name
    for name in ("fastapi", "uvicorn", "prometheus_client")
    if importlib.util.find_spec(name) is None
  ]:
    raise ValueError(
      f"`serve` needs {', '.join(missing)}; "
      "`pip install 'instructrec[serve]'` installs it"
    )
  bindings = tuple(split_gin_args(context.args))
  settings = dataclasses.replace(settings, bindings=bindings)
  # What libraries tell of each file that they read is nobody's news.
  logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
  logging.getLogger("instructrec").setLevel(logging.INFO)
  from instructrec.serving.server import app, running

  running.Server(app.create(settings), settings).run()
