"""Settings refuse what makes no sense, from Python as from the command line."""

import pathlib

import pytest

from instructrec.settings import evaluation, option, preparation, retrieval

_HERE = pathlib.Path("somewhere")


@pytest.mark.parametrize(
  ("given", "message"),
  [
    ({"num_requests": 0}, "num_requests is 0, expected 1 or more"),
    ({"seed": -1}, "seed is -1, expected 0 or more"),
    ({"seed": 2**63}, r"seed is 9223372036854775808, expected less than 2\^63"),
    ({"num_exact": 5}, "and there are none; pass --num_beams as well"),
    ({"protocols": ()}, "no protocol"),
    ({"protocols": ("knockout",)}, r"unknown protocols \['knockout'\]"),
    ({"split": "validation", "num_validation": 9}, "requests that are evalua"),
  ],
)
def test_an_evaluation_of_nonsense_is_refused(given, message):
  with pytest.raises(ValueError, match=message):
    evaluation.EvaluationSettings(model_dir=_HERE, **given)


def test_weights_are_fitted_on_a_thousand_requests_that_are_not_ranked():
  def count(**given):
    settings = evaluation.EvaluationSettings(model_dir=_HERE, **given)
    return settings.num_fitted_on

  assert count() == 1000
  assert count(num_validation=3) == 3
  assert count(num_validation=0) == 0
  assert count(split="validation") == 0


def test_an_order_of_candidates_has_a_seed_each():
  settings = evaluation.EvaluationSettings(
    model_dir=_HERE, seed=7, num_orders=3
  )
  assert list(settings.orders) == [7, 8, 9]


def test_a_chat_server_needs_a_model():
  with pytest.raises(ValueError, match="pass --chat_model as well"):
    evaluation.ChatSettings(base_url="http://127.0.0.1:9/v1")


def test_a_run_alone_is_evaluated_and_nothing_is_not():
  where = {"data": _HERE, "output": _HERE}
  found = retrieval.RetrieverEvaluationSettings(**where, model_dirs=(_HERE,))
  assert found.retrievers == ()
  with pytest.raises(ValueError, match=r"--retriever .* or --model_dir"):
    retrieval.RetrieverEvaluationSettings(**where)


@pytest.mark.parametrize(
  ("given", "message"),
  [
    (
      {"source": "synthetic", "input": _HERE, "reviews": _HERE},
      "source synthetic does not read --input and --reviews",
    ),
    (
      {"source": "movielens", "input": _HERE, "items": _HERE},
      "source movielens does not read --items",
    ),
    (
      {"source": "amazon", "input": _HERE, "items": _HERE, "reviews": _HERE},
      "source amazon does not read --reviews",
    ),
    (
      {"source": "movielens", "input": _HERE, "columns": {"a": "b"}},
      "--column and --no_header are of --source=table",
    ),
    ({"download": "ml-1m", "items": _HERE}, "ml-1m brings its own files"),
    ({"download": "ml-1m", "columns": {"a": "b"}}, "brings its own files"),
  ],
)
def test_files_that_a_source_does_not_read_are_refused(given, message):
  with pytest.raises(ValueError, match=message):
    option.make(preparation.SourceSettings, **given)


def test_users_are_drawn_or_given():
  with pytest.raises(ValueError, match="pass one of them"):
    retrieval.RetrieverEvaluationSettings(
      data=_HERE,
      retrievers=(_HERE,),
      output=_HERE,
      candidates=(_HERE,),
      num_requests=5,
    )


def test_a_field_without_an_option_is_none_of_the_command_line():
  found = option.of(retrieval.FitSettings)
  assert "settings" not in found
  assert found["num_validation"] == option.Option(
    "Validation requests that stop training and choose.", least=1
  )
