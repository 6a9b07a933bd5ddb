"""Beams over a catalogue's titles, on the device and beside Hugging Face.

  python benchmarks/constrained.py --items=items.tsv --vocabulary=spiece.model
  python benchmarks/constrained.py --table

The first asks a drawn T5 for the ten likeliest titles of a catalogue, once by
`models/generation/catalog_beam.py` and once by transformers' `generate` with
`prefix_allowed_tokens_fn` over a trie of dictionaries, with the same weights;
without torch and transformers that row is left out and named. `items.tsv` has
the columns item_id and title; without it, titles are drawn. The second prints
milliseconds a step by items and beams, and which share of them is the search:
that is the time of the same search over a network that answers at once.

Rows take turns, and the fastest of `--repeats` counts. Prints Markdown tables.
"""

import argparse
import csv
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

import drawn_network
import side_by_side
from instructrec import allocator
from instructrec.evaluation import environment, markdown
from instructrec.models import ranking_model, tokenizer
from instructrec.models.generation import (
  catalog_beam,
  catalog_decoder,
  catalog_trie,
)
from instructrec.models.networks import t5
from instructrec.models.networks.reading import Reading

_NEEDS = {"Hugging Face": ["torch", "transformers"]}
_NATS = 1e-3


def draw_titles(count: int, vocab_size: int, seed: int) -> list[list[int]]:
  """Distinct titles of 5 to 15 tokens, of which few tokens are most."""
  rng = np.random.default_rng(seed)
  found: dict[tuple[int, ...], None] = {}
  while len(found) < count:
    lengths = rng.integers(5, 16, count)
    tokens = rng.zipf(1.3, (count, 15)) % (vocab_size - 200) + 2
    for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True):
      found[(*row[:length], tokenizer.EOS_ID)] = None
  return [list(title) for title in found][:count]


def read_titles(path: pathlib.Path, vocabulary: str) -> list[list[int]]:
  """Titles of a table in tokens, those with the same tokens once."""
  with path.open(newline="") as file:
    titles = [row["title"] for row in csv.DictReader(file, delimiter="\t")]
  rows = tokenizer.Tokenizer(vocabulary).encode_all(titles)
  return [list(row) for row in dict.fromkeys(map(tuple, rows))]


