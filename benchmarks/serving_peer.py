"""Lists of candidates over HTTP, beside transformers behind FastAPI.

  python benchmarks/serving_peer.py --model_dir=work/token

Needs torch and transformers beside the extra `serve`, and a run that ranks by
likelihoods, such as that of gin/quickstart_token.gin. Three servers hold its
weights on free ports of loopback: `instructrec serve`, and `hf_server.py`,
which reads the prompt for each candidate, or once for all. All are asked for
the same: a history, a wish and 20 titles; theirs have the prompt written out.
Before anything is timed, scores are compared. Servers take turns at each
number of clients, and the best of `--repeats` counts; clients and servers share
the machine's cores.
"""

import argparse
import asyncio
import contextlib
import json
import os
import pathlib
import random
import statistics
import sys
from collections.abc import Iterator
from typing import Any

import hf_server
import serving
import side_by_side
from instructrec.evaluation import environment, markdown
from instructrec.serving import opened_run, run_ranker

OURS = "InstructRec"
_PATH = "/v1/rerank"
# Of what refuses or limits something, ours puts some candidates last by rule.
_FORMS = ("Something like {}.", "{}, please.", "A {} for two.")
_CHECKED = 20
_NATS = 1e-3


def draw_requests(
  opened: opened_run.OpenedRun, candidates: int, count: int, seed: int
) -> tuple[list[bytes], list[bytes]]:
  """The same requests for us and for them."""
  rng = random.Random(seed)
  ranker = run_ranker.Ranker(opened).instructions
  items = opened.catalog
  words = sorted({word for title in items.titles for word in title.split()})
  ours, theirs = [], []
  for _ in range(count):
    drawn = rng.sample(list(items.item_ids), 8 + candidates)
    history, listed = drawn[: rng.randint(1, 8)], drawn[8:]
    wish = rng.choice(_FORMS).format(rng.choice(words))
    documents = [items.title(item) for item in listed]
    asked: dict[str, Any] = {
      "history": [f"id:{item}" for item in history],
      "query": wish,
      "documents": documents,
      "raw_scores": True,
    }
    ours.append(json.dumps(asked).encode())
    asked = {
      "query": ranker.instruction(history, wish),
      "documents": documents,
    }
    theirs.append(json.dumps(asked).encode())
  return ours, theirs


@contextlib.contextmanager
def running(command: list[str], ready: str) -> Iterator[int]:
  """A server as long as it is needed; its port."""
  process, port = serving.start(command, ready)
  try:
    yield port
  finally:
    process.terminate()
    process.communicate(timeout=60)


async def scores(port: int, bodies: list[bytes]) -> list[dict[int, float]]:
  """What requests are answered, by place of the document."""
  found = []
  async with serving.Connection(port) as connection:
    for body in bodies:
      results = json.loads(await connection.ask("POST", _PATH, body))["results"]
      found.append({one["index"]: one["relevance_score"] for one in results})
  return found


def check(found: dict[str, list[dict[int, float]]]) -> float:
  """By how many nats the scores of the servers differ at most.

  Raises:
    ValueError: where it is more than rounding.
  """
  worst = 0.0
  for name, answers in found.items():
    for mine, other in zip(found[OURS], answers, strict=True):
      if mine.keys() != other.keys():
        raise ValueError(f"{name} scored other documents than {OURS}")
      worst = max(worst, *(abs(mine[i] - other[i]) for i in mine))
  if worst > _NATS:
    raise ValueError(
      f"scores differ by {worst} nats; timing different computations would "
      "say nothing"
    )
  return worst


def measure(
  args: argparse.Namespace, ports: dict[str, int], bodies: dict[str, Any]
) -> list[dict[str, Any]]:
  """The best of some turns, by clients and server."""
  found = []
  for clients in args.clients:
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in ports}
    for _ in range(args.repeats):
      for name, port in ports.items():
        times, spent = asyncio.run(
          serving.answered(port, _PATH, bodies[name], clients, args.seconds)
        )
        turns[name].append(
          {
            "clients": clients,
            "server": name,
            "requests_per_second": len(times) / spent,
            "p50": statistics.median(times),
            "p95": statistics.quantiles(times, n=20)[-1],
          }
        )
    for taken in turns.values():
      best = max(taken, key=lambda one: one["requests_per_second"])
      rates = [one["requests_per_second"] for one in taken]
      found.append(best | {"turns": rates})
  return found


def table(found: list[dict[str, Any]]) -> str:
  """A Markdown table; rates relative to ours with as many clients."""
  mine = {
    one["clients"]: one["requests_per_second"]
    for one in found
    if one["server"] == OURS
  }
  rows = [
    [
      str(one["clients"]),
      one["server"],
      f"{one['requests_per_second']:,.1f}",
      f"{one['p50']:,.0f}",
      f"{one['p95']:,.0f}",
      f"{mine[one['clients']] / one['requests_per_second']:.1f}",
    ]
    for one in found
  ]
  head = ["clients", "server", "requests/s", "p50 ms", "p95 ms"]
  return markdown.table([*head, "ours, times as many"], rows)


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  hf_server.add_run(parser)
  parser.add_argument("--candidates", type=int, default=20)
  parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
  parser.add_argument("--seconds", type=float, default=3.0, help="of a turn")
  parser.add_argument("--repeats", type=int, default=2)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  return parser.parse_args()


def main() -> None:
  """Measures and prints."""
  args = parse()
  opened = opened_run.OpenedRun.open(hf_server.settings(args))
  if opened.ranks_catalogs:
    raise ValueError(
      f"{args.model_dir} ranks by matches of titles, whose scores are no "
      "likelihoods; expected a run such as that of gin/quickstart_token.gin"
    )
  mine, its = draw_requests(opened, args.candidates, 500, args.seed)
  options = [f"--model_dir={args.model_dir}"]
  if args.tfds_data_dir is not None:
    options.append(f"--tfds_data_dir={args.tfds_data_dir}")
  peer = pathlib.Path(__file__).with_name("hf_server.py")
  theirs = [sys.executable, str(peer), *options]
  commands = {
    OURS: (serving.ours(*options), " is ready: "),
    "Hugging Face, naive": (theirs, "running on"),
    "Hugging Face, encoder reused": ([*theirs, "--reuse"], "running on"),
  }
  bodies = {name: mine if name == OURS else its for name in commands}
  about = environment.describe("torch", "transformers", "fastapi", "uvicorn")
  print(
    f"{about['processor']}, {about['cores']} cores; "
    f"{opened.run.model.network_config.num_parameters:,} parameters, "
    f"{len(opened.catalog):,} items, {args.candidates} candidates; load "
    f"before: {os.getloadavg()[0]:.1f}\n"
  )
  with contextlib.ExitStack() as servers:
    ports = {
      name: servers.enter_context(running(*command))
      for name, command in commands.items()
    }
    answers = {
      name: asyncio.run(scores(port, bodies[name][:_CHECKED]))
      for name, port in ports.items()
    }
    worst = check(answers)
    found = measure(args, ports, bodies)
  print(table(found))
  print(f"\nScores differ by at most {worst:.1e} nats.")
  if args.json is not None:
    settings = {k: str(v) for k, v in vars(args).items() if k != "json"}
    record = {"environment": about, "settings": settings, "found": found}
    side_by_side.write_json(args.json, record | {"nats": worst})


if __name__ == "__main__":
  main()
