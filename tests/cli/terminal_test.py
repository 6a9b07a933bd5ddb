"""No text of others reaches a terminal as it is, whoever prints it."""

import io
import sys

import pytest
import typer
from typer.testing import CliRunner

from instructrec import progress
from instructrec.cli import main, terminal

EVIL = "\x1b[2J\x1b]0;owned\x07 a\rb \u202egnp.exe \x9b31m"
SHOWN = r"\x1b[2J\x1b]0;owned\x07 a\x0db \u202egnp.exe \x9b31m"


def test_what_a_command_prints_is_printable():
  app = typer.Typer()

  @app.command(cls=main._Command)
  def command():
    print(f"title: {EVIL}\n日本語\tÅngström")
    typer.echo("typer: done")
    sys.stdout.write(EVIL)

  result = CliRunner().invoke(app)
  assert (
    result.stdout == f"title: {SHOWN}\n日本語\tÅngström\ntyper: done\n{SHOWN}"
  )


def test_every_command_prints_so():
  def commands(group):
    for found in group.commands.values():
      yield from commands(found) if hasattr(found, "commands") else [found]

  found = list(commands(typer.main.get_command(main.app)))
  assert len(found) > 15
  assert all(isinstance(command, main._Command) for command in found)


def test_a_terminal_stays_one(monkeypatch):
  stream = io.StringIO()
  stream.isatty = lambda: True
  monkeypatch.setattr(sys, "stdout", stream)
  with terminal.printable_output():
    assert sys.stdout.isatty()
    # On a terminal the library leaves colours in.
    typer.echo(f"a {EVIL}")
  assert sys.stdout is stream
  assert stream.getvalue() == f"a {SHOWN}\n"


def test_letters_that_the_locale_lacks_are_shown_as_escapes(monkeypatch):
  stream = io.TextIOWrapper(io.BytesIO(), "ascii")
  monkeypatch.setattr(sys, "stdout", stream)

  @main.app.command(cls=main._Command)
  def said():
    typer.echo("Pok\u00e9mon \u65e5")

  try:
    assert run_main(monkeypatch, "said") == 0
  finally:
    main.app.registered_commands.pop()
  stream.flush()
  assert stream.buffer.getvalue() == rb"Pok\xe9mon \u65e5" + b"\n"


def run_main(monkeypatch, *args):
  monkeypatch.setattr(main.cache, "keep_compiled_programs", lambda _: None)
  monkeypatch.setattr(sys, "argv", ["instructrec", *args])
  with pytest.raises(SystemExit) as end:
    main.main()
  return end.value.code


@pytest.mark.parametrize("debug", [False, True])
def test_names_of_files_in_errors_are_printable(
  debug, tmp_path, monkeypatch, capsys
):
  status = run_main(
    monkeypatch,
    *(["--debug"] if debug else []),
    "prepare",
    "--source=table",
    f"--input={tmp_path / EVIL.replace('/', '')}",
    f"--items={tmp_path / 'x.tsv'}",
    f"--output={tmp_path / 'out'}",
  )
  said = capsys.readouterr().err
  assert status == 1
  assert ("Traceback" in said) == debug
  assert set(said) - {"\n"} == {c for c in said if c.isprintable()}


def test_a_fault_of_ours_shows_a_printable_traceback(monkeypatch, capsys):
  def fail(**_):
    raise RuntimeError(EVIL)

  monkeypatch.setattr(main, "app", fail)
  assert run_main(monkeypatch) == 1
  said = capsys.readouterr().err
  assert f"RuntimeError: {SHOWN}" in said
  assert "Traceback" in said
  assert "\x1b" not in said


def test_lines_of_progress_are_printable(capsys, monkeypatch):
  monkeypatch.setattr(progress, "_LOG_SECONDS", 0.0)
  with progress.Progress(1, f"tokenize {EVIL}") as line:
    line.note(EVIL)
    line.advance()
  said = capsys.readouterr().err
  assert SHOWN in said
  assert not {"\x1b", "\u202e", "\x9b"} & set(said)
