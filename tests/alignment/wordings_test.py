"""Wordings of control tasks: their schema, and what they say."""

import importlib.resources

import pytest
import yaml

from instructrec.alignment import wordings
from instructrec.alignment.constraint import Constraint
from instructrec.instructions import domains
from instructrec.instructions.templates import TemplateError

OWN = (
  importlib.resources.files("instructrec.alignment")
  / "templates"
  / "control.yaml"
)


def write(path, change):
  data = yaml.safe_load(OWN.read_text())
  change(data)
  path.write_text(yaml.safe_dump(data))
  return path


@pytest.mark.parametrize("domain", domains.Domain)
def test_wordings_speak_of_what_the_items_are(domain):
  words = wordings.Wordings(domain)
  watched = domain is domains.Domain.FILMS
  for wording in words.wordings:
    assert not (watched and "bought" in wording.inputs), wording.inputs
    assert not (watched and "shopper" in wording.inputs), wording.inputs
  assert words.items(1) == ("1 film" if watched else words.items(1))
  nineties = Constraint.parse("wanted decade:1990s")
  many = words.items(2).removeprefix("2 ")
  assert words.phrase(nineties) == f"{many} from the 1990s"


def test_what_fills_a_slot_is_not_read_as_a_template():
  words = wordings.Wordings()
  (wording, *_) = words.of(
    wordings.ControlTask.WANTED, held_out=False, direction=None
  )
  slots = {"wanted": "items by {k}", "items": "3 items"}
  inputs, prompt = wordings.filled(wording, slots, '"{history}"')
  assert '"{history}" and says: I like items by {k}.' in inputs
  assert "[history]" in prompt
  assert prompt.replace("[history]", '"{history}"') == inputs


def _add(**changes):
  def change(data):
    data["templates"].append(
      {
        "id": "control_mine",
        "task": "wanted",
        "inputs": "{history}: {wanted}, {items}",
        **changes,
      }
    )

  return change


def _drop_held_out(data):
  data["templates"] = [
    entry
    for entry in data["templates"]
    if entry["id"] != "control_about_more_or_less"
  ]


PROBLEMS = {
  "slots": (_add(inputs="{history} and {wanted}, please"), "have the slots"),
  "direction": (_add(direction="about"), "other tasks none"),
  "no_number": (
    _add(task="proportion", inputs="{history} {items} {what} {amount}"),
    "proportion has one of",
  ),
  "twice": (_add(id="control_wanted_like"), "used more than once"),
  "field": (_add(heldout=True), "heldout"),
  "phrase": (
    lambda data: data["phrases"].update(brand="by {nam}"),
    "phrase of brand",
  ),
  "no_held_out": (_drop_held_out, "about, has no wording with held_out: true"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_mistakes_in_a_file_are_named(tmp_path, problem):
  change, message = PROBLEMS[problem]
  path = write(tmp_path / "mine.yaml", change)
  with pytest.raises(TemplateError, match=message) as error:
    wordings.Wordings(path=path)
  assert "mine.yaml" in str(error.value)


def test_an_added_wording_is_drawn_from(tmp_path):
  path = write(tmp_path / "mine.yaml", _add())
  found = wordings.Wordings(path=path).of(
    wordings.ControlTask.WANTED, held_out=False, direction=None
  )
  assert found[-1].id == "control_mine"
