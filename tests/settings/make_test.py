"""Settings are made of plain values."""

import dataclasses
import pathlib

import pytest

from instructrec.settings import evaluation, generation, option, preparation

_PATH = pathlib.Path("somewhere")


def test_plain_values_become_those_of_the_fields():
  found = option.make(
    preparation.PrepareSettings,
    source="table",
    input="orders.csv",
    items=_PATH,
    no_header="items",
    output="somewhere",
    split="global_time",
    vocabulary=None,
    seed=3,
  )
  assert found == preparation.PrepareSettings(
    raw=preparation.SourceSettings(
      source=preparation.Source.table,
      input=pathlib.Path("orders.csv"),
      items=_PATH,
      no_header=(preparation.Table.items,),
    ),
    output=_PATH,
    split=preparation.SplitName.global_time,
    seed=3,
  )
  assert isinstance(found.raw.no_header[0], preparation.Table)


def test_fields_of_an_inner_class_are_called_as_its_options():
  found = option.make(
    evaluation.EvaluationSettings,
    model_dir="somewhere",
    chat_model="m",
    task_types=["a", "b"],
  )
  assert found.chat == evaluation.ChatSettings(model="m")
  assert found.task_types == ("a", "b")
  whole = option.make(
    evaluation.EvaluationSettings,
    model_dir="somewhere",
    chat=evaluation.ChatSettings(model="m"),
  )
  assert whole == dataclasses.replace(found, task_types=())


@pytest.mark.parametrize(
  ("given", "kind", "message"),
  [
    ({"num_reqests": 3}, TypeError, "the nearest is 'num_requests'"),
    ({"model": "m"}, TypeError, "no setting 'model'"),
    ({"num_requests": 0}, ValueError, "num_requests is 0"),
  ],
)
def test_what_does_not_fit_is_named(given, kind, message):
  with pytest.raises(kind, match=message):
    option.make(evaluation.EvaluationSettings, model_dir="x", **given)


def test_a_value_that_is_none_of_several_is_refused():
  with pytest.raises(
    ValueError, match="'loose', expected one of stated, strict"
  ):
    option.make(
      generation.GenerationSettings, data="a", output="b", protocol="loose"
    )


@pytest.mark.parametrize("given", [{"runner": "beam"}, {"num_workers": 2}])
def test_a_chat_teacher_works_in_one_process(given):
  with pytest.raises(ValueError, match="the chat teacher works in one process"):
    option.make(
      generation.GenerationSettings,
      data="a",
      output="b",
      teacher="chat",
      teacher_model="m",
      **given,
    )


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ({"teacher_model": "m"}, "the offline teacher asks no server"),
    ({"teacher_base_url": "http://a"}, "the offline teacher asks no server"),
    ({"beam_options": ("--x",)}, "--beam_option=--x is read by --runner=beam"),
    ({"kinds": ("control",)}, "--retriever is None, but the kinds are control"),
  ],
)
def test_what_nothing_would_read_is_refused(given, message):
  with pytest.raises(ValueError, match=message):
    option.make(generation.GenerationSettings, data="a", output="b", **given)


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ({"frames": {"items": 1}}, "table needs --input and --items"),
    ({"frames": {"itms": 1}}, r"unknown tables \['itms'\]"),
    ({"input": "a", "frames": {"interactions": 1}}, "pass one of them"),
    ({"source": "movielens", "frames": {"items": 1}}, "reads files"),
  ],
)
def test_tables_in_memory_stand_in_for_files(given, message):
  with pytest.raises(ValueError, match=message):
    option.make(preparation.SourceSettings, **{"source": "table", **given})
