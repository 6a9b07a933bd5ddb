"""The shipped templates have the paper's structure; mistakes get names."""

import collections
import re

import pytest

from instructrec.instructions import mixtures, templates
from instructrec.instructions.format import Kind, TaskForm, TaskType

_SLOTS = {
  "H": "history",
  "P": "preference",
  "V": "vague",
  "S": "specific",
  "Q": "query",
  "I": "item",
  "C": "candidates",
  "X": "target",
  "Y": "answer",
}
# The appendix of the InstructRec paper, its 39 templates: number, form, what
# goes in (optional in brackets; what Q may be behind it), what comes out, in
# order. A11 and A12 are printed as T1 and are worded as T0. A9 and A13 print
# a preference under a label that makes it optional.
_PAPER = """
A1 direct T2: H -> X
A2 direct T2: P H -> X
A3 cot T2: H -> P X
A4 direct T2: H [P] -> X
A5 direct T2: H [P] -> X
A6 direct T2: H [P] -> X
A7 direct T3: H [P] C -> X
A8 direct T3: H [P] C -> X
A9 direct T3: P H C -> X
A10 direct T3: H [P] C -> X
A11 direct T0: H [P] I -> Y
A12 direct T0: H [P] I -> Y
A13 direct T3: H [P] C -> X
A14 turned_around T2: H -> P
A15 turned_around T2: H -> P
A16 direct T2: P -> X
A17 direct T2: P -> X
B1 direct T2: Q=P2/I1/I2 -> X
B2 direct T2: S -> X
B3 direct T2: S -> X
B4 direct T2: Q=P2/I1/I2 -> X
B5 turned_around T2: X -> S
B6 turned_around T2: X -> S
B7 direct T3: Q=P2/I1/I2 C -> X
B8 direct T3: Q=P2/I1/I2 C -> X
B9 direct T3: Q=P2/I1/I2 C -> X
C1 direct T2: H P -> X
C2 direct T2: H V -> X
C3 direct T2: H V -> X
C4 direct T2: S H -> X
C5 turned_around T2: H X -> Q=I1/I2
C6 turned_around T2: H X -> P
C7 relatedness T2: Q=P2/I1 [S] X -> H
C8 relatedness T2: H -> Q=I1/I2 X
C9 turned_around T2: Q=P2/I1 -> H X
C10 direct T3: Q=P2/I1/I2 H [P] C -> X
C11 direct T3: Q=P2/I1/I2 H [P] C -> X
C12 direct T3: H [P] Q=P2/I1/I2 C -> X
C13 direct T3: H [P] Q=P2/I1/I2 C -> X
"""
_GROUPS = {
  "A": TaskType.SEQUENTIAL,
  "B": TaskType.PRODUCT_SEARCH,
  "C": TaskType.PERSONALIZED_SEARCH,
}


def _rows():
  for line in _PAPER.strip().splitlines():
    head, rest = line.split(": ")
    yield (*head.split(), *(side.split() for side in rest.split(" -> ")))


@pytest.fixture(scope="module")
def shipped():
  return templates.load()


def test_the_paper_has_17_9_and_13_templates_and_each_is_there_once(shipped):
  numbers = [t.paper for t in shipped.templates if t.paper]
  expected = [
    f"{group}{number}"
    for group, count in {"A": 17, "B": 9, "C": 13}.items()
    for number in range(1, count + 1)
  ]
  assert sorted(numbers) == sorted(expected)
  assert sorted(row[0] for row in _rows()) == sorted(expected)


@pytest.mark.parametrize("row", list(_rows()), ids=lambda row: row[0])
def test_each_has_the_papers_structure(shipped, row):
  number, kind, form, given, asked = row
  (found,) = (t for t in shipped.templates if t.paper == number)
  assert (found.kind, found.form) == (kind, form)
  assert found.task is _GROUPS[number[0]]
  assert not found.held_out
  queries = [s.split("=")[1] for s in (*given, *asked) if s.startswith("Q=")]
  assert found.query == (tuple(queries[0].split("/")) if queries else ())
  required = {_SLOTS[s[0]] for s in given if s[0] != "["}
  optional = {_SLOTS[s[1]] for s in given if s[0] == "["}
  assert set(found.required) == required
  assert set(found.optional) == optional
  assert found.asked == tuple(_SLOTS[s[0]] for s in asked)


@pytest.mark.parametrize("task", TaskType)
def test_each_task_type_holds_wordings_out(shipped, task):
  held = shipped.of(task=task, held_out=True)
  assert {template.form for template in held} == {TaskForm.T2, TaskForm.T3}
  for template in held:
    assert template.paper is None
    assert template.kind is Kind.DIRECT


