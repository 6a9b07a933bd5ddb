"""A settings class as the options of a command."""

import dataclasses
import pathlib
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from instructrec.cli import options
from instructrec.settings.option import Option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
  size: Annotated[int, Option("Of it.", least=2, name="inner_size")] = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  folder: Annotated[pathlib.Path, Option("Where to.")]
  names: Annotated[tuple[str, ...], Option("Repeat it.", name="name")] = ("a",)
  inner: Inner = Inner()
  count: Annotated[int | None, Option("How many.", least=1)] = None
  loud: Annotated[bool, Option("Whether.")] = False
  hidden: int = 5


@pytest.fixture(scope="module")
def called():
  """Calls the command, and gives the status, the output and what came."""
  seen = []

  @options.from_settings
  def command(
    context: typer.Context,
    settings: Settings,
    more: Annotated[int, typer.Option(help="Beside them.")] = 1,
  ) -> None:
    """Does it."""
    seen.append((context.args, settings, more))

  app = typer.Typer()
  extra = {"allow_extra_args": True, "ignore_unknown_options": True}
  app.command(context_settings=extra)(command)

  def call(*args):
    seen.clear()
    result = CliRunner().invoke(app, args)
    return result.exit_code, result.output, *seen

  return call


def test_what_is_left_out_has_the_defaults_of_the_class(called):
  status, _, found = called("--folder=x")
  assert status == 0
  assert found == ([], Settings(folder=pathlib.Path("x")), 1)


def test_every_field_can_be_given(called):
  *_, found = called(
    "--folder=x",
    "--name=b",
    "--name=c",
    "--inner-size=4",
    "--count=2",
    "--loud",
    "--more=7",
    "--extra",
  )
  expected = Settings(
    folder=pathlib.Path("x"),
    names=("b", "c"),
    inner=Inner(size=4),
    count=2,
    loud=True,
  )
  assert found == (["--extra"], expected, 7)


@pytest.mark.parametrize(
  ("args", "message"),
  [
    ((), "Missing option"),
    (("--folder=x", "--count=0"), "equal to 1"),
    (("--folder=x", "--inner-size=1"), "equal to 2"),
  ],
)
def test_what_the_class_does_not_allow_is_refused(called, args, message):
  status, output, *found = called(*args)
  assert status == 2
  assert message in output
  assert not found


def test_the_help_is_that_of_the_fields(called):
  _, output = called("--help")
  for text in ("Does it.", "Where to.", "Repeat it.", "Of it.", "Beside them."):
    assert text in output
  for absent in ("hidden", "no-loud", "--names"):
    assert absent not in output
