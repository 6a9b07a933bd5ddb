"""`instructrec evaluate`: a trained run in, a reranking report out."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instructrec.cli.modules import TrustedModules
from instructrec.cli.processes import (
  CoordinatorAddress,
  DeviceCount,
  InitializationTimeout,
  MultiprocessGpu,
  ProcessCount,
  ProcessIndex,
  join_processes,
)

if TYPE_CHECKING:
  from instructrec.instructions import chat_client


def evaluate(
  model_dir: Annotated[
    pathlib.Path, typer.Option(help="Folder that `train` wrote.")
  ],
  output: Annotated[
    pathlib.Path | None,
    typer.Option(help="Folder of the report; <model_dir>/report if left out."),
  ] = None,
  publish: Annotated[
    pathlib.Path | None,
    typer.Option(
      help="Keep the figures as a small JSON file as well, such as "
      "docs/results/NAME.json; `results publish` chooses rows and metrics."
    ),
  ] = None,
  split: Annotated[str, typer.Option(help="validation or test.")] = "test",
  step: Annotated[
    int | None, typer.Option(help="Checkpoint; the newest if left out.")
  ] = None,
  checkpoint: Annotated[
    str | None,
    typer.Option(
      help="Hugging Face, T5X or other checkpoint to evaluate on the run's "
      "data instead of the run's own."
    ),
  ] = None,
  tfds_data_dir: Annotated[
    pathlib.Path | None,
    typer.Option(
      help="Instructions of other data or wordings, made with the run's "
      "vocabulary; those of the run if left out."
    ),
  ] = None,
  task_type: Annotated[
    list[str] | None,
    typer.Option(
      help="Such as sequential or sequential_p1_i0; repeat it; all if left out."
    ),
  ] = None,
  num_requests: Annotated[
    int | None,
    typer.Option(
      help="Requests a task type, drawn by seed; all if left out.", min=1
    ),
  ] = None,
  candidates: Annotated[
    pathlib.Path | None,
    typer.Option(
      help="Lists to rank: of `retrieve candidates`, or a published file in "
      "LLMRank's format; the frozen ones if left out."
    ),
  ] = None,
  validation_candidates: Annotated[
    pathlib.Path | None,
    typer.Option(
      help="Lists of the validation split that are made alike: they choose "
      "how the scores of retriever and model are mixed."
    ),
  ] = None,
  num_candidates: Annotated[
    int, typer.Option(help="Of a published list, the target included.", min=2)
  ] = 20,
  retriever: Annotated[
    list[pathlib.Path] | None,
    typer.Option(help="Folder that `retrieve fit` wrote, as a row; repeat it."),
  ] = None,
  score_normalization: Annotated[
    list[str] | None,
    typer.Option(help="sum or mean over tokens; repeat it to compare."),
  ] = None,
  num_validation: Annotated[
    int | None,
    typer.Option(
      help="Validation requests a task that fit the weights of the score's "
      "parts; 0 takes those of the run. 1000 if left out.",
      min=0,
    ),
  ] = None,
  num_histories: Annotated[
    int,
    typer.Option(
      help="Histories that following wishes is measured on, where the run "
      "matches titles; 0 for none.",
      min=0,
    ),
  ] = 500,
  protocol: Annotated[
    list[str] | None,
    typer.Option(help="one_pass (the default) or tournament; repeat it."),
  ] = None,
  chat_model: Annotated[
    str | None,
    typer.Option(
      help="Model of a chat server, as a row; the key comes from "
      "OPENAI_API_KEY alone ([teacher] extra)."
    ),
  ] = None,
  chat_base_url: Annotated[
    str | None, typer.Option(help="Such as http://127.0.0.1:8000/v1.")
  ] = None,
  chat_cache: Annotated[
    pathlib.Path, typer.Option(help="SQLite file of the server's replies.")
  ] = pathlib.Path("chat_cache.sqlite"),
  chat_concurrency: Annotated[
    int, typer.Option(help="Requests on the way at once.")
  ] = 16,
  chat_max_tokens: Annotated[
    int | None, typer.Option(help="Tokens that a run may use, in and out.")
  ] = None,
  chat_max_cost: Annotated[
    float | None, typer.Option(help="Money that a run may spend.")
  ] = None,
  chat_price_in: Annotated[
    float, typer.Option(help="Money per million tokens of prompts.")
  ] = 0.0,
  chat_price_out: Annotated[
    float, typer.Option(help="Money per million tokens of replies.")
  ] = 0.0,
  num_orders: Annotated[
    int,
    typer.Option(
      help="Ask tournaments and chat models that often, each time with the "
      "candidates in another order, and report how far the rankings agree.",
      min=1,
    ),
  ] = 1,
  batch_size: Annotated[
    int,
    typer.Option(
      help="Requests scored at once, by all devices together.", min=1
    ),
  ] = 32,
  model_parallel: Annotated[
    int | None,
    typer.Option(
      help="Devices that share one copy of the parameters; as in training if "
      "left out. The requests are split over the others.",
      min=1,
    ),
  ] = None,
  multiprocess_gpu: MultiprocessGpu = False,
  coordinator_address: CoordinatorAddress = None,
  process_count: ProcessCount = None,
  process_index: ProcessIndex = None,
  initialization_timeout: InitializationTimeout = None,
  device_count: DeviceCount = None,
  seed: Annotated[
    int,
    typer.Option(
      help="Of subset, random baseline, groups and bootstrap.", min=0
    ),
  ] = 0,
  module: TrustedModules = None,
) -> None:
  """Rerank candidate lists; write tables, pictures and intervals.

  All devices score, those of other processes too.
  """
  join_processes(
    multiprocess_gpu,
    coordinator_address,
    process_count,
    process_index,
    initialization_timeout,
  )
  chat = None
  if chat_base_url is not None and chat_model is None:
    raise ValueError(
      "--chat_base_url names a server and no model; pass --chat_model as well"
    )
  if chat_model is not None:
    from instructrec.instructions import budget, chat_client

    chat = chat_client.ChatConfig(
      model=chat_model,
      base_url=chat_base_url,
      cache=str(chat_cache),
      concurrency=chat_concurrency,
      temperature=0.0,
      budget=budget.Budget(
        max_tokens=chat_max_tokens,
        max_cost=chat_max_cost,
        price_in=chat_price_in,
        price_out=chat_price_out,
        options="chat",
      ),
    )
  run(
    model_dir,
    output,
    publish=publish,
    split=split,
    step=step,
    checkpoint=checkpoint,
    tfds_data_dir=tfds_data_dir,
    task_types=task_type or (),
    num_requests=num_requests,
    candidates=candidates,
    validation_candidates=validation_candidates,
    num_candidates=num_candidates,
    retrievers=retriever or (),
    score_normalizations=score_normalization or (),
    num_validation=num_validation,
    num_histories=num_histories,
    protocols=protocol or ("one_pass",),
    chat=chat,
    num_orders=num_orders,
    batch_size=batch_size,
    model_parallel=model_parallel,
    device_count=device_count,
    seed=seed,
    modules=module or (),
  )


_NUM_VALIDATION = 1000


def _lists(
  path: pathlib.Path | None,
  prepared: Any,
  split: str,
  num_candidates: int,
  seed: int,
) -> Any:
  """The lists of a file, ours or a published one."""
  from instructrec.retrieval import candidate_lists

  if path is None:
    return None
  if path.suffix == ".parquet":
    return candidate_lists.CandidateLists.load(path, prepared)
  return candidate_lists.published(
    path, prepared, split, num_candidates=num_candidates, seed=seed
  )


def run(
  model_dir: pathlib.Path,
  output: pathlib.Path | None = None,
  *,
  publish: pathlib.Path | None = None,
  split: str = "test",
  step: int | None = None,
  checkpoint: str | None = None,
  tfds_data_dir: pathlib.Path | None = None,
  task_types: Sequence[str] = (),
  num_requests: int | None = None,
  candidates: pathlib.Path | None = None,
  validation_candidates: pathlib.Path | None = None,
  num_candidates: int = 20,
  retrievers: Sequence[pathlib.Path] = (),
  score_normalizations: Sequence[str] = (),
  num_validation: int | None = None,
  num_histories: int = 500,
  protocols: Sequence[str] = ("one_pass",),
  chat: "chat_client.ChatConfig | None" = None,
  num_orders: int = 1,
  batch_size: int = 32,
  model_parallel: int | None = None,
  device_count: int | None = None,
  seed: int = 0,
  modules: Sequence[str] = (),
) -> pathlib.Path:
  """Evaluates; the function behind the command and the quickstart.

  With several processes each scores its share, and the lead writes the report.

  Args:
    model_dir: the folder that `train` wrote.
    output: the folder of the report; None for <model_dir>/report.
    publish: file of the figures alone; see `published`. None for none.
    split: "validation" or "test".
    step: which checkpoint; None for the newest.
    checkpoint: where the parameters are, if not in the run.
    tfds_data_dir: instructions that the run was not trained on; None for
      those of the run.
    task_types: which task types; empty for all.
    num_requests: requests a task type; None for all.
    candidates: file of the lists to rank; None for the frozen ones.
    validation_candidates: file of lists that choose the mixture's weight.
    num_candidates: length of the lists of a published file.
    retrievers: folders of fitted retrievers, as rows.
    score_normalizations: "sum", "mean" or both; empty for the model's own.
    num_histories: histories that following is measured on; 0 for none.
    num_validation: validation requests a task that fit the score weights; 0
      for none, None for 1,000 where the split allows it.
    protocols: "one_pass", "tournament" or both.
    chat: a chat model as a row; None for none.
    num_orders: orders of the candidates that tournaments and chat models get.
    batch_size: requests scored at once, by all devices together.
    model_parallel: devices that share one copy of the parameters; None for as
      many as in training.
    device_count: devices that all processes must have together, or None.
    seed: of the subset, the random baseline and the bootstrap.
    modules: Python modules that the run's settings may name beside ours.

  Returns:
    The path of report.md.

  Raises:
    ValueError: where devices are missing or do not divide, the processes mean
      different evaluations, or each of them would ask a chat server.
  """
  import json
  import time

  from instructrec import allocator
  from instructrec.data import dataset
  from instructrec.evaluation import environment, published_report, report
  from instructrec.pipelines import evaluate as pipeline
  from instructrec.retrieval import methods
  from instructrec.training import distributed, run_dir

  started = time.perf_counter()
  allocator.keep_freed_memory()
  distributed.check_devices(device_count)
  opened = run_dir.load(model_dir, modules=modules)
  opened = opened.on_all_devices(model_parallel)
  if tfds_data_dir is None:
    tfds_data_dir = pathlib.Path(opened.record["tfds_data_dir"])
  manifest = json.loads((tfds_data_dir / "manifest.json").read_text())
  # Targets and baselines are those of the instructions, or leaks are silent.
  prepared = dataset.load(
    manifest["prepared_dir"], fingerprint=manifest["prepared_fingerprint"]
  )
  lists = _lists(candidates, prepared, split, num_candidates, seed)
  validation_lists = _lists(
    validation_candidates, prepared, "validation", num_candidates, seed
  )
  normalizations = tuple(score_normalizations) or (
    opened.train.model.score_normalization,
  )
  if chat is not None:
    distributed.check_alone("a chat server would be asked by each")
  distributed.check_agreement(
    {
      "the split": [split, step, checkpoint, manifest["fingerprint"]],
      "the choice of requests": [*task_types, num_requests, seed],
      "the scoring": [*normalizations, batch_size, model_parallel],
      "the candidate lists": [
        None if found is None else found.manifest
        for found in (lists, validation_lists)
      ],
    }
  )
  # Before the work, for a file that a killed run left cut is an error.
  training_log = report.read_training_log(opened.directory / "metrics.jsonl")
  evaluation = pipeline.Evaluation(
    run=opened,
    prepared=prepared,
    tfds_data_dir=tfds_data_dir,
    split=split,
    step=step,
    checkpoint=checkpoint,
    task_types=task_types,
    num_requests=num_requests,
    lists=lists,
    validation_lists=validation_lists,
    retrievers=methods.load_all(retrievers, prepared.fingerprint),
    normalizations=tuple(score_normalizations),
    num_validation=_num_validation(num_validation, split),
    num_histories=num_histories,
    protocols=protocols,
    chat=chat,
    tell=typer.echo,
    num_orders=num_orders,
    batch_size=batch_size,
    seed=seed,
  )
  found = evaluation()
  context = report.Context(
    title=f"Reranking report: {opened.directory.name}, {split} split",
    commands=[environment.command()],
    protocol={
      "task": "rank the target among its candidates by log-likelihood",
      "candidates": prepared.manifest["candidates"]
      if lists is None
      else lists.facts,
      "score": f"{' and '.join(normalizations)} over tokens, nats",
      "passes": ", ".join(protocols),
      "ties": "expected value under random tie-breaking",
      "intervals": "95% percentile bootstrap over requests, or over users "
      "where some have several",
      "intentions": f"protocol {manifest['protocol']}: "
      f"{ {r.group: manifest['origins'].get(r.group) for r in found} }",
      "split": prepared.manifest["split"],
    },
    data={
      "source": prepared.manifest["source"],
      **prepared.manifest["counts"],
      "prepared fingerprint": prepared.fingerprint,
      "instructions fingerprint": manifest["fingerprint"],
      "vocabulary": manifest["vocabulary"]["fingerprint"],
    },
    seeds={
      "candidates": (prepared if lists is None else lists).manifest["seed"],
      "instructions": manifest["seed"],
      "training": opened.train.seed,
      "evaluation": seed,
    },
    environment=environment.describe(),
    config=(opened.directory / run_dir.CONFIG).read_text(),
    warnings=[
      *prepared.manifest["warnings"],
      "Ranks among sampled candidates do not order methods as ranks among the "
      "whole catalogue do; compare them only with figures of the same "
      "candidate sets.",
      *_foreign(opened.record, tfds_data_dir),
    ],
    training_log=training_log,
    sections=evaluation.sections,
    following=evaluation.following(),
    wall_seconds={
      # A run that is not finished has no time of its own yet.
      **(
        {"training": opened.record["train_seconds"]}
        if "train_seconds" in opened.record
        else {}
      ),
      "evaluation": time.perf_counter() - started,
    },
  )
  output = output or opened.directory / "report"
  if not distributed.is_lead():
    return output / "report.md"
  path = report.write(output, found, context)
  for result in found:
    width = max(16, *map(len, result.methods))
    typer.echo(f"\n{result.group} ({result.num_requests:,} requests)")
    for name, row in result.methods.items():
      cells = "  ".join(
        f"{m} {row[m].mean:.3f}" for m in ("HR@1", "HR@3", "HR@5", "NDCG@10")
      )
      typer.echo(f"  {name:{width}s} {cells}")
    typer.echo(f"  {report.headline(result)}")
  typer.echo(f"\nreport: {path}")
  if publish is not None:
    published_report.from_folder(output, publish.stem).save(publish)
    typer.echo(f"figures: {publish}")
  return path


def _num_validation(wanted: int | None, split: str) -> int:
  """Validation requests that fit score weights; none where they are ranked."""
  if wanted is not None:
    return wanted
  return 0 if split == "validation" else _NUM_VALIDATION


def _foreign(
  record: Mapping[str, Any], tfds_data_dir: pathlib.Path
) -> list[str]:
  """What a reader must know where the run was trained on other instructions."""
  trained_on = pathlib.Path(record["tfds_data_dir"])
  if trained_on.resolve() == tfds_data_dir.resolve():
    return []
  return [
    f"The model was trained on other instructions ({trained_on}) than these "
    f"({tfds_data_dir}). Where both come from one log, the split must be the "
    "same, or test targets were trained on."
  ]
