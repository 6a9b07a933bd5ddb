"""Training and scoring of the retrievers that read item sequences.

All are trained with cross-entropy over the whole catalogue: with sampled
negatives SASRec falls behind BERT4Rec, with the full softmax it does not
(Klenitskiy and Vasilev, 2023). Training stops when NDCG@10 over the whole
catalogue on validation requests has not risen for `patience` epochs; the best
epoch's parameters are kept.
"""

import abc
import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any, ClassVar

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from instructrec import progress
from instructrec.data import catalog, interaction, request
from instructrec.retrieval import (
  evaluate,
  retriever,
  sequence_encoder,
  sequences,
)

_PARAMS = "params.npz"
Example = tuple[
  Int[np.ndarray, "rows width"],
  Int[np.ndarray, "rows slots"],
  Int[np.ndarray, "rows slots"],
]


@dataclasses.dataclass(eq=False, kw_only=True)
class SequentialRetriever(retriever.Retriever, abc.ABC):
  """A sequence encoder with its training loop.

  Attributes:
    emb_dim: width of items and states.
    num_layers: transformer blocks.
    num_heads: attention heads.
    max_length: newest items of a history that are read.
    dropout_rate: in training.
    learning_rate: of Adam.
    batch_slots: tokens of a batch, padding included.
    max_epochs: passes over the training sequences, at most.
    patience: epochs without a better validation NDCG@10 before training
      stops; without validation requests all epochs are trained.
    seed: of parameters, order, dropout and masks.
    epochs: (training loss in nats, validation NDCG@10) by epoch, once fitted.
  """

  causal: ClassVar[bool]
  space = {  # noqa: RUF012
    "learning_rate": (1e-3, 3e-4, 3e-3),
    "dropout_rate": (0.2, 0.1, 0.4),
    "emb_dim": (64, 32, 128),
    "num_layers": (2, 1),
  }

  emb_dim: int = 64
  num_layers: int = 2
  num_heads: int = 2
  max_length: int = 50
  dropout_rate: float = 0.2
  learning_rate: float = 1e-3
  batch_slots: int = 1024
  max_epochs: int = 30
  patience: int = 3
  seed: int = 0

  @abc.abstractmethod
  def _example(
    self, tokens: Int[np.ndarray, "rows width"], rng: np.random.Generator
  ) -> Example:
    """Input tokens, positions to predict at, and tokens to predict there.

    A token to predict of 0 has no weight.
    """

  def _query(
    self, histories: Sequence[Int[np.ndarray, " length"]]
  ) -> tuple[Int[np.ndarray, "requests width"], Int[np.ndarray, "requests 1"]]:
    """Input tokens of histories, and the position that predicts the next."""
    tokens = sequences.pad(histories, self.max_length)
    return tokens, np.maximum((tokens > 0).sum(1, keepdims=True) - 1, 0)

  def _make_titles(self, items: catalog.Catalog) -> None:
    """Prepares the titles of the item tower, where there is one."""
    del items

  @property
  def _titles(self) -> Int[np.ndarray, "items pieces"] | None:
    """Pieces of the items' titles; None without titles."""
    return None

  @property
  def _num_pieces(self) -> int:
    return 0

  @property
  def _longest(self) -> int:
    """Items of a training sequence that are read, the newest ones."""
    return self.max_length

  @property
  def _config(self) -> sequence_encoder.EncoderConfig:
    return sequence_encoder.EncoderConfig(
      num_items=len(self.item_ids),
      emb_dim=self.emb_dim,
      num_layers=self.num_layers,
      num_heads=self.num_heads,
      max_length=self.max_length,
      dropout_rate=self.dropout_rate,
      causal=self.causal,
      num_pieces=self._num_pieces,
    )

  def _fit(
    self,
    training_log: interaction.InteractionLog,
    items: catalog.Catalog,
    validation: Sequence[request.RankingRequest],
  ) -> None:
    self._make_titles(items)
    known = [s for s in self.sequences(training_log) if len(s) > 1]
    if not known:
      raise ValueError(
        f"{self.name} learns from what follows what, but no user of the "
        "training log has two interactions"
      )
    tokens = jnp.zeros((1, self.max_length), jnp.int32)
    slots = jnp.zeros((1, 1), jnp.int32)
    params = sequence_encoder.SequenceEncoder(self._config).init(
      jax.random.key(self.seed), tokens, slots, self._titles
    )["params"]
    opt_state = _optimizer(self.learning_rate).init(params)
    best, best_score, waited = params, -1.0, 0
    self.epochs: list[tuple[float, float | None]] = []
    with progress.Progress(self.max_epochs, self.name, unit="epochs") as line:
      for epoch in range(self.max_epochs):
        params, opt_state, loss = self._epoch(params, opt_state, known, epoch)
        self._params = params
        score = evaluate.ndcg_at_10(self, validation) if validation else None
        self.epochs.append((loss, score))
        line.note(
          f"loss {loss:.3f}"
          + ("" if score is None else f", validation NDCG@10 {score:.4f}")
        )
        line.advance()
        if score is None or score > best_score:
          best, best_score, waited = params, score or 0.0, 0
        else:
          waited += 1
          if waited >= self.patience:
            break
    self._params = best

  def _epoch(
    self,
    params: Any,
    opt_state: Any,
    known: Sequence[Int[np.ndarray, " length"]],
    epoch: int,
  ) -> tuple[Any, Any, float]:
    """Updates once for every batch; returns the mean loss in nats, too."""
    step_fn = _step_fn(self._config, self.learning_rate)
    rng = np.random.default_rng([self.seed, epoch])
    key = jax.random.fold_in(jax.random.key(self.seed), epoch)
    total, weight = jnp.zeros(()), jnp.zeros(())
    found = sequences.batches(
      known,
      max_length=self._longest,
      batch_slots=self.batch_slots,
      rng=rng,
    )
    for step, tokens in enumerate(found):
      params, opt_state, (loss, count) = step_fn(
        params,
        opt_state,
        self._example(tokens, rng),
        self._titles,
        jax.random.fold_in(key, step),
      )
      total, weight = total + loss, weight + count
    loss = float(total / weight)
    if not np.isfinite(loss):
      raise ValueError(
        f"the loss of {self.name} is {loss} in epoch {epoch + 1}; lower "
        "learning_rate"
      )
    return params, opt_state, loss

  def _scores(
    self, requests: Sequence[request.RankingRequest]
  ) -> Float[np.ndarray, "requests items"]:
    score_fn = _score_fn(self._config)
    tokens, slots = self._query(self.histories(requests))
    # Of one size, so that it is compiled once and a row's last bits do not
    # depend on how many others there are.
    rows = retriever.CHUNK
    padded = -len(tokens) % rows
    tokens, slots = (np.pad(x, ((0, padded), (0, 0))) for x in (tokens, slots))
    return np.concatenate(
      [
        np.asarray(
          score_fn(
            self._params,
            tokens[start : start + rows],
            slots[start : start + rows],
            self._titles,
          )
        )[:, 0]
        for start in range(0, len(tokens), rows)
      ]
      or [np.zeros((0, len(self.item_ids)), np.float32)]
    )[: len(requests)]

  def _save(self, folder: pathlib.Path) -> None:
    flat = flax.traverse_util.flatten_dict(self._params, sep="/")
    arrays: Any = {name: np.asarray(value) for name, value in flat.items()}
    np.savez(folder / _PARAMS, **arrays)

  def _load(self, folder: pathlib.Path) -> None:
    with np.load(folder / _PARAMS) as arrays:
      flat = {name: jnp.asarray(arrays[name]) for name in arrays.files}
    self._params = flax.traverse_util.unflatten_dict(flat, sep="/")


