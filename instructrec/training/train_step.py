"""The one training step: loss, gradient, update, as a pure function."""

import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from clu import metrics as clu_metrics
from jaxtyping import Array, PRNGKeyArray

from instructrec.models import protocol
from instructrec.models.networks import adapters
from instructrec.models.objectives import objective, training_metrics

Batch = dict[str, Any]
Metrics = dict[str, Any]
GRAD_NORM, UPDATES = "grad_norm", "updates"


@flax.struct.dataclass
class TrainState:
  """Everything that training changes.

  Attributes:
    step: updates made so far, an int32 scalar.
    params: the model's parameters; of a network with adapters these alone
      change.
    opt_state: the optimizer's state, of what changes.
  """

  step: Any
  params: Any
  opt_state: Any

  def trained(self) -> "TrainState":
    """Without the parameters that training leaves: what checkpoints hold."""
    params, _ = adapters.split(self.params)
    return TrainState(self.step, params, self.opt_state)


def init_state(
  model: protocol.RankingModel,
  optimizer: optax.GradientTransformation,
  rng: PRNGKeyArray,
  input_shapes: dict[str, tuple[int, ...]],
  prepare: Callable[[Any], Any] = lambda params: params,
) -> TrainState:
  """A fresh state at step 0.

  Args:
    model: gives the initial parameters.
    optimizer: gives the initial optimizer state.
    rng: key of the initialisers.
    input_shapes: shape of each array of a batch.
    prepare: what happens to the initial parameters before they are used.

  Returns:
    The state.
  """
  params = model.get_initial_variables(rng, input_shapes)["params"]
  return start_from(prepare(params), optimizer)


def start_from(
  params: Any, optimizer: optax.GradientTransformation
) -> TrainState:
  """A state at step 0 with given parameters and a fresh optimizer."""
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=optimizer.init(adapters.split(params)[0]),
  )


def _split(batch: Batch, num_microbatches: int) -> Batch:
  """Microbatches along a new leading axis; rows dealt out in turn.

  Dealing in turn keeps each microbatch spread over the data axis of the mesh
  as the whole batch was.
  """

  def split(x: Array) -> Array:
    if x.shape[0] % num_microbatches:
      raise ValueError(
        f"a batch of {x.shape[0]} rows does not divide into "
        f"{num_microbatches} microbatches"
      )
    rows = x.reshape(-1, num_microbatches, *x.shape[1:])
    return jnp.swapaxes(rows, 0, 1)

  return jax.tree.map(split, batch)


def compute_gradients(
  model: protocol.RankingModel,
  params: Any,
  batch: Batch,
  dropout_rng: PRNGKeyArray | None,
  num_microbatches: int = 1,
) -> tuple[Any, Metrics]:
  """Gradient of the loss summed over the batch, and its metrics.

  Args:
    model: its `loss_fn` returns a sum over tokens, so that microbatches add
      up to the whole batch.
    params: where to take the gradient.
    batch: the global batch.
    dropout_rng: key of the dropout; None for none.
    num_microbatches: parts computed one after the other to save memory.

  Returns:
    Gradients (float32, like what of `params` is trained) and merged metrics.
  """
  trained, frozen = adapters.split(params)

  def loss_fn(trained: Any, batch: Batch, rng: PRNGKeyArray | None) -> Any:
    return model.loss_fn(adapters.joined(trained, frozen), batch, rng)

  grad_fn = jax.grad(loss_fn, has_aux=True)
  if num_microbatches == 1:
    return grad_fn(trained, batch, dropout_rng)

  def add(carry: tuple[Any, Metrics], xs: tuple[Batch, Array]):
    microbatch, index = xs
    rng = (
      None if dropout_rng is None else jax.random.fold_in(dropout_rng, index)
    )
    grads, metrics = grad_fn(trained, microbatch, rng)
    merged = training_metrics.merge(carry[1], metrics)
    return (jax.tree.map(jnp.add, carry[0], grads), merged), None

  microbatches = _split(batch, num_microbatches)
  indices = jnp.arange(num_microbatches)
  first = jax.tree.map(lambda x: x[0], (microbatches, indices))
  rest = jax.tree.map(lambda x: x[1:], (microbatches, indices))
  rng = None if dropout_rng is None else jax.random.fold_in(dropout_rng, 0)
  carry, _ = jax.lax.scan(add, grad_fn(trained, first[0], rng), rest)
  return carry


