"""How fast a million candidate lists are scored, and in how much memory.

Lists are drawn in blocks, so that the machine need not hold them; only the
scoring is timed, in CPU seconds of all threads together. Beside ours stand
pytrec_eval and sorting every list with NumPy, both on a part of the lists and
checked to give our values:

    python benchmarks/metrics.py --output=metrics.json
"""

import argparse
import pathlib
import resource
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytrec_eval
from jaxtyping import Float, Int

import side_by_side
from instructrec.evaluation import environment, metrics

_BLOCK = 50_000
_TREC = {
  **{f"HR@{k}": f"success_{k}" for k in metrics.HIT_RATE_AT},
  **{f"NDCG@{k}": f"ndcg_cut_{k}" for k in metrics.NDCG_AT},
  "MRR": "recip_rank",
}


def blocks(
  num_lists: int, num_candidates: int
) -> Iterator[
  tuple[Float[np.ndarray, "lists candidates"], Int[np.ndarray, " lists"]]
]:
  """Random scores and labels, the same whenever they are asked for.

  Args:
    num_lists: how many in all.
    num_candidates: length of each list.

  Yields:
    float32 scores and the index of the right candidate.
  """
  rng = np.random.default_rng(0)
  for start in range(0, num_lists, _BLOCK):
    size = min(_BLOCK, num_lists - start)
    scores = rng.random((size, num_candidates), dtype=np.float32)
    yield scores, rng.integers(0, num_candidates, size)


def by_sorting(
  scores: Float[np.ndarray, "lists candidates"],
  labels: Int[np.ndarray, " lists"],
) -> dict[str, Float[np.ndarray, " lists"]]:
  """The metrics from a full sort of each list, for lists without ties.

  Args:
    scores: higher is better.
    labels: index of the right candidate.

  Returns:
    Values by name.
  """
  order = np.argsort(-scores, axis=1)
  rank = np.argmax(order == labels[:, None], axis=1) + 1
  gain = 1 / np.log2(rank + 1)
  return {
    **{f"HR@{k}": (rank <= k) * 1.0 for k in metrics.HIT_RATE_AT},
    **{f"NDCG@{k}": np.where(rank <= k, gain, 0.0) for k in metrics.NDCG_AT},
    "MRR": 1 / rank,
  }


def by_pytrec_eval(
  scores: Float[np.ndarray, "lists candidates"],
  labels: Int[np.ndarray, " lists"],
) -> tuple[dict[str, Float[np.ndarray, " lists"]], float]:
  """The metrics from pytrec_eval, and the seconds without making its input.

  Args:
    scores: higher is better.
    labels: index of the right candidate.

  Returns:
    Values by name, and seconds.
  """
  names = [f"d{j}" for j in range(scores.shape[1])]
  qrels = {f"q{i}": {names[label]: 1} for i, label in enumerate(labels)}
  run = {
    f"q{i}": dict(zip(names, row, strict=True))
    for i, row in enumerate(scores.tolist())
  }
  measures = {"success.1,3,5,10", "ndcg_cut.3,5,10", "recip_rank"}
  started = time.process_time()
  found = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
  seconds = time.process_time() - started
  values = {
    ours: np.array([found[q][theirs] for q in qrels])
    for ours, theirs in _TREC.items()
  }
  return values, seconds


def ours(num_lists: int, num_candidates: int) -> tuple[float, dict[str, float]]:
  """CPU seconds of our metrics, without drawing the lists; and their means."""
  seconds, sums = 0.0, dict.fromkeys(metrics.NAMES, 0.0)
  for scores, labels in blocks(num_lists, num_candidates):
    started = time.process_time()
    for name, values in metrics.per_request(scores, labels).items():
      sums[name] += float(values.sum())
    seconds += time.process_time() - started
  return seconds, {name: total / num_lists for name, total in sums.items()}


def peak_bytes(num_lists: int, num_candidates: int) -> int:
  """Most bytes that Python and NumPy held at a time while scoring."""
  tracemalloc.start()
  ours(num_lists, num_candidates)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  return peak


def main() -> None:
  """Runs the benchmark."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--num_lists", type=int, default=1_000_000)
  parser.add_argument("--num_candidates", type=int, default=100)
  parser.add_argument("--num_sorted", type=int, default=_BLOCK)
  parser.add_argument("--num_pytrec_eval", type=int, default=5_000)
  parser.add_argument("--output", type=pathlib.Path, required=True)
  args = parser.parse_args()
  width = args.num_candidates
  seconds, means = ours(args.num_lists, width)
  rate = args.num_lists / seconds
  record = {
    "lists": args.num_lists,
    "candidates": width,
    "seconds": seconds,
    "lists_per_second": rate,
    "means": means,
    "chance": metrics.chance(width),
    "environment": environment.describe(),
  }
  print(
    f"ours: {args.num_lists:,} lists of {width} in {seconds:.2f} s CPU "
    f"({rate:,.0f} a second), {len(metrics.NAMES)} metrics each"
  )
  for name, count in (
    ("sorting", args.num_sorted),
    ("pytrec_eval", args.num_pytrec_eval),
  ):
    # Whole numbers without ties, which 32-bit floats of trec_eval hold.
    scores, labels = next(blocks(count, width))
    scores = np.argsort(np.argsort(scores, 1), 1).astype(np.float32)
    if name == "sorting":
      started = time.process_time()
      values = by_sorting(scores, labels)
      taken = time.process_time() - started
    else:
      values, taken = by_pytrec_eval(scores, labels)
    for metric, own in metrics.per_request(scores, labels).items():
      np.testing.assert_allclose(own, values[metric], rtol=0, atol=1e-12)
    record[name] = {
      "lists": len(labels),
      "seconds": taken,
      "ratio": rate * taken / len(labels),
    }
    print(
      f"{name}: {len(labels):,} lists in {taken:.2f} s CPU, same values to "
      f"1e-12; ours is {record[name]['ratio']:.0f} times as fast"
    )
  for count in (args.num_lists // 10, args.num_lists):
    peak = peak_bytes(count, width)
    record.setdefault("peak_bytes", {})[count] = peak
    print(f"peak for {count:,} lists: {peak / 2**20:.0f} MiB, lists included")
  resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  record["max_resident_bytes"] = resident
  print(f"process: {resident / 2**20:,.0f} MiB resident at most")
  side_by_side.write_json(args.output, record)


if __name__ == "__main__":
  main()
