"""Requests a second, and how long they take, by clients at once.

  python benchmarks/serving.py --model_dir=work/model --seconds=3

Starts `instructrec serve` on a free port of loopback twice, without batching
(`--most_at_once=1`) and with it, and asks for recommendations from 1 to 64
clients. Each client sends its next request when it has its answer; histories
and wishes are drawn from the catalogue, the same for both. Client and server
share the machine's cores. It stops by itself.
"""

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time

CLIENTS = (1, 2, 4, 8, 16, 32, 64)
_FORMS = ("Something like {}", "No {}, please", "A {} for two", "{}, but cheap")
_READY = 300  # Seconds.


class Connection:
  """One client's connection, kept alive; as little as HTTP allows.

  Attributes:
    head: status and headers of the last answer, in small letters.
  """

  def __init__(self, port: int) -> None:
    self._port = port
    self.head = ""

  @property
  def closing(self) -> bool:
    """Whether the server has said that it closes it."""
    return "connection: close" in self.head

  async def __aenter__(self) -> "Connection":
    self._reader, self._writer = await asyncio.open_connection(
      "127.0.0.1", self._port
    )
    return self

  async def __aexit__(self, *unused: object) -> None:
    self._writer.close()

  async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
    """The body of an answer.

    Raises:
      RuntimeError: for another status than 200.
    """
    status, found = await self.send(method, path, body)
    if status != 200:
      raise RuntimeError(f"{path} was answered {status}: {found[:300]!r}")
    return found

  async def send(
    self, method: str, path: str, body: bytes = b""
  ) -> tuple[int, bytes]:
    """The status and the body of an answer."""
    self._writer.write(
      f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
      "Content-Type: application/json\r\n"
      f"Content-Length: {len(body)}\r\n\r\n".encode()
      + body
    )
    head = await self._reader.readuntil(b"\r\n\r\n")
    self.head = head.decode("latin-1").lower()
    (length,) = re.findall(r"content-length: (\d+)", self.head)
    found = await self._reader.readexactly(int(length))
    return int(self.head.split()[1]), found


async def requests(port: int, count: int, seed: int) -> list[bytes]:
  """Bodies with histories and wishes of the catalogue."""
  rng = random.Random(seed)
  async with Connection(port) as connection:
    found = await connection.ask("GET", "/v1/items?limit=1000")
  titles = [item["title"] for item in json.loads(found)["data"]]
  words = sorted({word for title in titles for word in title.split()})
  return [
    json.dumps(
      {
        "history": rng.sample(titles, rng.randint(1, 8)),
        "instruction": rng.choice(_FORMS).format(rng.choice(words)),
        "k": 10,
      }
    ).encode()
    for _ in range(count)
  ]


async def answered(
  port: int, path: str, bodies: list[bytes], clients: int, seconds: float
) -> tuple[list[float], float]:
  """Milliseconds of each request of some clients, and the seconds of all."""
  times: list[float] = []
  began = time.perf_counter()
  end = began + seconds

  async def client(number: int) -> None:
    async with Connection(port) as connection:
      place = number
      while (start := time.perf_counter()) < end:
        body = bodies[place % len(bodies)]
        await connection.ask("POST", path, body)
        times.append(1000 * (time.perf_counter() - start))
        place += clients

  await asyncio.gather(*(client(number) for number in range(clients)))
  return times, time.perf_counter() - began


async def load(
  port: int, bodies: list[bytes], clients: int, seconds: float
) -> dict[str, float]:
  """Requests a second, quantiles of their time, the server's CPU time of one.

  Times are milliseconds.
  """
  cpu = await cpu_seconds(port)
  times, spent = await answered(
    port, "/v1/recommendations", bodies, clients, seconds
  )
  cpu = await cpu_seconds(port) - cpu
  cuts = statistics.quantiles(times, n=100)
  return {
    "requests_per_second": len(times) / spent,
    "p50": cuts[49],
    "p95": cuts[94],
    "p99": cuts[98],
    "cpu": 1000 * cpu / len(times),
  }


async def cpu_seconds(port: int) -> float:
  """CPU time of the server so far."""
  async with Connection(port) as connection:
    text = (await connection.ask("GET", "/metrics")).decode()
  (found,) = re.findall(r"(?m)^process_cpu_seconds_total (\S+)$", text)
  return float(found)


async def measure(
  port: int, bodies: list[bytes] | None, seconds: float, seed: int
) -> tuple[list[bytes], list[dict[str, float]]]:
  """The rows of one server."""
  bodies = bodies or await requests(port, 2000, seed)
  await load(port, bodies, 4, min(seconds, 2.0))  # Not counted.
  return bodies, [
    await load(port, bodies, clients, seconds) for clients in CLIENTS
  ]


def ours(*options: str) -> list[str]:
  """The command of our server."""
  return [
    *(sys.executable, "-m", "instructrec.cli.main", "serve", "--port=0"),
    *options,
  ]


def start(
  command: list[str], ready: str = " is ready: "
) -> tuple[subprocess.Popen, int]:
  """A server, and its port.

  Args:
    command: starts it.
    ready: what it prints when it is.
  """
  process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
  port, end = None, time.monotonic() + _READY
  assert process.stderr is not None
  for line in process.stderr:
    if found := re.search(r"running on http://127.0.0.1:(\d+)", line):
      port = int(found[1])
    if ready in line and port is not None:
      print(line.strip(), file=sys.stderr)
      return process, port
    if time.monotonic() > end:
      break
  process.kill()
  raise RuntimeError(f"the server did not start: {process.wait()}")


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--model_dir", required=True)
  parser.add_argument("--seconds", type=float, default=3.0)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--json")
  given = parser.parse_args()
  bodies, rows = None, {}
  print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
  for most_at_once in (1, 64):
    process, port = start(
      ours(f"--model_dir={given.model_dir}", f"--most_at_once={most_at_once}")
    )
    try:
      bodies, rows[most_at_once] = asyncio.run(
        measure(port, bodies, given.seconds, given.seed)
      )
    finally:
      process.terminate()
      process.communicate(timeout=60)
  print(
    "| clients | batching | requests/s | p50 ms | p95 ms | p99 ms | CPU ms a "
    "request |"
  )
  print("|---|---|---|---|---|---|---|")
  for place, clients in enumerate(CLIENTS):
    for most_at_once, name in ((1, "off"), (64, "on")):
      row = rows[most_at_once][place]
      cells = [f"{row[key]:.1f}" for key in row]
      print(f"| {clients} | {name} | {' | '.join(cells)} |")
  if given.json:
    record = {"clients": CLIENTS, "seconds": given.seconds, "rows": rows}
    with open(given.json, "w") as file:
      json.dump(record, file, indent=2)


if __name__ == "__main__":
  main()
