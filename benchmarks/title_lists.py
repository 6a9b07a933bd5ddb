"""Lists of a catalogue's titles a second, on the device.

  python benchmarks/title_lists.py
  python benchmarks/title_lists.py --items=items.tsv --vocabulary=spiece.model

A drawn T5 answers requests with lists: greedily, with several drawn lists a
request, and greedily without the catalogue; and given lists are scored, which
is what a rollout is trained on. Titles are drawn but for `--items`, a table
with the columns item_id and title. Rows take turns, and the fastest of
`--repeats` counts. Prints a Markdown table.
"""

import argparse
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import constrained
import drawn_network
import side_by_side
from instructrec import allocator
from instructrec.evaluation import environment, markdown
from instructrec.models import ranking_model, tokenizer
from instructrec.models.generation import (
  catalog_trie,
  list_policy,
  title_lists,
)
from instructrec.models.networks import t5
from instructrec.models.networks.reading import Reading


def calls(
  args: argparse.Namespace, module: Any, params: Any, trie: Any
) -> dict[str, tuple[Callable[[], Any], int]]:
  """What to time, by name, with the number of lists."""
  rng = np.random.default_rng(args.seed)
  shape = (args.batch, args.inputs_length)
  batch = {
    "encoder_input_tokens": jnp.asarray(
      rng.integers(2, args.vocab_size, shape), jnp.int32
    )
  }
  asked = list_policy.ListRequests(
    lengths=jnp.full(args.batch, args.list_length, jnp.int32)
  )
  closed = list_policy.ListPolicy(
    # Drawn titles leave the last tokens out.
    separator_ids=(args.vocab_size - 1,),
    max_items=args.list_length,
  )
  free = list_policy.ListPolicy(
    separator_ids=(args.vocab_size - 1,),
    max_items=args.list_length,
    constrained=False,
    probability="open",
    max_length=closed.length(trie),
  )
  closed.check(trie)
  trie = jax.device_put(trie)

  @functools.partial(jax.jit, static_argnames=("policy", "num_lists"))
  def write(params: Any, trie: Any, policy: Any, num_lists: int) -> Any:
    return title_lists.write_lists(
      Reading(module, params, batch),
      trie,
      asked,
      policy,
      num_lists=num_lists,
      temperature=float(num_lists > 1),
      rng=jax.random.key(args.seed),
    )

  @jax.jit
  def score(params: Any, trie: Any, tokens: Any) -> Any:
    return title_lists.token_log_probs(
      Reading(module, params, batch), trie, asked, closed, tokens
    )

  drawn = write(params, trie, closed, args.num_lists)
  many = args.batch * args.num_lists
  return {
    "greedy": (lambda: write(params, trie, closed, 1), args.batch),
    f"{args.num_lists} drawn a request": (
      lambda: write(params, trie, closed, args.num_lists),
      many,
    ),
    "greedy, any tokens": (lambda: write(params, trie, free, 1), args.batch),
    f"{args.num_lists} a request, scored": (
      lambda: score(params, trie, drawn.tokens),
      many,
    ),
  }


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--items", type=pathlib.Path, help="a table of titles")
  parser.add_argument("--vocabulary", help="a SentencePiece model, of --items")
  parser.add_argument("--num_items", type=int, default=16859)
  parser.add_argument("--batch", type=int, default=16)
  parser.add_argument("--num_lists", type=int, default=8)
  parser.add_argument("--list_length", type=int, default=10)
  parser.add_argument("--inputs_length", type=int, default=128)
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  drawn_network.add_arguments(
    parser, emb_dim=128, num_heads=4, mlp_dim=256, num_layers=2, vocab_size=4096
  )
  args = parser.parse_args()
  if args.items is not None and args.vocabulary is None:
    parser.error("--items needs --vocabulary")
  return args


def main() -> None:
  """Measures and prints."""
  args = parse()
  allocator.keep_freed_memory()
  model = ranking_model.NetworkRankingModel(t5.T5(drawn_network.config(args)))
  params = drawn_network.params(model, args.seed)
  titles = (
    constrained.draw_titles(args.num_items, args.vocab_size, args.seed)
    if args.items is None
    else constrained.read_titles(args.items, args.vocabulary)
  )
  trie = catalog_trie.CatalogTrie.build(
    titles, eos_id=tokenizer.EOS_ID, vocab_size=args.vocab_size
  )
  about = environment.describe()
  print(
    f"{about['processor']}, {about['cores']} cores, {jax.devices()[0]}; "
    f"{model.network_config.num_parameters:,} parameters; {len(titles):,} "
    f"titles, {args.batch} requests at once, lists of {args.list_length}\n"
  )
  found = calls(args, model.module, params, trie)
  runs = {
    name: functools.partial(lambda call: jax.block_until_ready(call()), call)
    for name, (call, _) in found.items()
  }
  for run in runs.values():
    run()
  seconds = side_by_side.take_turns(runs, args.repeats)
  best = {name: min(times) for name, times in seconds.items()}
  rows = [
    [name, f"{found[name][1] / best[name]:,.1f}", f"{1e3 * best[name]:,.0f}"]
    for name in best
  ]
  print(markdown.table(["", "lists a second", "ms"], rows))
  if args.json is not None:
    settings = {k: str(v) for k, v in vars(args).items() if k != "json"}
    record = {"environment": about, "settings": settings, "seconds": best}
    side_by_side.write_json(args.json, record)


if __name__ == "__main__":
  main()
