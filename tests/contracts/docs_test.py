"""What the documents show works as they show it."""

import pathlib
import re
import runpy
import sys

import pytest
import typer
import yaml

from instructrec import limits
from instructrec.alignment import wordings
from instructrec.cli import main
from instructrec.instructions import render, templates

_ROOT = pathlib.Path(__file__).parents[2]


def block(document, language, start):
  """The code block of a document that begins with some text."""
  text = (_ROOT / document).read_text()
  blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
  (found,) = (b for b in blocks if b.startswith(start))
  return found


def test_the_template_of_the_page_is_one(tmp_path):
  path = tmp_path / "mine.yaml"
  path.write_text(block("docs/instructions.md", "yaml", "templates:"))
  template = templates.load([path])["personal_gift_table"]
  assert render.Form(template, query="I1").intention == "I1"
  assert render.Form(template, query="I2", optional=True).preference == "P1+P2"


def test_the_wording_of_the_page_is_one():
  (entry,) = yaml.safe_load(
    block("docs/control.md", "yaml", "  - id: control_wanted_evening")
  )
  wording = wordings.Wording.model_validate(entry)
  assert wording.task is wordings.ControlTask.WANTED


@pytest.mark.tf
def test_the_mixture_in_twenty_lines_registers(tmp_path, monkeypatch):
  """Under T5X as well, whose scripts put their own folder first."""
  from instructrec.pipelines import token_cache

  text = block("CONTRIBUTING.md", "python", "import seqio")
  assert len(text.splitlines()) <= 20
  (tmp_path / "my_tasks.py").write_text(text)
  scripts = tmp_path / "t5x"
  scripts.mkdir()
  (scripts / "tasks.py").write_text("# T5X has such a module.")
  for name in [n for n in sys.modules if n.split(".")[0] == "tasks"]:
    monkeypatch.delitem(sys.modules, name)
  monkeypatch.syspath_prepend(scripts)
  runpy.run_path(str(tmp_path / "my_tasks.py"))
  rates = token_cache.mixture_rates("wishes")
  assert list(rates.values()) == pytest.approx([0.4, 0.4, 0.2])


def _lines():
  """Each line of the documents' shell blocks, with where it stands."""
  for document in (*_ROOT.glob("*.md"), *_ROOT.glob("docs/**/*.md")):
    fenced = re.findall(
      r"^```(\w*)\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE
    )
    for shell in (text for language, text in fenced if not language):
      for line in shell.replace("\\\n", " ").splitlines():
        yield document.name, line


def _commands():
  """Each `instructrec ...` of the documents, with where it stands."""
  for document, line in _lines():
    if found := re.search(r"(?<!import )\binstructrec ([a-z].*)", line):
      yield document, found[1].split("#")[0].split()


def test_named_commands_and_options_exist():
  root = typer.main.get_command(main.app)
  seen = set()
  for document, words in _commands():
    command = root
    while hasattr(command, "commands"):
      command = command.commands[words.pop(0)]
    seen.add(command.name)
    options = {name for option in command.params for name in option.opts}
    for word in words:
      name = word.split("=")[0]
      if name.startswith("--") and not name.startswith("--gin."):
        assert name in options, f"{document}: {command.name} {name}"
  assert {"train", "evaluate", "candidates", "export", "preflight"} <= seen


def _benchmark(path):
  """The text of a benchmark, and of what it shares with others."""
  text = path.read_text()
  for name in re.findall(r"^import (\w+)$", text, re.MULTILINE):
    if (shared := path.with_name(f"{name}.py")).exists():
      text += _benchmark(shared)
  return text


def test_named_options_of_benchmarks_exist():
  """By their text: they are no package, and have libraries of their own."""
  seen = set()
  for document, line in _lines():
    for name, words in re.findall(r"\bbenchmarks/(\w+)\.py(.*)", line):
      text = _benchmark(_ROOT / "benchmarks" / f"{name}.py")
      seen.add(name)
      for option in re.findall(r"--(\w+)", words):
        assert re.search(rf'"(--)?{option}"', text), f"{document}: {option}"
  assert {"alignment", "constrained", "scoring", "serving_peer"} <= seen


def test_the_limits_of_the_page_are_those_that_hold():
  text = (_ROOT / "docs/trust.md").read_text()
  rows = re.findall(r"^\| (.+) \| ([\d,]+) (.+) \| `(\w+)` \|$", text, re.M)
  assert rows == [
    (limit.of, f"{limit.default:,}", limit.unit, limit.variable)
    for limit in limits.ALL
  ]


def _anchors(document):
  """Of its headings, as GitHub makes them."""
  text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
  headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
  return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def test_links_lead_to_files_and_headings():
  seen = 0
  for document in (*_ROOT.glob("*.md"), *_ROOT.glob("docs/**/*.md")):
    links = re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", document.read_text())
    for target, anchor in links:
      found = document.parent / target if target else document
      assert found.exists(), f"{document.name}: {target}"
      if anchor and found.suffix == ".md":
        assert anchor in _anchors(found), f"{document.name}: {target}#{anchor}"
        seen += 1
  assert seen > 50
