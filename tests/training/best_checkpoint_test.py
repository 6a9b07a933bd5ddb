"""The best checkpoint stays, and a run without a gain ends early."""

import contextlib
import dataclasses

import copy_run
import pytest

from instructrec.training import (
  checkpoints,
  distributed,
  runner,
  validation,
)
from instructrec.training import (
  trainer as trainer_lib,
)


class _Killed(Exception):
  """What was not saved is lost."""


_FORETOLD = {2: 0.9, 4: 0.5, 6: 0.7, 8: 0.6, 10: 0.55, 12: 0.8, 14: 0.4}
"""Losses of validation by step: the best is 4 for long, and 14 at last."""


_COMMON = {
  "steps": 14,
  "eval_period": 2,
  "checkpoint_period": 5,
  "keep_checkpoints": 1,
  "best_metric": "loss",
}


@pytest.fixture(scope="module", name="made")
def made_fixture():
  """What all runs here train with; compiled once."""
  batch = copy_run.stream(pack=True).batch(0)
  return trainer_lib.Trainer.create(
    copy_run.train_config(**_COMMON),
    {name: x.shape for name, x in batch.items()},
  )


@pytest.fixture
def foretold(made, monkeypatch):
  """Trains runs whose validation says what is foretold."""
  note = validation.Validation.note
  monkeypatch.setattr(validation.Validation, "__call__", lambda *_: {"loss": 0})
  monkeypatch.setattr(
    validation.Validation,
    "note",
    lambda self, step, values: note(self, step, {"loss": _FORETOLD[step]}),
  )

  def train(folder, **changes):
    config = copy_run.train_config(**{**_COMMON, **changes})
    trainer = dataclasses.replace(made, config=config)
    trainer.__dict__["step_fn"] = made.step_fn
    monkeypatch.setattr(trainer_lib.Trainer, "create", lambda *_: trainer)
    source, validated = copy_run.stream(pack=True), copy_run.stream(seed=1)
    return runner.train(config, source, validated, folder)

  return train


def kept(folder):
  store = checkpoints.Checkpoints(folder / "checkpoints", keep=None)
  return store.steps, store.evaluations("loss"), store.whole("best").step


def test_the_best_is_that_of_an_unbroken_run_wherever_it_is_killed(
  foretold, tmp_path, monkeypatch
):
  whole, broken = tmp_path / "whole", tmp_path / "broken"
  foretold(whole, steps=12)
  steps, evaluated, best = kept(whole)
  assert (steps, best) == ([4, 12], 4)
  assert evaluated.values == tuple(list(_FORETOLD.items())[:6])

  def killed_at(*moments):
    def reached(unused, step):
      if step in moments:
        raise _Killed

    return reached

  for moments in ((6,), (11,), ()):
    monkeypatch.setattr(
      distributed.StopOnSignal, "reached", killed_at(*moments)
    )
    with contextlib.suppress(_Killed):
      foretold(broken, steps=12)
    if moments == (11,):
      assert kept(broken)[0] == [4, 10]
  assert kept(broken) == (steps, evaluated, best)


def test_a_run_ends_early_at_the_step_foretold_and_goes_on_with_patience(
  foretold, tmp_path
):
  """The third evaluation without a gain since step 4 is that of step 10."""
  found = foretold(tmp_path, patience=3)
  assert (int(found.state.step), found.stopped_early) == (10, True)
  assert found.evaluations.best == (4, 0.5)
  assert kept(tmp_path)[0] == [4, 10]
  # The same again trains nothing.
  again = foretold(tmp_path, patience=3)
  assert (int(again.state.step), again.stopped_early) == (10, True)
  further = foretold(tmp_path, patience=9)
  assert (int(further.state.step), further.stopped_early) == (14, False)
  assert further.evaluations.best == (14, 0.4)
  assert kept(tmp_path)[0] == [14]
