"""A step of alignment in PyTorch: draws lists, rewards them, learns by GRPO.

What `alignment.py` measures beside us. The prompts are read once for all of
their lists, in both passes, where a plain loop would repeat them.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from transformers import modeling_outputs

import drawn_lists
import drawn_network
import hf_t5
from instructrec import allocator
from instructrec.evaluation import control, generated
from instructrec.models import tokenizer
from instructrec.models.generation import list_policy


def theirs(
  args: argparse.Namespace, params: Any, any_tokens: bool
) -> Callable[[], dict[str, Any]]:
  """`generate` of transformers, rewards, and a pass with gradient."""
  allocator.keep_freed_memory()
  torch.set_num_threads(os.cpu_count() or 1)
  torch.manual_seed(args.seed)
  batch, titles = drawn_lists.draw_batch(args), drawn_lists.titles(args)
  model = hf_t5.build(drawn_network.config(args), params)
  inputs = torch.tensor(batch["encoder_input_tokens"], dtype=torch.long)
  learn = _learner(model, inputs, args.num_lists)
  lists = drawn_lists.policy(args, any_tokens)
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
      attention_mask=torch.ones_like(inputs),
      num_return_sequences=args.num_lists,
      do_sample=True,
      temperature=1.0,
      top_k=0,
      top_p=1.0,
      use_cache=True,
      **settings,
    )

  def run() -> dict[str, Any]:
    marks, cpu = [time.perf_counter()], time.process_time()
    drawn = draw()
    marks.append(time.perf_counter())
    tokens = drawn[:, 1:].numpy().reshape(args.batch, args.num_lists, -1)
    worth = drawn_lists.earned(read_items(tokens, numbers, lists), batch, np)
    advantages = _advantages(*worth)
    marks.append(time.perf_counter())
    log_probs, norm = learn(drawn, advantages.reshape(-1))
    marks.append(time.perf_counter())
    return {
      "step": marks[3] - marks[0],
      "rollout": marks[1] - marks[0],
      "reward": marks[2] - marks[1],
      "cpu": time.process_time() - cpu,
      "tokens": int((tokens > 0).sum()),
      "peak": drawn_lists.peak(),
      "lists": tokens,
      "rewards": worth,
      "log_probs": log_probs.numpy().reshape(tokens.shape),
      "gradient": norm,
    }

  return run


def _learner(
  model: Any, inputs: torch.Tensor, num_lists: int
) -> Callable[[Any, Any], tuple[Any, float]]:
  """A pass over drawn lists with gradient, and an update.

  Gives the lists' log-probabilities before it, and the gradient's norm.
  """
  optimizer = torch.optim.AdamW(model.parameters(), lr=drawn_lists.RATE)
  here = torch.ones_like(inputs)

  def learn(drawn: Any, advantages: Any) -> tuple[Any, float]:
    read = model.encoder(input_ids=inputs, attention_mask=here)
    memory = read.last_hidden_state.repeat_interleave(num_lists, 0)
    logits = model(
      encoder_outputs=modeling_outputs.BaseModelOutput(memory),
      attention_mask=here.repeat_interleave(num_lists, 0),
      decoder_input_ids=drawn[:, :-1],
      use_cache=False,
    ).logits
    targets = drawn[:, 1:]
    log_probs = -torch.nn.functional.cross_entropy(
      logits.flatten(0, 1), targets.flatten(), reduction="none"
    ).view_as(targets)
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

  return learn


def allowed_tokens(
  titles: Sequence[Sequence[int]], lists: list_policy.ListPolicy
) -> Callable[[int, Any], list[int]]:
  """`prefix_allowed_tokens_fn`: lists of titles by a trie of dictionaries."""
  root = hf_t5.dictionary_trie(titles)
  (separator,) = lists.separator_ids

  def allowed(_: int, prefix: Any) -> list[int]:
    tokens = prefix.tolist()[1:]  # After the start token.
    written = tokens.count(separator)
    node = root
    at = 0
    if written:  # Only the last title is walked.
      at = len(tokens) - tokens[::-1].index(separator)
    for token in tokens[at:]:
      node = node.get(token, {})
    more = written + 1 < lists.max_items
    end = separator if more else tokenizer.EOS_ID
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
      ends = token in (*lists.separator_ids, tokenizer.EOS_ID)
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