def test_pairs_are_an_extra_group_of_every_task_type(shipped):
  pairs = shipped.of(form=TaskForm.T1)
  assert {template.task for template in pairs} == set(TaskType)
  for template in pairs:
    assert template.paper is None
    assert template.kind is Kind.PAIRWISE
    assert {"first", "second"} <= set(template.required)


def test_a_template_without_a_number_enters_mixtures_by_its_entry(tmp_path):
  """It leaves the paper's mixture as it was."""
  path = tmp_path / "mine.yaml"
  path.write_text(GOOD.replace("    paper: A4\n", ""))
  own = templates.load([path]).templates
  shipped = templates.load()
  before = mixtures.mixtures(shipped)
  after = mixtures.mixtures(templates.TemplateSet((*shipped.templates, *own)))
  # Half of its rows keep the optional part.
  for name, added in (("sequential_p1_i0", 0.5), ("sequential_p1p2_i0", 0.5)):
    for mixture in ("_all", "_direct", "_matching"):
      gain = after[mixture][name] - before[mixture][name]
      assert gain == pytest.approx(added)
  assert after[""] == before[""]


def test_no_two_templates_share_their_wording(shipped):
  bare = [re.findall(r"\w+", t.inputs.casefold()) for t in shipped.templates]
  # Not even a run of eight words.
  runs = collections.Counter(
    run
    for words in bare
    for run in {tuple(words[i : i + 8]) for i in range(max(1, len(words) - 7))}
  )
  assert runs.most_common(1)[0][1] == 1, runs.most_common(3)


def test_the_shipped_templates_are_clean_and_the_set_is_asked_by_name(shipped):
  assert shipped["seq_next_item"].paper == "A1"
  with pytest.raises(KeyError, match="did you mean 'seq_next_item'"):
    shipped["seq_next_itm"]
  by_form = [shipped.of(form=form) for form in TaskForm]
  assert sum(map(len, by_form)) == len(shipped) == len(shipped.templates)


GOOD = """
templates:
  - id: one
    paper: A4
    task: sequential
    preference: [P1]
    intention: I0
    form: T2
    inputs: "They bought {history}.[[ Taste: {preference}]] What comes next?"
"""


