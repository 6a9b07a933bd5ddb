"""What the documents show works as they show it."""

import pathlib
import re
import runpy

import pytest

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


@pytest.mark.tf
def test_the_mixture_in_twenty_lines_registers(tmp_path):
  from instructrec.pipelines import token_cache

  text = block("CONTRIBUTING.md", "python", "import seqio")
  assert len(text.splitlines()) <= 20
  (tmp_path / "my_tasks.py").write_text(text)
  runpy.run_path(str(tmp_path / "my_tasks.py"))
  rates = token_cache.mixture_rates("wishes")
  assert list(rates.values()) == pytest.approx([0.4, 0.4, 0.2])


def test_named_files_exist():
  """Links of the documents lead somewhere."""
  for document in (*_ROOT.glob("*.md"), *_ROOT.glob("docs/**/*.md")):
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
      assert (document.parent / target).exists(), f"{document.name}: {target}"
