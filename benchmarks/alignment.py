"""A step of alignment on the device, beside a loop of PyTorch.

  python benchmarks/alignment.py --json=alignment.json

A step draws lists of each prompt, rewards them and learns from them by GRPO
(`models/objectives/grpo.py`): every parameter is trained, by AdamW in float32,
without a reference policy. Ours is `instructrec train`'s, one compiled program.
Theirs is a loop over the same network in transformers: `generate` with its
cache and without gradient, rewards in NumPy by the same formulas
(`alignment/rewards.py`), one pass with gradient; the prompts are read once for
all of their lists, in both passes, where a plain loop would repeat them. Both
draw lists of a catalogue's titles (theirs by `prefix_allowed_tokens_fn` over a
trie of dictionaries, which does not keep an item from being drawn twice) and
lists of any tokens.

Before anything is timed, the log-probabilities of lists that the loop drew and
the norm of the gradient that it took are compared with ours. Rows have
processes of their own, all cores and the same allocator, and take turns; the
fastest of `--repeats` counts, of a step and of its parts. Without torch and
transformers their rows are left out and named. Prints a Markdown table.
"""

import argparse
import contextlib
import functools
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import drawn_lists
import drawn_network
import side_by_side
from instructrec import allocator
from instructrec.alignment import list_objective, list_rows, rollouts
from instructrec.evaluation import environment
from instructrec.models import ranking_model
from instructrec.models.generation import (
  list_policy,
  title_lists,
)
from instructrec.models.networks import t5
from instructrec.models.networks.reading import Reading
from instructrec.models.objectives import grpo
from instructrec.models.objectives import policy as policy_lib
from instructrec.training import train_step

# Takes a step; what came of it.
Step = Callable[[], dict[str, Any]]

_NEEDS = ["torch", "transformers"]
TITLES, ANY = "titles", "any tokens"
_PARTS = ("step", "rollout", "reward", "cpu")
"""Seconds that a step says; of all threads, "cpu". Learning is the rest."""
_NATS, _GRADIENT = 1e-3, 1e-2
"""How far log-probabilities, and relatively the gradient's norm, may differ."""


def ours(args: argparse.Namespace, params: Any, any_tokens: bool) -> Step:
  """The step that `instructrec train` runs, and its parts by themselves."""
  allocator.keep_freed_memory()
  trie, batch = drawn_lists.build_trie(args), drawn_lists.draw_batch(args)
  model = _model(args, trie, any_tokens)
  optimizer = optax.adamw(drawn_lists.RATE)
  asked = list_policy.ListRequests(lengths=jnp.asarray(batch["list_sizes"]))

  @functools.partial(jax.jit, donate_argnums=0)
  def step(state: Any, batch: Any, rng: Any) -> Any:
    return train_step.train_step(
      state, batch, rng, model=model, optimizer=optimizer
    )

  @jax.jit
  def draw(params: Any, batch: Any) -> Any:
    reading = Reading(model.module, params, batch)
    lists = drawn_lists.policy(args, any_tokens)
    return rollouts.draw(
      reading,
      trie,
      asked,
      lists,
      num_lists=args.num_lists,
      rng=list_rows.keys(batch),
    )

  reward = jax.jit(functools.partial(drawn_lists.earned, xp=jnp))
  state = train_step.start_from(jax.tree.map(jnp.asarray, params), optimizer)
  key = jax.random.key(args.seed)
  compiled = False

  def run() -> dict[str, Any]:
    nonlocal state, compiled
    marks = [time.perf_counter()]

    def mark(found: Any) -> Any:
      jax.block_until_ready(found)
      marks.append(time.perf_counter())
      return found

    cpu = time.process_time()
    state, _ = mark(step(state, batch, key))
    cpu, peak = time.process_time() - cpu, drawn_lists.peak()
    drawn = mark(draw(state.params, batch))
    mark(reward(drawn.items, batch))
    whole, rollout, rewarded = np.diff(marks).tolist()
    if not compiled:  # Once more, without the compiler.
      compiled = True
      return run()
    return {
      "step": whole,
      "rollout": rollout,
      "reward": rewarded,
      "cpu": cpu,
      "tokens": int((drawn.lists.tokens > 0).sum()),
      "peak": peak,
    }

  return run