def test_a_right_entry_has_no_problems(tmp_path):
  path = tmp_path / "mine.yaml"
  path.write_text(GOOD)
  (found,), problems = templates.lint([path])
  assert not problems
  assert found.parts == (
    (("They bought ", "history"), (".", None)),
    ((" Taste: ", "preference"),),
    ((" What comes next?", None),),
  )
  assert found.response == (("", "target"),)
  assert (found.required, found.optional) == (("history",), ("preference",))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    # Slots.
    (
      ("{history}", "{histroy}"),
      r"unknown slot \{histroy\} \(did you mean \{history\}\?\)",
    ),
    (("{history}", "{qzx}"), r"unknown slot \{qzx\}; slots are"),
    (("{history}", "{}"), r"unknown slot \{\}"),
    (("{history}", "{history.title}"), r"unknown slot \{history\.title\}"),
    (
      ("{history}", "{history:>9}"),
      r"is written \{history:>9\}; write \{history\}",
    ),
    (
      ("{history}", "{history!r}"),
      r"is written \{history!r\}; write \{history\}",
    ),
    (("{history}", "{history"), "expected '}'"),
    (("{history}", "history}"), "Single '}'"),
    (("{history}", "things"), r"slots \['history'\] are missing"),
    (("comes", "{item} comes"), r"slots \['item'\] do not go with"),
    (("comes", "{target} comes"), r"\['target'\] occur more than once"),
    (("comes", "{history} comes"), r"\['history'\] occur more than once"),
    (("{preference}", "{history}"), r"\['history'\] occur more than once"),
    # Optional parts.
    (("Taste: {preference}", "Taste."), r"an optional part \[\[ \]\] without"),
    (
      ("Taste: {preference}", "Next to {candidates}"),
      r"slots \['candidates'\] cannot be optional",
    ),
    (("]] What", " What"), r"\[\[ or \]\] without its other half"),
    ((".[[ Taste", ". Taste"), r"\[\[ or \]\] without its other half"),
    # Labels.
    (("[P1]", "[P1, P2]"), r"slots \['preference'\] are missing"),
    (("I0", "I1"), r"slots \['vague'\] are missing"),
    (("I0", "I2"), r"slots \['specific'\] are missing"),
    (("form: T2", "form: T3"), r"slots \['candidates'\] are missing"),
    (("form: T2", "form: T0"), r"slots \['item'\] are missing"),
    (("form: T2", "form: T9"), r"form: Input should be 'T0', 'T1', 'T2' or"),
    (("form: T2", "form: T1"), "form T1 and kind pairwise go together"),
    (
      ("    form", "    kind: pairwise\n    form"),
      "form T1 and kind pairwise go together",
    ),
    (("    form", "    kind: odd\n    form"), "kind: Input should be 'direct'"),
    (("[P1]", "[P0, P1]"), "P0 .* stands alone"),
    (("[P1]", "[]"), "preference: Tuple should have at least 1 item"),
    (("[P1]", "[P7]"), r"preference\.0: Input should be 'P0'"),
    (
      ("paper: A4\n    task: sequential", "task: product_search"),
      "cannot have P1",
    ),
    (("task: sequential", "task: shopping"), "task: Input should be"),
    (("A4", "B4"), "template B4 of the paper is of task product_search, not"),
    (("A4", "A40"), "the InstructRec paper has no template A40"),
    (("A4", "four"), "paper: String should match"),
    # The response.
    (
      ("    form", "    query: [I1]\n    form"),
      "slot {query} and the list `query` go together",
    ),
    (("comes", "{query} comes"), "slot {query} and the list `query` go"),
    (
      ("    form", "    query: [I9]\n    form"),
      r"query\.0: Input should be 'P2', 'I1' or 'I2'",
    ),
    (
      ("    form", '    targets: "{answer}"\n    form'),
      "{answer} is for form T0; name {target}",
    ),
    (
      ("    form", '    targets: "It is {target}"\n    form'),
      "a template of kind direct has no targets of its own",
    ),
    (
      ("    form", '    kind: relatedness\n    targets: "Yes"\n    form'),
      "the targets have no slot",
    ),
    (
      (
        "    form",
        '    kind: turned_around\n    targets: "[[{specific}]]"\n    form',
      ),
      "the targets have no optional parts",
    ),
    (
      (
        "    form",
        '    kind: cot\n    targets: "{target}: {specific}"\n    form',
      ),
      "the response of kind cot ends with {target}",
    ),
    # Keys and values.
    (("id: one", "id: One!"), "id: String should match"),
    (("  - id: one\n    paper", "  - paper"), "id: Field required"),
    (("    form", "    colour: red\n    form"), "colour: Extra inputs"),
    (
      (
        "They bought {history}.[[ Taste: {preference}]] What comes",
        "{history}",
      ),
      "inputs: String should have at least 20",
    ),
    (("    form", "    held_out: sometimes\n    form"), "held_out: Input"),
  ],
)
def test_problems_name_file_template_and_what_is_wrong(
  tmp_path, change, message
):
  path = tmp_path / "mine.yaml"
  assert change[0] in GOOD
  wrong = GOOD.replace(*change, 1)
  path.write_text(wrong)
  with pytest.raises(templates.TemplateError, match=message) as caught:
    templates.load([path])
  name = "one" if "id: one" in wrong else "(One!|number 1)"
  assert re.search(rf"mine\.yaml: template {name}: ", str(caught.value))


def test_no_response_of_form_t0_but_yes_or_no(tmp_path):
  path = tmp_path / "mine.yaml"
  path.write_text(
    GOOD.replace("form: T2", 'form: T0\n    targets: "{target}"').replace(
      "comes next?", "about {item}?"
    )
  )
  with pytest.raises(templates.TemplateError, match=r"T0 is {answer} alone"):
    templates.load([path])


def test_all_problems_are_listed_at_once(tmp_path):
  first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
  entry = GOOD.split("templates:\n")[1]
  first.write_text(
    GOOD + entry + entry.replace("one", "two") + "  - 3\n" + "  - id: four\n"
  )
  second.write_text("templates: 3")
  third = tmp_path / "c.yaml"
  third.write_text("templates: [")
  fourth = tmp_path / "d.yaml"
  fourth.write_text(GOOD.replace("A4", "A5"))
  found, problems = templates.lint([first, second, third, fourth])
  assert [template.id for template in found] == ["one"]
  text = "\n".join(problems)
  assert "a.yaml: template one: id already used in a.yaml" in text
  assert "a.yaml: template two: paper: A4 is already template one" in text
  assert "a.yaml: template number 4: template: Input should be" in text
  assert text.count("a.yaml: template four: ") >= 4
  assert "b.yaml: expected a mapping with the list `templates`" in text
  assert "c.yaml: not YAML" in text
  assert "d.yaml: template one: id already used in a.yaml" in text
  with pytest.raises(templates.TemplateError) as caught:
    templates.load([first, second, third, fourth])
  assert all(problem in str(caught.value) for problem in problems)


def test_no_templates_at_all_is_an_error(tmp_path):
  path = tmp_path / "none.yaml"
  path.write_text("templates: []")
  with pytest.raises(templates.TemplateError, match="there are none"):
    templates.load([path])
