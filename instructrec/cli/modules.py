"""`--module`, for commands whose options are no settings."""

from typing import Annotated

import typer

from instructrec.settings import trusted_modules

TrustedModules = Annotated[
  list[str] | None, typer.Option("--module", help=trusted_modules.HELP)
]
