"""Who satisfies the protocols."""

import inspect

from instructrec.models import protocol


def test_the_t5_model_satisfies_both(tiny):
  assert isinstance(tiny.model, protocol.RankingModel)
  assert isinstance(tiny.model, protocol.PrefixModel)


def test_something_else_does_not():
  class Half:
    optimizer_def = None

    def loss_fn(self, params, batch, dropout_rng):
      raise NotImplementedError

  assert not isinstance(Half(), protocol.RankingModel)
  assert not isinstance(Half(), protocol.PrefixModel)


def test_parameters_are_called_as_t5x_calls_them(tiny):
  expected = {
    "get_initial_variables": ["rng", "input_shapes", "input_types"],
    "loss_fn": ["params", "batch", "dropout_rng"],
    "eval_fn": ["params", "batch"],
    "score_batch": ["params", "batch", "return_intermediates"],
    "predict_batch": ["params", "batch", "rng"],
    "predict_batch_with_aux": ["params", "batch", "rng"],
  }
  for name, parameters in expected.items():
    method = getattr(tiny.model, name)
    assert list(inspect.signature(method).parameters) == parameters
    # T5X finds the model through the initialiser.
    assert method.__self__ is tiny.model
