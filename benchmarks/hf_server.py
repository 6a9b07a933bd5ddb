"""Transformers behind FastAPI: lists of candidates, a forward pass each.

  python benchmarks/hf_server.py --model_dir=work/model --reuse

What `serving_peer.py` asks beside `instructrec serve`: the network of a run
with the same weights, the prompt written out in the request, one request after
another on all cores. `--reuse` reads the prompt once for all candidates.
"""

import argparse
import asyncio
import concurrent.futures
import os
import pathlib
from collections.abc import Callable, Sequence

import fastapi
import numpy as np
import pydantic
import torch
import uvicorn

import hf_t5
from instructrec import allocator
from instructrec.models import tokenizer
from instructrec.serving import opened_run
from instructrec.settings import run as run_settings


def add_run(parser: argparse.ArgumentParser) -> None:
  """Adds which run; the same words as `instructrec serve` has."""
  parser.add_argument("--model_dir", type=pathlib.Path, required=True)
  parser.add_argument("--tfds_data_dir", type=pathlib.Path)


def settings(args: argparse.Namespace) -> run_settings.RunSettings:
  """The run of a command line."""
  return run_settings.RunSettings(
    model_dir=args.model_dir, tfds_data_dir=args.tfds_data_dir
  )


class Request(pydantic.BaseModel):
  """The prompt, and what is ranked."""

  query: str
  documents: list[str]


Score = Callable[[str, Sequence[str]], list[float]]


def scorer(opened: opened_run.OpenedRun, *, reuse: bool) -> Score:
  """Scores documents by a run's network in transformers.

  Args:
    opened: the run.
    reuse: whether the prompt is read once for all documents.
  """
  model = hf_t5.build(opened.run.model.module.config, opened.params)
  score = hf_t5.reused_scores if reuse else hf_t5.naive_scores
  vocabulary = opened.run.tokenizer
  longest = opened.run.data.inputs_length

  @torch.inference_mode()
  def scores(prompt: str, documents: Sequence[str]) -> list[float]:
    inputs = vocabulary.encode(prompt)[:longest]
    inputs[-1] = tokenizer.EOS_ID
    rows = vocabulary.encode_all(documents)
    targets = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for target, row in zip(targets, rows, strict=True):
      target[: len(row)] = row
    return score(
      model, torch.tensor([inputs]), torch.from_numpy(targets)
    ).tolist()

  return scores


def create(score: Score) -> fastapi.FastAPI:
  """The application; a thread of its own scores, so that it keeps listening."""
  app = fastapi.FastAPI()
  thread = concurrent.futures.ThreadPoolExecutor(1)

  @app.post("/v1/rerank")
  async def rerank(request: Request) -> dict:
    scores = await asyncio.get_running_loop().run_in_executor(
      thread, score, request.query, request.documents
    )
    order = sorted(range(len(scores)), key=lambda place: -scores[place])
    return {
      "results": [
        {"index": place, "relevance_score": scores[place]} for place in order
      ]
    }

  return app


def main() -> None:
  """Serves until it is ended."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  add_run(parser)
  parser.add_argument("--reuse", action="store_true")
  args = parser.parse_args()
  allocator.keep_freed_memory()
  torch.set_num_threads(os.cpu_count() or 1)
  opened = opened_run.OpenedRun.open(settings(args))
  app = create(scorer(opened, reuse=args.reuse))
  uvicorn.run(app, host="127.0.0.1", port=0, access_log=False)


if __name__ == "__main__":
  main()