def train_step(
  state: TrainState,
  batch: Batch,
  rng: PRNGKeyArray,
  *,
  model: protocol.RankingModel,
  optimizer: optax.GradientTransformation,
  num_microbatches: int = 1,
  mean_loss: bool = True,
  divisor: float | None = None,
) -> tuple[TrainState, Metrics]:
  """One update; or some, where the objective draws what it learns from.

  The summed gradient is divided by what the model's objective counts in the
  global batch (target tokens, lists, positions), so neither microbatches nor
  devices change it. T5X leaves the sum,
  which Adafactor tells apart where batches differ in tokens: its second
  moments are a mean over steps, and longer batches weigh more in it.

  Args:
    state: before the update.
    batch: the global batch.
    rng: key of the run; the step is folded in, so a resumed run draws the
      same dropout as an unbroken one.
    model: gives loss and metrics.
    optimizer: gives the update.
    num_microbatches: see `compute_gradients`.
    mean_loss: whether to divide; False updates as T5X does.
    divisor: what to divide by where batches differ in length by design, so
      that what is counted counts alike in all of them; None for what this
      batch has.

  Returns:
    The state after the update, and the batch's metrics, with the global norm
    of the gradient before any clipping.
  """
  rng = jax.random.fold_in(rng, state.step)
  count: Any = divisor
  if count is None and mean_loss:
    count = jnp.maximum(model.loss_divisor(batch), 1.0)
  trained, frozen = adapters.split(state.params)

  def update(
    trained: Any, opt_state: Any, batch: Batch, rng: PRNGKeyArray
  ) -> tuple[tuple[Any, Any], Metrics]:
    params = adapters.joined(trained, frozen)
    grads, metrics = compute_gradients(
      model, params, batch, rng, num_microbatches
    )
    if count is not None:
      grads = jax.tree.map(lambda g: g / count, grads)
    metrics = metrics | {GRAD_NORM: _average(optax.tree.norm(grads))}
    updates, opt_state = optimizer.update(grads, opt_state, trained)
    return (optax.apply_updates(trained, updates), opt_state), metrics

  learnt = trained, state.opt_state
  if model.repeats is None:
    learnt, metrics = update(*learnt, batch, rng)
  else:
    batch = _drawn(model, state.params, batch, num_microbatches)
    learnt, metrics = _repeated(
      functools.partial(update, batch=batch),
      learnt,
      model.repeats,
      step=state.step,
      rng=rng,
    )
  trained, opt_state = learnt
  state = TrainState(
    step=state.step + 1,
    params=adapters.joined(trained, frozen),
    opt_state=opt_state,
  )
  return state, metrics


def _average(value: Array) -> clu_metrics.Average:
  return clu_metrics.Average(
    total=value.astype(jnp.float32), count=jnp.ones((), jnp.float32)
  )


def _drawn(
  model: protocol.RankingModel,
  params: Any,
  batch: Batch,
  num_microbatches: int,
) -> Batch:
  """A batch with what its objective draws, a microbatch at a time."""
  if num_microbatches == 1:
    return dict(model.drawn(params, batch))
  parts = jax.lax.map(
    lambda part: dict(model.drawn(params, part)),
    _split(batch, num_microbatches),
  )
  return jax.tree.map(
    lambda x: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]), parts
  )


def _repeated(
  update: Callable[..., tuple[tuple[Any, Any], Metrics]],
  learnt: tuple[Any, Any],
  repeats: objective.Repeats,
  *,
  step: Array,
  rng: PRNGKeyArray,
) -> tuple[tuple[Any, Any], Metrics]:
  """Updates until there were enough, or one that would go too far.

  Args:
    update: one, of parameters and the optimizer's state.
    learnt: both, before.
    repeats: how many, and what ends them.
    step: the learning rate is that of the step in each of them.
    rng: key of the dropout.

  Returns:
    Both, after; and the metrics of all, with the number of updates.
  """

  def once(learnt: tuple[Any, Any], index: Array) -> Any:
    trained, opt_state = learnt
    key = jax.random.fold_in(rng, index)
    return update(trained, _at_step(opt_state, step), rng=key)

  def unfinished(carry: Any) -> Array:
    turn, going, _, _ = carry
    return going & (turn < repeats.number)

  def advance(carry: Any) -> Any:
    turn, _, before, metrics = carry
    after, found = once(before, turn)
    going = found[repeats.metric].compute() <= repeats.limit
    learnt = jax.tree.map(
      lambda new, old: jnp.where(going, new, old), after, before
    )
    merged = training_metrics.merge(metrics, found)
    # By one, whatever comes of a turn: preflight reads how many there may be.
    return turn + 1, going, learnt, merged

  start = jnp.zeros((), jnp.int32)
  _, shapes = jax.eval_shape(once, learnt, start)
  turns, going, learnt, metrics = jax.lax.while_loop(
    unfinished,
    advance,
    (start, jnp.ones((), bool), learnt, training_metrics.nothing(shapes)),
  )
  # The turn that went too far left things as they were.
  return learnt, metrics | {UPDATES: _average(turns - ~going)}


def _at_step(opt_state: Any, step: Array) -> Any:
  """The optimizer's state, its learning rates those of a step."""

  def is_schedule(x: Any) -> bool:
    return isinstance(x, optax.ScaleByScheduleState)

  return jax.tree.map(
    lambda x: x._replace(count=step) if is_schedule(x) else x,
    opt_state,
    is_leaf=is_schedule,
  )
