import base64
import html.parser
import re
import xml.etree.ElementTree

import markdown_it
import numpy as np
import pytest

from instructrec import foreign_text
from instructrec.evaluation import evaluate, examples, facts, report
from instructrec.evaluation import html as pages

_EVIL = (
  "<script>alert(1)</script>",
  '"><img src=x onerror=alert(1)>',
  "![x](http://example.com/x.png)",
  "[x](javascript:alert(1))",
  "<http://example.com>",
  # What a terminal obeys, and what turns a line around.
  "\x1b[2Jgone\u202egnp.exe\r",
  # What pictures take for a formula, and hide from a legend.
  "_$\\frac{ `code` **b** | c",
)


class Reader(html.parser.HTMLParser):
  """Collects elements, their attributes and the text."""

  def __init__(self, text):
    super().__init__()
    self.elements, self.text, self.open = [], "", []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    if tag not in ("meta", "img", "br", "hr"):
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text += data

  def all(self, name):
    return [attrs for tag, attrs in self.elements if tag == name]


def written(folder, methods, group="g", title="t"):
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 4, 60)
  ids = [[f"i{4 * i + j}" for j in range(4)] for i in range(60)]
  result = evaluate.from_scores(
    group,
    {name: rng.normal(size=(60, 4)) for name in methods},
    labels,
    request_ids=[f"r{i}" for i in range(60)],
    known=facts.Facts.of(
      targets=[row[label] for row, label in zip(ids, labels, strict=True)],
      candidates=ids,
      target_counts=rng.integers(0, 30, 60),
      history_lengths=rng.integers(0, 30, 60),
    ),
    num_resamples=50,
    descriptions={name: name for name in methods},
  )
  log = [{"step": 1, "split": "train", "loss": 1.0}]
  shown = examples.Example(
    request_id="r0",
    request=examples.Request(history=[title], wish=title, instruction=title),
    method=methods[0],
    best=[(title, 1.0)],
    target=title,
    num_candidates=4,
    ranks=dict.fromkeys(methods, 1.0),
  )
  context = report.Context(
    title,
    [title],
    {title: title},
    {},
    {},
    {},
    title,
    [title],
    log,
    model=methods[0],
    baselines=methods[1:],
    meanings={group: title},
    examples={group: [shown]},
  )
  report.write(folder, [result], context)
  return (folder / "report.html").read_text()


@pytest.mark.parametrize("evil", _EVIL)
def test_names_and_titles_are_text_whatever_they_hold(tmp_path, evil, request):
  if "$" not in evil:  # Else a picture could fail to be drawn.
    request.getfixturevalue("no_pictures")
  page = written(tmp_path, [evil, "other"], evil, evil)
  found = Reader(page)
  assert not found.open
  assert not found.all("script")
  allowed = {"alt", "src", "class", "tabindex", "id", "href", "aria-label"}
  for tag, attrs in found.elements:
    if tag not in ("html", "meta"):
      assert attrs.keys() <= allowed, (tag, attrs)
  for picture in found.all("img"):
    assert picture["src"].startswith("data:image/svg+xml;base64,")
  for link in found.all("a"):
    assert re.fullmatch(r"#section-\d+|[./\w-]*docs/\w+\.md", link["href"])
  shown = re.sub(r"\s+", " ", found.text)
  assert foreign_text.printable(evil) in shown
  assert not set("\x1b\u202e\r") & set(page)
  _check_markdown((tmp_path / "report.md").read_text())


def _check_markdown(text):
  """Those who render HTML and links find none either."""
  assert foreign_text.printable(text) == text
  parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table")
  tokens = [
    child
    for token in parser.parse(text)
    for child in (token, *(token.children or ()))
  ]
  kinds = {token.type for token in tokens}
  assert not kinds & {"html_block", "html_inline", "code_inline"}
  links = [t.attrs["href"] for t in tokens if t.type == "link_open"]
  assert all(re.fullmatch(r"[./\w-]*docs/\w+\.md", link) for link in links)
  pictures = [t.attrs["src"] for t in tokens if t.type == "image"]
  assert pictures
  assert all(re.fullmatch(r"[\w.-]+\.svg", src) for src in pictures)


def test_the_page_needs_nothing_else(tmp_path):
  page = written(tmp_path, ["a", "b"])
  found = Reader(page)
  assert len(found.all("img")) == 3
  for picture in found.all("img"):
    assert len(picture["alt"]) > 20
    data = base64.b64decode(picture["src"].split(",")[1])
    assert xml.etree.ElementTree.fromstring(data).tag.endswith("}svg")
    assert b"prefers-color-scheme: dark" in data
  policy = [m for m in found.all("meta") if "http-equiv" in m]
  assert policy[0]["content"].startswith("default-src 'none'; img-src data:;")
  assert not found.all("link")
  assert "url(" not in page
  assert "prefers-color-scheme: dark" in page
  viewport = {
    "name": "viewport",
    "content": "width=device-width, initial-scale=1",
  }
  assert viewport in found.all("meta")


def test_the_page_holds_what_the_markdown_holds(tmp_path):
  page = written(tmp_path, ["a", "b"])
  found = Reader(page)
  text = found.text.replace("\u00a0", " ")
  markdown = (tmp_path / "report.md").read_text()
  cells = [
    cell.strip(" *")
    for line in markdown.splitlines()
    if line.startswith("| ")
    for cell in line.strip("|").split(" | ")
  ]
  assert len(cells) > 60
  for cell in cells:
    # Bold is markup within a cell.
    assert cell.replace("**", "") in text
  headings = re.findall(r"^## (.*)$", markdown, re.MULTILINE)
  links = [link["href"] for link in found.all("a")]
  assert [link for link in links if link.startswith("#")] == [
    f"#section-{i}" for i in range(1, len(headings) + 1)
  ]
  assert len(found.all("h2")) == len(headings)


def test_figures_stay_on_one_line():
  page = pages.page("| a |\n|---|\n| +0.1 [-0.20, +0.3] p <0.001 d -0.1 |", "t")
  figures = "[-0.20,\u00a0+0.3] p\u00a0&lt;0.001 d\u00a0-0.1"
  assert figures in page


def test_a_missing_picture_is_an_error(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"gone\.svg"):
    pages.page("![x](gone.svg)", "t", tmp_path)


def test_a_picture_of_another_folder_is_not_read(tmp_path):
  (tmp_path / "secret.svg").write_bytes(b"secret")
  (tmp_path / "report").mkdir()
  page = pages.page("![x](../secret.svg)", "t", tmp_path / "report")
  assert not Reader(page).all("img")


@pytest.mark.parametrize(
  "address",
  [
    "https://a.b/docs/x.md",
    "javascript:docs/x.md",
    "//a.b/docs/x.md",
    "x.html",
  ],
)
def test_only_pages_of_documentation_are_linked(address):
  assert not Reader(pages.page(f"[x](<{address}>)", "t")).all("a")
  found = Reader(pages.page("[x](<../docs/evaluation.md>)", "t")).all("a")
  assert found == [{"href": "../docs/evaluation.md"}]


@pytest.mark.parametrize(("sections", "folded"), [(12, 0), (13, 1)])
def test_many_sections_are_folded(sections, folded):
  text = "# Report\n\n" + "## One of them\n\n" * sections
  reader = Reader(pages.page(text, "t"))
  assert len(reader.all("details")) == folded
  assert reader.text.count("13 sections") == folded
  assert len(reader.all("a")) == sections
