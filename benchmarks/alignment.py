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
fastest step of `--repeats` counts. Without torch and transformers their rows
are left out and named. Prints Markdown tables.
"""

import argparse
import contextlib
import functools
import os
import pathlib
import resource
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import constrained
import drawn_network
import side_by_side
from instructrec import allocator
from instructrec.alignment import list_objective, rewards, rollouts
from instructrec.evaluation import control, environment, generated
from instructrec.models import ranking_model, tokenizer
from instructrec.models.generation import (
  catalog_trie,
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
_RATE = 1e-6
_TEACHER = 100  # Items of its best.
_NATS, _GRADIENT = 1e-3, 1e-2
"""How far log-probabilities, and relatively the gradient's norm, may differ."""


def draw_batch(args: argparse.Namespace) -> dict[str, np.ndarray]:
  """Prompts that ask for lists without a wish, by the seed."""
  rng = np.random.default_rng(args.seed)
  rows, items = args.batch, args.num_items
  inputs = rng.integers(2, args.vocab_size, (rows, args.inputs_length))
  teacher = [rng.permutation(items)[:_TEACHER] + 1 for _ in range(rows)]
  nothing = np.zeros((rows, 1), np.int32)
  wishes = np.tile([control.Direction.PLAIN, 0, 0, items], (rows, 1))
  return {
    "encoder_input_tokens": inputs.astype(np.int32),
    # The row's own list, which GRPO does not read.
    "decoder_input_tokens": nothing,
    "decoder_target_tokens": nothing + tokenizer.EOS_ID,
    "decoder_loss_weights": np.ones((rows, 1), np.float32),
    "list_sizes": np.full(rows, args.list_length, np.int32),
    "list_wishes": wishes.astype(np.int32),
    "list_has": np.zeros((rows, items), bool),
    "list_history": nothing,
    "list_targets": rng.integers(1, items + 1, rows).astype(np.int32),
    "list_teacher": np.stack(teacher).astype(np.int32),
  }


def policy(args: argparse.Namespace, any_tokens: bool) -> Any:
  """How tokens have their probability; room for as many either way."""
  settings: dict[str, Any] = {}
  if any_tokens:
    settings = {
      "constrained": False,
      "probability": "open",
      "max_length": args.list_length * args.title_length,
    }
  return list_policy.ListPolicy(
    # Drawn titles leave the last tokens out.
    separator_id=args.vocab_size - 1,
    max_items=args.list_length,
    **settings,
  )


def earned(
  items: Any, batch: dict[str, np.ndarray], xp: Any
) -> tuple[Any, Any]:
  """Rewards of each place and list, as `ListObjective` gives them.

  Args:
    items: [batch, lists, places], indices from 0.
    batch: what was asked.
    xp: the library of the arrays.
  """
  best = batch["list_teacher"][:, None, None] - 1
  at = items[..., None] == best
  ranks = xp.where(at.any(-1), at.argmax(-1), best.shape[-1])
  wish = xp.moveaxis(batch["list_wishes"], 1, 0)[..., None]
  found = rewards.rewards(
    rewards.Shown(items, xp.zeros(items.shape, bool), ranks),
    rewards.Asked(
      k=batch["list_sizes"][:, None],
      target=batch["list_targets"][:, None] - 1,
      history=batch["list_history"][:, None] - 1,
      wish=control.Wish(*wish),
    ),
  )
  # A place that was asked for and left empty costs as much as an error.
  missing = items == generated.EMPTY
  return xp.where(missing, -1.0, found.items), found.lists


def ours(args: argparse.Namespace, params: Any, any_tokens: bool) -> Step:
  """The step that `instructrec train` runs, and its parts by themselves."""
  allocator.keep_freed_memory()
  trie, batch = build_trie(args), draw_batch(args)
  model = _model(args, trie, any_tokens)
  optimizer = optax.adamw(_RATE)
  asked = list_policy.ListRequests(lengths=jnp.asarray(batch["list_sizes"]))

  @functools.partial(jax.jit, donate_argnums=0)
  def step(state: Any, batch: Any, rng: Any) -> Any:
    return train_step.train_step(
      state, batch, rng, model=model, optimizer=optimizer
    )

  @jax.jit
  def draw(params: Any, batch: Any, rng: Any) -> Any:
    reading = Reading(model.module, params, batch)
    lists = policy(args, any_tokens)
    return rollouts.draw(
      reading, trie, asked, lists, num_lists=args.num_lists, rng=rng
    )

  reward = jax.jit(functools.partial(earned, xp=jnp))
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

    state, _ = mark(step(state, batch, key))
    peak = _peak()
    drawn = mark(draw(state.params, batch, key))
    mark(reward(drawn.items, batch))
    whole, rollout, rewarded = np.diff(marks).tolist()
    if not compiled:  # Once more, without the compiler.
      compiled = True
      return run()
    return {
      "step": whole,
      "rollout": rollout,
      "reward": rewarded,
      "learning": whole - rollout - rewarded,
      "tokens": int((drawn.lists.tokens > 0).sum()),
      "peak": peak,
    }

  return run