def check(
  args: argparse.Namespace, params: Any, found: dict[str, Any]
) -> tuple[float, float]:
  """Compares a first step of theirs, with titles, with ours.

  Args:
    args: the command line.
    params: before the step.
    found: what it gave.

  Returns:
    By how many nats log-probabilities differ at most, and by how much the
    gradient's norm does, relatively.

  Raises:
    ValueError: where they differ by more than rounding.
  """
  trie, batch = drawn_lists.build_trie(args), drawn_lists.draw_batch(args)
  model, lists = _model(args, trie, True), drawn_lists.policy(args, True)
  tokens = jnp.asarray(found["lists"], jnp.int32)
  asked = list_policy.ListRequests(lengths=jnp.asarray(batch["list_sizes"]))
  items, whole = map(jnp.asarray, found["rewards"])
  loss = model.objective.loss

  @jax.jit
  def learn(params: Any) -> Any:
    def total(params: Any) -> tuple[Any, Any]:
      reading = Reading(model.module, params, batch)
      log_probs = title_lists.token_log_probs(
        reading, trie, asked, lists, tokens
      )
      old = jax.lax.stop_gradient(log_probs)
      places = jnp.where(tokens > 0, lists.places(tokens), -1)
      samples = policy_lib.Samples(
        log_probs=log_probs,
        old=old,
        reference=old,
        entropies=jnp.zeros_like(old),
        items=places,
      )
      worth = policy_lib.Rewards(items, whole, jnp.ones(items.shape, bool))
      return loss(samples, worth)[0] / items.size, old

    gradient, log_probs = jax.grad(total, has_aux=True)(params)
    return optax.tree.norm(gradient), log_probs

  norm, log_probs = learn(params)
  nats = float(np.abs(np.asarray(log_probs) - found["log_probs"]).max())
  apart = abs(float(norm) / found["gradient"] - 1.0)
  if nats > _NATS or apart > _GRADIENT:
    raise ValueError(
      f"log-probabilities of the same lists differ by {nats} nats and the "
      f"gradient's norm by {apart:.2%} ({norm}, {found['gradient']}); timing "
      "different computations would say nothing"
    )
  return nats, apart


def _model(
  args: argparse.Namespace, trie: Any, any_tokens: bool
) -> ranking_model.NetworkRankingModel:
  lists = drawn_lists.policy(args, any_tokens)
  return ranking_model.NetworkRankingModel(
    t5.T5(drawn_network.config(args)),
    objective=list_objective.ListObjective(
      separator_ids=lists.separator_ids,
      max_items=lists.max_items,
      num_lists=args.num_lists,
      loss=grpo.GRPO(divergence_weight=0.0),
      constrained=lists.constrained,
      max_length=lists.max_length,
      catalog=trie,
    ),
  )


def measure(args: argparse.Namespace, params: Any) -> dict[str, Any]:
  """Steps of all rows, in turns."""
  left_out = side_by_side.missing({"PyTorch": _NEEDS})
  makers = {"InstructRec": ours}
  if not left_out:
    import hf_lists

    makers["PyTorch"] = hf_lists.theirs
  found: dict[str, Any] = {"left_out": left_out, "rows": {}}
  with contextlib.ExitStack() as processes:
    steps = {
      (name, any_tokens): processes.enter_context(
        side_by_side.in_a_process(make, args, params, any_tokens)
      )
      for any_tokens in [kind == ANY for kind in args.kinds]
      for name, make in makers.items()
    }
    first = {key: step() for key, step in steps.items()}
    # Any tokens make no titles at first: all rewards are the same.
    if ("PyTorch", False) in first:
      found["nats"], found["gradient"] = check(
        args, params, first["PyTorch", False]
      )
    records: dict[Any, list[dict[str, Any]]] = {key: [] for key in steps}
    for _ in range(args.repeats):
      for key, step in steps.items():
        records[key].append(step())
  for (name, any_tokens), taken in records.items():
    kind = ANY if any_tokens else TITLES
    best = {part: min(one[part] for one in taken) for part in _PARTS}
    found["rows"][f"{name}, {kind}"] = best | {
      "learning": best["step"] - best["rollout"] - best["reward"],
      "peak": max(one["peak"] for one in taken),
      "tokens": taken[0]["tokens"],
      "steps": [one["step"] for one in taken],
    }
  return found