def _optimizer(learning_rate: float) -> optax.GradientTransformation:
  return optax.adam(learning_rate, b2=0.98)


# By settings, so that trials that differ in others compile nothing anew.
@functools.cache
def _step_fn(
  config: sequence_encoder.EncoderConfig, learning_rate: float
) -> Any:
  """The update; compiled once for each width of a batch."""
  module = sequence_encoder.SequenceEncoder(config)
  optimizer = _optimizer(learning_rate)

  def loss_fn(params: Any, example: Example, titles: Any, key: Array):
    tokens, slots, targets = example
    losses: Any = module.apply(
      {"params": params},
      tokens,
      slots,
      targets,
      titles,
      rngs={"dropout": key},
      method="cross_entropy",
    )
    weights = targets > 0
    total, count = (losses * weights).sum(), weights.sum()
    return total / jnp.maximum(count, 1), (total, count)

  def step(params: Any, opt_state: Any, example: Any, titles: Any, key: Any):
    grads, totals = jax.grad(loss_fn, has_aux=True)(
      params, example, titles, key
    )
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, totals

  return jax.jit(step)


@functools.cache
def _score_fn(config: sequence_encoder.EncoderConfig) -> Any:
  module = sequence_encoder.SequenceEncoder(config)
  return jax.jit(
    lambda params, *arrays: module.apply({"params": params}, *arrays)
  )
