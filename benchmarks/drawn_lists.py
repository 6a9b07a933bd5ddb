"""What a benchmark of alignment draws by its seed: prompts, titles, rewards."""

import argparse
import resource
from typing import Any

import numpy as np

import constrained
from instructrec.alignment import rewards
from instructrec.evaluation import control, generated
from instructrec.models import tokenizer
from instructrec.models.generation import catalog_trie, list_policy

RATE = 1e-6
"""Learning rate, so small that lists stay what they are."""
_TEACHER = 100  # Items of its best.


def titles(args: argparse.Namespace) -> list[list[int]]:
  """Of the catalogue, in tokens."""
  return constrained.draw_titles(args.num_items, args.vocab_size, args.seed)


def build_trie(args: argparse.Namespace) -> catalog_trie.CatalogTrie:
  """The catalogue."""
  return catalog_trie.CatalogTrie.build(
    titles(args), eos_id=tokenizer.EOS_ID, vocab_size=args.vocab_size
  )


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
    "list_keys": rng.integers(0, 2**31, (rows, 2)).astype(np.int32),
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
    separator_ids=(args.vocab_size - 1,),
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


def peak() -> float:
  """MiB that this process has held at most."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
