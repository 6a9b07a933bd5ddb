"""What a server does at its start, beyond its capacity, and at its end.

  python benchmarks/serving_limits.py --model_dir=work/model

Three times `instructrec serve` on a free port of loopback:

- how long after its start the first answer is there, and how long one client
  waits for the order of 20 titles;
- 64 clients on a queue of 8 questions: each answer is 200, with the items and
  scores of the same server when it was quiet, or 429 with `Retry-After`;
- SIGTERM while 8 clients ask: what was sent on a connection that the server
  had taken is answered.

It stops by itself, and fails where an answer is wrong or missing.
"""

import argparse
import asyncio
import collections
import json
import os
import pathlib
import signal
import statistics
import subprocess
import time
from typing import Any

import serving
import side_by_side
from instructrec.evaluation import environment

_PATH = "/v1/recommendations"
_CANDIDATES, _RERANKINGS = 20, 200
_OVERLOAD, _QUEUE, _EACH = 64, 8, 50
_ASKING, _BEFORE_END = 8, 4.0  # Clients, seconds.
_SAME = 1e-5


async def start_up(
  port: int, began: float, bodies: list[bytes]
) -> dict[str, float]:
  """Seconds to the first answer, and milliseconds of a reranking."""
  async with serving.Connection(port) as connection:
    await connection.ask("POST", _PATH, bodies[0])
    first = time.perf_counter() - began
    found = await connection.ask("GET", "/v1/items?limit=1000")
    titles = [item["title"] for item in json.loads(found)["data"]]
    times = []
    for number in range(_RERANKINGS):
      place = number * _CANDIDATES % (len(titles) - _CANDIDATES)
      asked = json.loads(bodies[number % len(bodies)])
      body = {
        "query": asked["instruction"],
        "history": asked["history"],
        "documents": titles[place : place + _CANDIDATES],
      }
      sent = time.perf_counter()
      await connection.ask("POST", "/v1/rerank", json.dumps(body).encode())
      times.append(1000 * (time.perf_counter() - sent))
  return {
    "first_answer_seconds": first,
    "median_milliseconds": statistics.median(times),
    "p95_milliseconds": statistics.quantiles(times, n=20)[-1],
  }


def _scores(body: bytes) -> dict[str, float]:
  return {one["id"]: one["score"] for one in json.loads(body)["results"]}


async def overload(
  port: int, process: int, bodies: list[bytes]
) -> dict[str, Any]:
  """Statuses of more requests than fit, and how far their scores are off.

  Raises:
    ValueError: for another status than 200 and 429, and for an answer that is
      not that of the quiet server.
  """
  async with serving.Connection(port) as connection:
    quiet = [
      _scores(await connection.ask("POST", _PATH, body)) for body in bodies
    ]
  statuses: collections.Counter[int] = collections.Counter()
  before, worst = _resident(process), 0.0

  async def client(number: int) -> None:
    nonlocal worst
    async with serving.Connection(port) as connection:
      for turn in range(_EACH):
        place = (number * 7 + turn) % len(bodies)
        status, body = await connection.send("POST", _PATH, bodies[place])
        statuses[status] += 1
        if status == 429 and "retry-after: " in connection.head:
          continue
        expected = quiet[place]
        if status != 200 or _scores(body).keys() != expected.keys():
          raise ValueError(f"expected {expected}, found {status}: {body!r}")
        found = _scores(body)
        worst = max(worst, *(abs(found[i] - expected[i]) for i in found))

  await asyncio.gather(*(client(number) for number in range(_OVERLOAD)))
  if worst > _SAME:
    raise ValueError(f"scores differ by {worst} from those of a quiet server")
  return {
    "statuses": dict(statuses),
    "score_difference": worst,
    "resident_megabytes": [before, _resident(process)],
  }


def _resident(process: int) -> float:
  """Megabytes of memory of a process."""
  pages = pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]
  return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def ending(
  port: int, process: subprocess.Popen, bodies: list[bytes]
) -> dict[str, Any]:
  """How many requests were answered before and after SIGTERM.

  Raises:
    ValueError: where one that was sent had no answer.
  """
  counts: collections.Counter[str] = collections.Counter()
  began: float | None = None
  last = 0.0

  async def client(number: int) -> None:
    nonlocal last
    while True:
      taken = False
      try:
        async with serving.Connection(port) as connection:
          while not connection.closing:
            sent = time.perf_counter()
            await connection.ask("POST", _PATH, bodies[number % len(bodies)])
            number, taken = number + _ASKING, True
            after = began is not None and sent > began
            counts["after" if after else "before"] += 1
            last = time.perf_counter()
      except ConnectionRefusedError:
        return  # The port is closed.
      except (asyncio.IncompleteReadError, ConnectionError):
        # A new connection may wait to be taken just when the port is closed.
        counts["lost" if taken or began is None else "not taken"] += 1
        return

  clients = asyncio.gather(*(client(number) for number in range(_ASKING)))
  await asyncio.sleep(_BEFORE_END)
  began = time.perf_counter()
  process.send_signal(signal.SIGTERM)
  await clients
  if counts["lost"]:
    raise ValueError(f"of the requests {counts['lost']} had no answer")
  return {**counts, "last_answer_seconds": last - began}


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model_dir", required=True)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json", type=pathlib.Path)
  args = parser.parse_args()
  found: dict[str, Any] = {"load": os.getloadavg()[0]}
  bodies: list[bytes] = []

  def served(name: str, *options: str) -> None:
    began = time.perf_counter()
    process, port = serving.start(
      serving.ours(f"--model_dir={args.model_dir}", *options)
    )
    try:
      if not bodies:
        bodies.extend(asyncio.run(serving.requests(port, 40, args.seed)))
      work = {
        "start": lambda: start_up(port, began, bodies),
        "overload": lambda: overload(port, process.pid, bodies),
        "end": lambda: ending(port, process, bodies),
      }[name]
      found[name] = asyncio.run(work())
    finally:
      process.terminate()
      process.communicate(timeout=60)
    print(f"{name}: {json.dumps(found[name])}")

  served("start")
  served("overload", f"--most_queued={_QUEUE}", f"--most_at_once={_QUEUE}")
  served("end")
  if args.json is not None:
    side_by_side.write_json(
      args.json, {"environment": environment.describe(), **found}
    )


if __name__ == "__main__":
  main()
