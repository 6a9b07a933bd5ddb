import textwrap

import pytest

from instructrec.instructions import render, templates
from instructrec.instructions.format import TaskForm, TaskType

GOOD = """
templates:
  - id: one
    task: sequential
    preference: [P1]
    intention: I0
    form: T2
    inputs: "They bought {history}. What is next for them?"
"""


@pytest.fixture(scope="module")
def shipped():
  return templates.load()


def test_three_task_types_have_three_forms_each(shipped):
  assert len(shipped) >= 8
  for task in TaskType:
    for form in (TaskForm.T0, TaskForm.T2, TaskForm.T3):
      assert shipped.of(task=task, form=form, held_out=False)
    assert shipped.of(task=task, held_out=True)


def test_every_template_renders_each_slot_once(shipped):
  slots = render.Slots(
    history=["H one", "H two"],
    preference="Likes PPP.",
    intention="Wants III.",
    item="XXX",
    candidates=["C one", "C two"],
  )
  texts = {
    "history": '"H one"; "H two"',
    "preference": "Likes PPP.",
    "intention": "Wants III.",
    "item": '"XXX"',
    "candidates": '"C one"; "C two"',
  }
  for template in shipped.templates:
    text = render.render(template, slots)
    for name, expected in texts.items():
      assert text.count(expected) == (name in template.slots), template.id
    assert "{" not in text


def test_wordings_differ(shipped):
  wordings = [template.inputs for template in shipped.templates]
  assert len(set(wordings)) == len(wordings)


def test_slot_texts_are_not_read_as_templates(shipped):
  template = shipped["seq_next_item"]
  text = render.render(
    template, render.Slots(history=["{preference} {0}", 'a "b"'])
  )
  assert '"{preference} {0}"; "a \'b\'"' in text


def test_an_empty_slot_is_named(shipped):
  with pytest.raises(ValueError, match=r"slot \{history\}, but this request"):
    render.render(shipped["seq_next_item"], render.Slots(history=[]))


def test_unknown_ids_name_the_nearest(shipped):
  with pytest.raises(KeyError, match="did you mean 'seq_next_item'"):
    shipped["seq_next_itm"]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (("{history}", "{histroy}"), r"unknown slot \{histroy\} \(did you mean"),
    (("{history}", "things"), r"slots \['history'\] are missing"),
    (("next for", "next {item} for"), r"slots \['item'\] do not go with"),
    (("next for", "next {history} for"), r"occur more than once"),
    (("form: T2", "form: T9"), "form: "),
    (("form: T2", "form: T1"), "no renderer"),
    (("[P1]", "[P0, P1]"), "P0 .* stands alone"),
    (("sequential", "product_search"), "cannot have P1"),
    (("id: one", "id: One!"), "id: "),
    (("    form", "    colour: red\n    form"), "colour: Extra inputs"),
  ],
)
def test_problems_name_file_template_and_field(tmp_path, change, message):
  path = tmp_path / "mine.yaml"
  path.write_text(GOOD.replace(*change))
  with pytest.raises(templates.TemplateError, match=message) as caught:
    templates.load([path])
  assert "mine.yaml: template" in str(caught.value)


def test_all_problems_are_listed_at_once(tmp_path):
  first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
  first.write_text(GOOD + GOOD.split("templates:\n")[1])
  second.write_text("templates: 3")
  third = tmp_path / "c.yaml"
  third.write_text("templates: [")
  found, problems = templates.lint([first, second, third])
  assert [template.id for template in found] == ["one"]
  assert "id already used in a.yaml" in problems[0]
  assert "expected a mapping with the list `templates`" in problems[1]
  assert "not YAML" in problems[2]


def test_no_templates_at_all_is_an_error(tmp_path):
  path = tmp_path / "none.yaml"
  path.write_text(textwrap.dedent("templates: []"))
  with pytest.raises(templates.TemplateError, match="there are none"):
    templates.load([path])
