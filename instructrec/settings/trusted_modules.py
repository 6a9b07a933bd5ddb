"""The option of commands that open a run folder, which may be anyone's."""

from typing import Annotated

from instructrec.settings.option import Option

HELP = (
  "Python module of your own that the run's config.gin may name, such as one "
  "that registers its tasks; may be repeated. Others are refused."
)
TrustedModules = Annotated[tuple[str, ...], Option(HELP, name="module")]
