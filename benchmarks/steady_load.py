"""Whether a server stays as it is under mixed requests for a long time.

  python benchmarks/steady_load.py --port=8000 --pid=PID --minutes=30

A few clients ask with pauses, each request on a connection of its own or on one
that is kept: recommendations with and without reasons, rerankings of words that
never came before, conversations, searches, and a tenth that is malformed. Each
half minute has a line: requests, statuses that are not expected, memory, file
descriptors and threads of the server's process. It stops by itself.
"""

import argparse
import asyncio
import json
import pathlib
import random
import statistics
import time

import httpx

_EVERY = 30.0  # Seconds.
_MALFORMED = (
  ("/rerank", b"{"),
  ("/rerank", b'{"query": "a", "documents": [3]}'),
  ("/v1/recommendations", b'{"instruction": "a", "k": 0}'),
  ("/v1/recommendations", b'{"history": ["no such title"]}'),
  ("/v1/chat/completions", b'{"messages": []}'),
)


def request(
  rng: random.Random, titles: list[str], models: list[str]
) -> tuple[str, bytes, int]:
  """A path, a body, and the first digit of the status that is expected."""
  if rng.random() < 0.1:
    return *rng.choice(_MALFORMED), 4
  new = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz ", k=40))
  history = rng.sample(titles, rng.randint(0, 6))
  wish = f"{rng.choice(titles)}, no {rng.choice(titles).split()[-1]}, {new}"
  model = rng.choice(models)
  kind = rng.choice(("recommend", "reasons", "rerank", "chat"))
  if kind == "rerank":
    path = rng.choice(("/rerank", "/v1/rerank", "/v2/rerank"))
    texts = [*rng.sample(titles, 5), new, new[::-1]]
    body = {"query": wish, "documents": texts, "history": history}
  elif kind == "chat":
    path = "/v1/chat/completions"
    said = [f"{wish}", "Cheaper, and show me others."]
    body = {"messages": [{"role": "user", "content": one} for one in said]}
  else:
    path = "/v1/recommendations"
    body = {"history": history, "instruction": wish, "k": 10}
    body["reasons"] = kind == "reasons"
  return path, json.dumps(body | {"model": model}).encode(), 2


class Process:
  """A process, by what the kernel says of it."""

  def __init__(self, pid: int) -> None:
    self._folder = pathlib.Path("/proc") / str(pid)

  def now(self) -> tuple[float, int, int]:
    """Resident memory in MB, open descriptors, threads."""
    status = (self._folder / "status").read_text()
    kilobytes = int(status.partition("VmRSS:")[2].split()[0])
    descriptors = sum(1 for _ in (self._folder / "fd").iterdir())
    return (
      kilobytes / 1024,
      descriptors,
      int(status.partition("Threads:")[2].split()[0]),
    )


async def client(
  address: str, end: float, pause: float, seed: int, seen: dict[str, list]
) -> None:
  """Asks until the end."""
  rng = random.Random(seed)
  options = {
    "base_url": address,
    "timeout": 60,
    "headers": {"Content-Type": "application/json"},
  }
  kept = httpx.AsyncClient(**options)
  async with kept:
    items = (await kept.get("/v1/items?limit=1000")).json()["data"]
    models = (await kept.get("/v1/models")).json()["data"]
    titles, names = [i["title"] for i in items], [m["id"] for m in models]
    while time.monotonic() < end:
      path, body, expected = request(rng, titles, names)
      began = time.perf_counter()
      if rng.random() < 0.2:
        async with httpx.AsyncClient(**options) as fresh:
          found = await fresh.post(path, content=body)
      else:
        found = await kept.post(path, content=body)
      seen["milliseconds"].append(1000 * (time.perf_counter() - began))
      if found.status_code // 100 != expected:
        seen["unexpected"].append(f"{path} {found.status_code} {found.text}")
      await asyncio.sleep(rng.expovariate(1 / pause))


async def main() -> None:
  """Prints the lines."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--port", type=int, required=True)
  parser.add_argument("--pid", type=int, required=True)
  parser.add_argument("--minutes", type=float, default=30.0)
  parser.add_argument("--clients", type=int, default=2)
  parser.add_argument("--pause", type=float, default=0.2, help="seconds, mean")
  given = parser.parse_args()
  process, began = Process(given.pid), time.monotonic()
  end = began + 60 * given.minutes
  seen: dict[str, list] = {"milliseconds": [], "unexpected": []}
  asking = asyncio.gather(
    *(
      client(f"http://127.0.0.1:{given.port}", end, given.pause, seed, seen)
      for seed in range(given.clients)
    )
  )
  print("| minutes | requests | unexpected | p50 ms | MB | fds | threads |")
  print("|---|---|---|---|---|---|---|", flush=True)
  while not asking.done():
    await asyncio.wait({asking}, timeout=_EVERY)
    memory, descriptors, threads = process.now()
    times = seen["milliseconds"]
    middle = statistics.median(times) if times else float("nan")
    print(
      f"| {(time.monotonic() - began) / 60:.1f} | {len(times)} | "
      f"{len(seen['unexpected'])} | {middle:.0f} | {memory:.0f} | "
      f"{descriptors} | {threads} |",
      flush=True,
    )
  await asking
  print(*seen["unexpected"][:5], sep="\n")


if __name__ == "__main__":
  asyncio.run(main())