def by_hugging_face(
  model: ranking_model.NetworkRankingModel,
  params: Any,
  titles: list[list[int]],
  inputs: np.ndarray,
  num_beams: int,
) -> Callable[..., Any]:
  """`generate` of transformers over a trie of dictionaries.

  Returns:
    Runs it; gives tokens [requests, beams, length] and, with True, their
    log-likelihoods in nats.
  """
  import torch

  import hf_t5

  network = hf_t5.build(model.network_config, params)
  root = hf_t5.dictionary_trie(titles)

  def allowed(_: int, prefix: Any) -> list[int]:
    node: dict[int, Any] | None = root
    for token in prefix.tolist()[1:]:  # After the start token.
      node = node.get(token) if node else None
    return list(node) if node else [tokenizer.EOS_ID]

  tokens = torch.tensor(inputs, dtype=torch.long)

  @torch.inference_mode()
  def run(scores: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
    found = network.generate(
      input_ids=tokens,
      attention_mask=(tokens != 0).long(),
      num_beams=num_beams,
      num_return_sequences=num_beams,
      length_penalty=0.0,
      do_sample=False,
      max_new_tokens=max(map(len, titles)),
      prefix_allowed_tokens_fn=allowed,
      return_dict_in_generate=True,
      output_scores=scores,
    )
    shape = (len(inputs), num_beams, -1)
    nats = found.sequences_scores.numpy().reshape(shape) if scores else None
    return found.sequences.numpy().reshape(shape)[:, :, 1:], nats

  return run


def by_ours(
  model: ranking_model.NetworkRankingModel,
  params: Any,
  trie: catalog_trie.CatalogTrie,
  inputs: np.ndarray,
) -> Callable[[], Any]:
  """`predict_items`, compiled."""
  search = jax.jit(model.predict_items)
  batch = {"encoder_input_tokens": inputs}
  trie = jax.device_put(trie)
  return lambda: jax.block_until_ready(search(params, batch, trie))


def compare(
  args: argparse.Namespace, model: Any, params: Any, titles: list[list[int]]
) -> list[dict[str, Any]]:
  """Ours beside theirs, by requests at once."""
  trie = catalog_trie.CatalogTrie.build(
    titles, eos_id=tokenizer.EOS_ID, vocab_size=args.vocab_size
  )
  numbers = {tuple(title): i for i, title in enumerate(titles, start=1)}
  rng = np.random.default_rng(args.seed)
  left_out = side_by_side.missing(_NEEDS)
  found = []
  for batch in args.batches:
    inputs = rng.integers(2, args.vocab_size, (batch, args.inputs_length))
    inputs = inputs.astype(np.int32)
    runs = {"ours": by_ours(model, params, trie, inputs)}
    if not left_out:
      runs["Hugging Face"] = by_hugging_face(
        model, params, titles, inputs, args.num_beams
      )
    first = runs["ours"]()
    record: dict[str, Any] = {
      "batch": batch,
      "steps": int(first.num_steps),
      "left_out": left_out,
    }
    if not left_out:
      theirs = runs["Hugging Face"](True)
      record |= _agreement(first, *theirs, numbers)
    watched, cpu = side_by_side.with_cpu(runs)
    seconds = side_by_side.take_turns(watched, args.repeats)
    record["seconds"] = {name: min(times) for name, times in seconds.items()}
    record["cpu"] = {name: min(times) for name, times in cpu.items()}
    found.append(record)
  return found


def _agreement(
  ours: Any,
  theirs: np.ndarray,
  nats: np.ndarray,
  numbers: dict[tuple[int, ...], int],
) -> dict[str, float]:
  """How many of their sequences are titles, and how many of these ours.

  Beams may lose items, of either side: those of theirs that ours lack are no
  likelier than our last one, unless they are counted as missed.
  """
  valid = same = missed = 0
  rows = zip(
    np.asarray(ours.items), np.asarray(ours.scores), theirs, nats, strict=True
  )
  for items, scores, sequences, likelihoods in rows:
    for row, value in zip(sequences.tolist(), likelihoods[:, 0], strict=True):
      end = row.index(tokenizer.EOS_ID) + 1 if tokenizer.EOS_ID in row else 0
      item = numbers.get(tuple(row[:end]))
      valid += item is not None
      found = item in set(items.tolist())
      same += found
      missed += item is not None and not found and value > scores[-1] + _NATS
  return {
    "sequences": theirs.shape[0] * theirs.shape[1],
    "valid": valid,
    "same": same,
    "missed": missed,
    "nats": float(np.mean(ours.scores)),
    "their_nats": float(nats.mean()),
  }


@flax.struct.dataclass
class _Nothing:
  """The cache of a network that answers at once."""

  def select(self, sequences: Any) -> "_Nothing":
    """Nothing stays nothing."""
    return self


@dataclasses.dataclass(frozen=True)
class _Instant:
  """A network that answers at once, always the same.

  Attributes:
    answers: its logits.
  """

  answers: Any

  def start_decoding(self, **_: int) -> tuple[None, _Nothing]:
    """There is nothing to remember."""
    return None, _Nothing()

  def decode_step(self, tokens: Any, cache: Any, memory: Any) -> Any:
    """The logits."""
    return self.answers, cache


def measure_steps(
  args: argparse.Namespace,
  model: ranking_model.NetworkRankingModel,
  params: Any,
  trie: catalog_trie.CatalogTrie,
  num_beams: int,
) -> dict[str, Any]:
  """Milliseconds a step, and those of the search in it.

  With closed probabilities: no title is then read to its end, and a search is
  reading the prompt, and steps.
  """
  rng = np.random.default_rng(args.seed)
  inputs = rng.integers(2, args.vocab_size, (1, args.inputs_length))
  batch = {"encoder_input_tokens": jnp.asarray(inputs, jnp.int32)}
  model = ranking_model.NetworkRankingModel(
    model.module,
    decoder=catalog_decoder.CatalogDecoder(
      num_beams=num_beams, num_decodes=10, probability="closed"
    ),
  )

  @jax.jit
  def read(params: Any, batch: Any) -> Any:
    memory, _ = Reading(model.module, params, batch).start_decoding(
      sequences_per_prompt=num_beams, max_length=trie.max_length
    )
    return memory

  @jax.jit
  def alone(answers: Any, trie: Any) -> Any:
    return catalog_beam.beam_search(
      _Instant(answers),  # type: ignore[arg-type]
      trie,
      batch_size=1,
      num_beams=num_beams,
      num_decodes=10,
      probability="closed",
    )

  answers = jnp.asarray(
    rng.normal(size=(num_beams, args.vocab_size)), jnp.float32
  )
  search = jax.jit(model.predict_items)
  trie = jax.device_put(trie)
  calls: dict[str, Callable[[], Any]] = {
    "search": lambda: search(params, batch, trie),
    "read": lambda: read(params, batch),
    "alone": lambda: alone(answers, trie),
  }
  runs = {
    name: functools.partial(lambda call: jax.block_until_ready(call()), call)
    for name, call in calls.items()
  }
  steps = {name: int(runs[name]().num_steps) for name in ("search", "alone")}
  runs["read"]()
  best = {
    name: min(times)
    for name, times in side_by_side.take_turns(runs, args.repeats).items()
  }
  step = (best["search"] - best["read"]) / steps["search"]
  constraint = best["alone"] / steps["alone"]
  return {
    "items": int(trie.num_items),
    "beams": num_beams,
    "steps": steps["search"],
    "ms": 1e3 * step,
    "constraint_ms": 1e3 * constraint,
    "share": constraint / step,
  }


def print_comparison(args: argparse.Namespace, found: list[dict]) -> None:
  """Prints what `compare` found."""
  rows = []
  for record in found:
    seconds, cpu = record["seconds"], record["cpu"]
    row = [str(record["batch"]), f"{1e3 * seconds['ours']:,.0f}"]
    if theirs := seconds.get("Hugging Face"):
      row += [
        f"{1e3 * theirs:,.0f}",
        f"{theirs / seconds['ours']:,.1f}",
        f"{cpu['Hugging Face'] / cpu['ours']:,.1f}",
        f"{record['same']} of {record['valid']} valid, "
        f"{record['sequences']} in all",
        str(record["missed"]),
        f"{record['nats']:.2f}, {record['their_nats']:.2f}",
      ]
    rows.append(row + ["-"] * (8 - len(row)))
  head = [
    "requests",
    "ours, ms",
    "Hugging Face, ms",
    "times as fast",
    "by the processor's time",
    "their items that ours are",
    "likelier ones that ours lack",
    "mean nats of an item, ours, theirs",
  ]
  print(markdown.table(head, rows))
  for name, libraries in found[0]["left_out"].items():
    print(f"\n{name} is left out: {', '.join(libraries)} not installed")


def print_steps(found: list[dict[str, Any]]) -> None:
  """Prints what `measure_steps` found."""
  rows = [
    [
      f"{record['items']:,}",
      str(record["beams"]),
      f"{record['ms']:,.1f}",
      f"{record['constraint_ms']:,.2f}",
      f"{record['share']:.1%}",
      f"{record['bytes']:.1f}",
      f"{record['build_s']:.1f}",
    ]
    for record in found
  ]
  head = [
    "items",
    "beams",
    "ms a step",
    "of it the search, ms",
    "share",
    "bytes an item",
    "tables, s",
  ]
  print(markdown.table(head, rows))


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--items", type=pathlib.Path, help="a table of titles")
  parser.add_argument("--vocabulary", help="a SentencePiece model, of --items")
  parser.add_argument("--table", action="store_true", help="ms a step")
  parser.add_argument("--num_items", type=int, nargs="+", default=[16859])
  parser.add_argument("--beams", type=int, nargs="+", default=[10, 50, 256])
  parser.add_argument("--num_beams", type=int, default=10)
  parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
  parser.add_argument("--inputs_length", type=int, default=128)
  parser.add_argument("--repeats", type=int, default=5)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  drawn_network.add_arguments(
    parser, emb_dim=512, num_heads=6, mlp_dim=1024, num_layers=8
  )
  args = parser.parse_args()
  if args.items is not None and args.vocabulary is None:
    parser.error("--items needs --vocabulary")
  return args


def main() -> None:
  """Measures and prints."""
  args = parse()
  allocator.keep_freed_memory()
  decoder = catalog_decoder.CatalogDecoder(
    num_beams=args.num_beams, num_decodes=args.num_beams
  )
  model = ranking_model.NetworkRankingModel(
    t5.T5(drawn_network.config(args)), decoder=decoder
  )
  params = drawn_network.params(model, args.seed)
  about = environment.describe()
  print(
    f"{about['processor']}, {about['cores']} cores, {jax.devices()[0]}; "
    f"{model.network_config.num_parameters:,} parameters\n"
  )
  found: list[dict[str, Any]] = []
  if args.table:
    for count in args.num_items:
      titles = draw_titles(count, args.vocab_size, args.seed)
      start = time.perf_counter()
      trie = catalog_trie.CatalogTrie.build(
        titles, eos_id=tokenizer.EOS_ID, vocab_size=args.vocab_size
      )
      tables = {
        "build_s": time.perf_counter() - start,
        "bytes": trie.num_bytes / count,
      }
      found += [
        measure_steps(args, model, params, trie, beams) | tables
        for beams in args.beams
      ]
    print_steps(found)
  else:
    titles = (
      draw_titles(args.num_items[0], args.vocab_size, args.seed)
      if args.items is None
      else read_titles(args.items, args.vocabulary)
    )
    print(f"{len(titles):,} titles, {args.num_beams} beams\n")
    found = compare(args, model, params, titles)
    print_comparison(args, found)
  if args.json is not None:
    settings = {k: str(v) for k, v in vars(args).items() if k != "json"}
    record = {"environment": about, "settings": settings, "found": found}
    side_by_side.write_json(args.json, record)


if __name__ == "__main__":
  main()