def theirs(args: argparse.Namespace, params: Any, any_tokens: bool) -> Step:
  """`generate` of transformers, rewards, and a pass with gradient."""
  import torch
  from transformers import modeling_outputs

  import hf_t5

  allocator.keep_freed_memory()
  torch.set_num_threads(os.cpu_count() or 1)
  torch.manual_seed(args.seed)
  batch, titles = draw_batch(args), _titles(args)
  model = hf_t5.build(drawn_network.config(args), params)
  optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE)
  inputs = torch.tensor(batch["encoder_input_tokens"], dtype=torch.long)
  here = torch.ones_like(inputs)
  lists = policy(args, any_tokens)
  numbers = {tuple(title[:-1]): i for i, title in enumerate(titles)}
  settings: dict[str, Any] = {
    "max_new_tokens": args.list_length * args.title_length
  }
  if not any_tokens:
    settings["prefix_allowed_tokens_fn"] = allowed_tokens(titles, lists)

  @torch.no_grad()
  def draw() -> Any:
    return model.generate(
      input_ids=inputs,
      attention_mask=here,
      num_return_sequences=args.num_lists,
      do_sample=True,
      temperature=1.0,
      top_k=0,
      top_p=1.0,
      use_cache=True,
      **settings,
    )

  def learn(drawn: Any, advantages: Any) -> tuple[Any, float]:
    read = model.encoder(input_ids=inputs, attention_mask=here)
    memory = read.last_hidden_state.repeat_interleave(args.num_lists, 0)
    logits = model(
      encoder_outputs=modeling_outputs.BaseModelOutput(memory),
      attention_mask=here.repeat_interleave(args.num_lists, 0),
      decoder_input_ids=drawn[:, :-1],
      use_cache=False,
    ).logits
    targets = drawn[:, 1:]
    log_probs = -torch.nn.functional.cross_entropy(
      logits.transpose(1, 2), targets, reduction="none"
    )
    # Lists are drawn anew in each step: the old policy is the same.
    ratio = (log_probs - log_probs.detach()).exp()
    signal = torch.tensor(advantages, dtype=torch.float32)[:, None]
    losses = -torch.minimum(ratio * signal, ratio.clip(0.8, 1.2) * signal)
    where = targets != 0
    loss = ((losses * where).sum(1) / where.sum(1)).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.get_total_norm(
      [p.grad for p in model.parameters() if p.grad is not None]
    )
    optimizer.step()
    return log_probs.detach() * where, norm.item()

  def run() -> dict[str, Any]:
    marks = [time.perf_counter()]
    drawn = draw()
    marks.append(time.perf_counter())
    tokens = drawn[:, 1:].numpy().reshape(args.batch, args.num_lists, -1)
    worth = earned(read_items(tokens, numbers, lists), batch, np)
    advantages = _advantages(*worth)
    marks.append(time.perf_counter())
    log_probs, norm = learn(drawn, advantages.reshape(-1))
    marks.append(time.perf_counter())
    rollout, reward, learning = np.diff(marks).tolist()
    return {
      "step": marks[-1] - marks[0],
      "rollout": rollout,
      "reward": reward,
      "learning": learning,
      "tokens": int((tokens > 0).sum()),
      "peak": _peak(),
      "lists": tokens,
      "rewards": worth,
      "log_probs": log_probs.numpy().reshape(tokens.shape),
      "gradient": norm,
    }

  return run


def allowed_tokens(
  titles: Sequence[Sequence[int]], lists: list_policy.ListPolicy
) -> Callable[[int, Any], list[int]]:
  """`prefix_allowed_tokens_fn`: lists of titles by a trie of dictionaries."""
  root: dict[int, Any] = {}
  for title in titles:
    node = root
    for token in title:
      node = node.setdefault(token, {})

  def allowed(_: int, prefix: Any) -> list[int]:
    tokens = prefix.tolist()[1:]  # After the start token.
    written = tokens.count(lists.separator_id)
    node = root
    at = 0
    if written:  # Only the last title is walked.
      at = len(tokens) - tokens[::-1].index(lists.separator_id)
    for token in tokens[at:]:
      node = node.get(token, {})
    more = written + 1 < lists.max_items
    end = lists.separator_id if more else tokenizer.EOS_ID
    found = [end if t == tokenizer.EOS_ID else t for t in node]
    return found or [tokenizer.EOS_ID]

  return allowed


