"""Constraints are said in words that are read as the same."""

import dataclasses
import itertools

import pytest

from instructrec.serving import constraints
from instructrec.serving.messages import Message


@pytest.mark.parametrize("name", ["shop", "toys", "films"])
def test_constraints_said_anew_are_read_as_they_are(name, request):
  conversations = request.getfixturevalue(name)
  every = conversations.shelf.attributes.attributes
  for one, other in itertools.pairwise(every):
    asked = [
      constraints.Constraint(constraints.Kind.WANTED, one),
      constraints.Constraint(constraints.Kind.UNWANTED, other),
    ]
    text = constraints.spoken(asked)
    read = conversations.wishes.read(text)
    assert conversations.shelf.of_reading(read) == asked, text
    asked[0] = dataclasses.replace(asked[0], kind=constraints.Kind.AMONG)
    text = constraints.spoken(asked)
    state = conversations.read([Message("user", text)])
    assert list(state.kept) == asked, text
    assert state.wish == text
