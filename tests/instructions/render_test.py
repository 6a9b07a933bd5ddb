"""Slots are filled as they are; queries and optional parts are chosen."""

import pytest

from instructrec.instructions import render, templates
from instructrec.instructions.format import TaskForm

SHIPPED = templates.load()
SLOTS = render.Slots(
  history=["H one", "H two", "H three"],
  recent=["H two", "H three"],
  preference="Likes PPP.",
  own_preference="I like QQQ.",
  vague="I want VVV.",
  specific="Seeking SSS.",
  item="III",
  first="C one",
  second="C two",
  candidates=["C one", "C two"],
  target="C one",
  answer="Yes",
)
GIVEN = {
  "history": '"H one"; "H two"; "H three"',
  "preference": "Likes PPP.",
  "own_preference": "I like QQQ.",
  "vague": "I want VVV.",
  "specific": "Seeking SSS.",
  "item": '"III"',
  "first": '"C one"',
  "second": '"C two"',
  "candidates": '"C one"; "C two"',
  "target": '"C one"',
}
ASKED = {
  **{name: GIVEN[name] for name in ("preference", "vague", "specific")},
  "history": '"H two"; "H three"',
  "target": "C one",
  "answer": "Yes",
}


def forms(template):
  return [
    render.Form(template, query=query, optional=optional)
    for query in template.query or (None,)
    for optional in (False, True)
  ]


@pytest.mark.parametrize(
  "template", SHIPPED.templates, ids=lambda template: template.id
)
def test_every_form_says_each_of_its_slots_once_and_no_other(template):
  for form in forms(template):
    text, response = form.inputs(SLOTS), form.targets(SLOTS)
    for name, words in GIVEN.items():
      if name == "target" and template.form in (TaskForm.T1, TaskForm.T3):
        continue  # One of the choices.
      if name in ("first", "second") and name not in form.input_slots:
        continue  # The same titles as the candidates'.
      assert text.count(words) == (name in form.input_slots), (form, name)
    for name, words in ASKED.items():
      assert response.count(words) == (name in form.response_slots)
    for part in ("{", "}", "[[", "]]", "  ", ".."):
      assert part not in text
      assert part not in response


@pytest.mark.parametrize(
  "template", SHIPPED.templates, ids=lambda template: template.id
)
def test_a_prompt_has_a_mark_in_place_of_the_history(template):
  for form in forms(template):
    text, prompt = form.inputs(SLOTS), form.prompt(SLOTS)
    assert prompt.count(render.HISTORY_MARK) == ("history" in form.input_slots)
    assert prompt.replace(render.HISTORY_MARK, GIVEN["history"]) == text


def test_an_optional_part_is_kept_or_left_out():
  template = SHIPPED["seq_common_ground"]
  without, kept = forms(template)
  assert "A hint:" not in without.inputs(SLOTS)
  assert without.inputs(SLOTS) + " A hint: Likes PPP." == kept.inputs(SLOTS)
  assert (without.preference, kept.preference) == ("P1", "P1+P2")


@pytest.mark.parametrize(
  ("query", "optional", "words", "labels"),
  [
    ("P2", False, "I like QQQ.", ("P1+P2", "I0")),
    # The taste that stands as the query is not told again.
    ("P2", True, "I like QQQ.", ("P1+P2", "I0")),
    ("I1", False, "I want VVV.", ("P1", "I1")),
    ("I1", True, "I want VVV.", ("P1+P2", "I1")),
    ("I2", False, "Seeking SSS.", ("P1", "I2")),
  ],
)
def test_a_query_is_what_was_drawn(query, optional, words, labels):
  template = SHIPPED["personal_wants_to_buy"]
  form = render.Form(template, query=query, optional=optional)
  text = form.inputs(SLOTS)
  assert f"searched: {words} They own" in text
  assert ("Likes PPP." in text) == (optional and query != "P2")
  assert (form.preference, form.intention) == labels


def test_an_optional_query_stands_beside_another():
  template = SHIPPED["personal_estimate_history"]
  form = render.Form(template, query="I1", optional=True)
  assert form.intention == "I1+I2"
  text = form.inputs(SLOTS)
  assert text.index("I want VVV.") < text.index("Seeking SSS.")


@pytest.mark.parametrize(
  ("name", "query"),
  [
    ("seq_next_item", "I1"),
    ("search_engine", None),
    ("personal_write_query", "P2"),
  ],
)
def test_a_query_that_the_template_lacks_is_refused(name, query):
  with pytest.raises(ValueError, match=f"{name} cannot take {query}"):
    render.Form(SHIPPED[name], query=query)


def test_slot_texts_are_not_read_as_templates():
  form = render.Form(SHIPPED["seq_next_item"])
  slots = render.Slots(
    history=["{preference} {0}", 'a "b"', "[[c]]"], target="{history} %s"
  )
  assert 'first: "{preference} {0}"; "a \'b\'"; "[[c]]". Name' in form.inputs(
    slots
  )
  assert form.targets(slots) == "{history} %s"


@pytest.mark.parametrize("history", [None, []])
def test_an_empty_slot_is_named(history):
  form = render.Form(SHIPPED["seq_next_item"])
  with pytest.raises(
    ValueError, match=r"seq_next_item has the slot \{history\}, but this"
  ):
    form.inputs(render.Slots(history=history))
  with pytest.raises(ValueError, match=r"slot \{target\}, but this"):
    form.targets(render.Slots(history=["H"]))


def test_titles_are_joined_unambiguously():
  assert render.join_titles(['He said "go"; now', "b"]) == (
    '"He said \'go\'; now"; "b"'
  )
