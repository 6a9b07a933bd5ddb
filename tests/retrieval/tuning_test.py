"""The same budget for every method."""

import pytest

from instructrec.retrieval import evaluate, methods, tuning


@pytest.mark.parametrize(
  "name", [n for n, method in methods.METHODS.items() if method.space]
)
def test_every_method_gets_as_many_trials_the_defaults_first(name):
  found = tuning.choices(name, 6, seed=1, given={})
  assert len(found) == 6
  assert len({tuple(sorted(chosen.items())) for chosen in found}) == 6
  defaults = methods.settings(name)
  assert found[0] == {key: defaults[key] for key in found[0]}
  space = methods.METHODS[name].space
  assert all(chosen[key] in space[key] for chosen in found for key in chosen)
  assert tuning.choices(name, 6, seed=1, given={}) == found
  assert tuning.choices(name, 6, seed=2, given={}) != found
  # More trials go on where fewer stop.
  assert tuning.choices(name, 3, seed=1, given={}) == found[:3]


@pytest.mark.parametrize("name", ["random", "popularity"])
def test_methods_without_a_choice_have_one_trial(name):
  assert tuning.choices(name, 6, seed=1, given={}) == [{}]


def test_what_is_given_is_in_every_trial():
  found = tuning.choices("bm25", 99, seed=0, given={"k1": 0.1})
  assert {chosen["k1"] for chosen in found} == {0.1}
  space = methods.METHODS["bm25"].space
  assert len(found) == len(space["b"]) * len(space["max_history"])


def test_the_best_trial_on_validation_is_kept(shop):
  best, trials = tuning.tune(
    "itemknn",
    shop.training_log,
    shop.items,
    shop.validation,
    num_trials=5,
    seed=3,
  )
  scores = [trial.ndcg_at_10 for trial in trials]
  assert len(set(scores)) > 1
  assert evaluate.ndcg_at_10(best, shop.validation) == max(scores)
  again = methods.create("itemknn", trials[2].settings)
  again.fit(shop.training_log, shop.items)
  assert evaluate.ndcg_at_10(again, shop.validation) == scores[2]
  assert [trial.epochs for trial in trials] == [None] * 5


def test_every_trial_has_the_same_epochs_at_most(shop):
  _, trials = tuning.tune(
    "sasrec",
    shop.training_log,
    shop.items,
    shop.validation[:20],
    num_trials=2,
    given={"max_epochs": 1, "emb_dim": 8, "num_layers": 1, "max_length": 3},
  )
  assert [trial.epochs for trial in trials] == [1, 1]
  assert trials[0].settings != trials[1].settings


def test_a_search_without_trials_or_validation_is_refused(shop):
  with pytest.raises(ValueError, match="num_trials is 0"):
    tuning.choices("bm25", 0, seed=0, given={})
  with pytest.raises(ValueError, match="no setting"):
    tuning.choices("bm25", 1, seed=0, given={"k2": 3})
  with pytest.raises(ValueError, match="no validation requests"):
    tuning.tune("random", shop.training_log, shop.items, [])