def read_items(
  tokens: np.ndarray,
  numbers: dict[tuple[int, ...], int],
  lists: list_policy.ListPolicy,
) -> np.ndarray:
  """Which items lists have, [batch, lists, places], by titles in tokens."""
  found = np.full((*tokens.shape[:2], lists.max_items), generated.EMPTY)
  for place in np.ndindex(tokens.shape[:2]):
    entry, at = list[int](), 0
    for token in tokens[place].tolist():
      ends = token in (lists.separator_id, tokenizer.EOS_ID)
      if not ends:
        entry.append(token)
        continue
      absent = generated.INVALID if entry else control.BLANK
      found[(*place, at)] = numbers.get(tuple(entry), absent)
      entry, at = [], at + 1
      if token == tokenizer.EOS_ID or at == lists.max_items:
        break
    else:
      if entry:  # Cut for its length.
        found[(*place, at)] = generated.INVALID
  return found


def _advantages(items: np.ndarray, lists: np.ndarray) -> np.ndarray:
  """GRPO's, one a list."""
  discounts = 1.0 / np.log2(np.arange(items.shape[-1]) + 2.0)
  worth = 0.5 * (items * discounts).sum(-1) / discounts.sum() + 0.5 * lists
  apart = worth - worth.mean(1, keepdims=True)
  deviation = worth.std(1, keepdims=True)
  return np.where(deviation > 1e-6, apart / np.maximum(deviation, 1e-6), 0.0)


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
  trie, batch = build_trie(args), draw_batch(args)
  model, lists = _model(args, trie, True), policy(args, True)
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
      samples = policy_lib.Samples(log_probs, old, old, places)
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


def build_trie(args: argparse.Namespace) -> catalog_trie.CatalogTrie:
  """The catalogue."""
  return catalog_trie.CatalogTrie.build(
    _titles(args), eos_id=tokenizer.EOS_ID, vocab_size=args.vocab_size
  )


def _titles(args: argparse.Namespace) -> list[list[int]]:
  return constrained.draw_titles(args.num_items, args.vocab_size, args.seed)


def _model(
  args: argparse.Namespace, trie: Any, any_tokens: bool
) -> ranking_model.NetworkRankingModel:
  lists = policy(args, any_tokens)
  return ranking_model.NetworkRankingModel(
    t5.T5(drawn_network.config(args)),
    objective=list_objective.ListObjective(
      separator_id=lists.separator_id,
      max_items=lists.max_items,
      num_lists=args.num_lists,
      loss=grpo.GRPO(divergence_weight=0.0),
      constrained=lists.constrained,
      max_length=lists.max_length,
      catalog=trie,
    ),
  )


def _peak() -> float:
  """MiB that this process has held at most."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(args: argparse.Namespace, params: Any) -> dict[str, Any]:
  """Steps of all rows, in turns."""
  left_out = side_by_side.missing({"PyTorch": _NEEDS})
  makers = {"InstructRec": ours, "PyTorch": theirs}
  found: dict[str, Any] = {"left_out": left_out, "rows": {}}
  with contextlib.ExitStack() as processes:
    steps = {
      (name, any_tokens): processes.enter_context(
        side_by_side.in_a_process(make, args, params, any_tokens)
      )
      for any_tokens in (False, True)
      for name, make in makers.items()
      if name not in left_out
    }
    first = {key: step() for key, step in steps.items()}
    if not left_out:
      found["nats"], found["gradient"] = check(
        args, params, first["PyTorch", False]
      )
    records: dict[Any, list[dict[str, Any]]] = {key: [] for key in steps}
    for _ in range(args.repeats):
      for key, step in steps.items():
        records[key].append(step())
  for (name, any_tokens), taken in records.items():
    best = min(taken, key=lambda record: record["step"])
    kind = "any tokens" if any_tokens else "titles"
    found["rows"][f"{name}, {kind}"] = {
      part: value for part, value in best.items() if np.isscalar(value)
    } | {"all_steps": [record["step"] for record in taken]}
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
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  drawn_network.add_arguments(
    parser, emb_dim=128, num_heads=4, mlp_dim=256, num_layers=2, vocab_size=4096
  )
  args = parser.parse_args(arguments)
  # Of the longest, with the separator or end behind it.
  args.title_length = max(map(len, _titles(args)))
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
  if not found["left_out"]:
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
