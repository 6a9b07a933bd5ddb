"""The option of commands that open a run folder, which may be anyone's."""

from typing import Annotated

import typer

TrustedModules = Annotated[
  list[str] | None,
  typer.Option(
    "--module",
    help="Python module of your own that the run's config.gin may name, such "
    "as one that registers its tasks; repeat it. Else they are refused.",
  ),
]