def table(args: argparse.Namespace, found: dict[str, Any]) -> str:
  """A Markdown table, times relative to ours over the same lists."""
  rows, lists = [], args.batch * args.num_lists
  for name, record in found["rows"].items():
    kind = name.split(", ")[1]
    mine = found["rows"][f"InstructRec, {kind}"]
    parts = ("rollout", "reward", "learning")
    rows.append(
      [
        name,
        f"{lists / record['rollout']:,.0f}",
        f"{60 / record['step']:,.1f}",
        f"{record['tokens']:,}",
        f"{1e3 * record['step']:,.0f}",
        *(f"{1e3 * record[part]:,.0f}" for part in parts),
        f"{record['peak']:,.0f}",
        f"{record['step'] / mine['step']:.1f}",
        f"{record['cpu'] / mine['cpu']:.1f}",
      ]
    )
  head = [
    "step of",
    "lists drawn a second",
    "updates a minute",
    "tokens",
    "step, ms",
    "drawing",
    "rewards",
    "learning",
    "peak MiB",
    "times as long as ours",
    "times the processor's time",
  ]
  return side_by_side.table(head, rows, found["left_out"])


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
  """The command line; its defaults are the network of gin/align_cpu.gin."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--num_items", type=int, default=16859)
  parser.add_argument("--batch", type=int, default=16, help="prompts a step")
  parser.add_argument("--num_lists", type=int, default=8, help="of a prompt")
  parser.add_argument("--list_length", type=int, default=10, help="titles")
  parser.add_argument("--inputs_length", type=int, default=128)
  parser.add_argument(
    "--kinds", nargs="+", choices=[TITLES, ANY], default=[TITLES, ANY]
  )
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  drawn_network.add_arguments(
    parser, emb_dim=128, num_heads=4, mlp_dim=256, num_layers=2, vocab_size=4096
  )
  args = parser.parse_args(arguments)
  # Of the longest, with the separator or end behind it.
  args.title_length = max(map(len, drawn_lists.titles(args)))
  return args


def main() -> None:
  """Measures and prints."""
  args = parse()
  allocator.keep_freed_memory()
  model = _model(args, None, True)
  params = jax.tree.map(np.asarray, drawn_network.params(model, args.seed))
  about = environment.describe(*_NEEDS)
  print(
    f"{about['processor']}, {about['cores']} cores; "
    f"{model.network_config.num_parameters:,} parameters; {args.num_items:,} "
    f"titles; {args.batch} prompts of {args.inputs_length} tokens, "
    f"{args.num_lists} lists of {args.list_length} titles each\n"
  )
  load = os.getloadavg()
  found = measure(args, params)
  print(table(args, found))
  if "nats" in found:
    print(
      "\nOf the same lists, log-probabilities differ by at most "
      f"{found['nats']:.1e} nats and the gradient's norm by "
      f"{found['gradient']:.1e} of itself."
    )
  if args.json is not None:
    settings = {k: str(v) for k, v in vars(args).items() if k != "json"}
    record = {"environment": about, "load": load, "settings": settings}
    side_by_side.write_json(args.json, record | found)


if __name__ == "__main__":
  main()
