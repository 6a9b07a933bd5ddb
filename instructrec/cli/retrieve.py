"""`instructrec retrieve`: fit and evaluate the matching module's methods."""

import pathlib
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from instructrec.cli.modules import TrustedModules

_Path = pathlib.Path


def fit(
  data: Annotated[_Path, typer.Option(help="Folder that `prepare` wrote.")],
  method: Annotated[
    str,
    typer.Option(
      help="random, popularity, bm25, itemknn, als, sasrec, bert4rec, "
      "two_tower."
    ),
  ],
  output: Annotated[_Path, typer.Option(help="Folder to make.")],
  num_trials: Annotated[
    int,
    typer.Option(help="Settings tried: the defaults, then draws by seed."),
  ] = 1,
  max_epochs: Annotated[
    int | None,
    typer.Option(
      help="Of each trial, at most; the method's if left out.", min=1
    ),
  ] = None,
  num_validation: Annotated[
    int,
    typer.Option(
      help="Validation requests that stop training and choose.", min=1
    ),
  ] = 2000,
  setting: Annotated[
    list[str] | None,
    typer.Option(help="Of every trial, as NAME=VALUE; may be repeated."),
  ] = None,
  seed: Annotated[
    int,
    typer.Option(help="Of training, settings and validation requests.", min=0),
  ] = 0,
  overwrite: Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing output.")
  ] = False,
) -> None:
  """Fit a retriever on the training log; tune it on validation requests."""
  given: dict[str, Any] = dict(_assignment(text) for text in setting or ())
  run_fit(
    data,
    method,
    output,
    num_trials=num_trials,
    max_epochs=max_epochs,
    num_validation=num_validation,
    settings=given,
    seed=seed,
    overwrite=overwrite,
  )


def _assignment(text: str) -> tuple[str, str]:
  name, equals, value = text.partition("=")
  if not equals:
    raise typer.BadParameter(
      f"--setting={text}: expected NAME=VALUE, e.g. emb_dim=64"
    )
  return name, value


def _requests(prepared: Any, split: str, count: int | None, seed: int) -> Any:
  """Requests of a split, all or a seeded subset, in the table's order."""
  from instructrec.data import request

  frame = prepared.requests.read(split)
  if not frame.height:
    raise ValueError(
      f"the prepared data have no requests of the split {split!r}; expected "
      f"one of {[*prepared.requests.counts]}"
    )
  return request.from_frame(request.sample(frame, count, seed))


def run_fit(
  data: _Path,
  method: str,
  output: _Path,
  *,
  num_trials: int = 1,
  max_epochs: int | None = None,
  num_validation: int = 2000,
  settings: dict[str, Any] | None = None,
  seed: int = 0,
  overwrite: bool = False,
) -> None:
  """Fits; the function behind the command. Arguments are its options."""
  import dataclasses

  from instructrec import allocator, output_folder
  from instructrec.data import dataset
  from instructrec.retrieval import methods, retriever, tuning

  allocator.keep_freed_memory()
  defaults = methods.settings(method)
  given = dict(settings or {})
  # A method without epochs or randomness is tuned in as many trials.
  if max_epochs is not None and "max_epochs" in defaults:
    given["max_epochs"] = max_epochs
  if "seed" in defaults:
    given.setdefault("seed", seed)
  output_folder.check(output, overwrite=overwrite, marker=retriever.MARKER)
  prepared = dataset.load(data)
  validation = _requests(prepared, "validation", num_validation, seed)
  best, trials = tuning.tune(
    method,
    prepared.split.training_log,
    prepared.catalog,
    validation,
    num_trials=num_trials,
    seed=seed,
    given=given,
  )
  best.save(
    output,
    overwrite=overwrite,
    record={
      "prepared_dir": str(data.absolute()),
      "prepared_fingerprint": prepared.fingerprint,
      "num_validation": len(validation),
      "seed": seed,
      "trials": [dataclasses.asdict(trial) for trial in trials],
      "epochs": getattr(best, "epochs", None),
    },
  )
  chosen = dataclasses.asdict(best)  # type: ignore[call-overload]
  for trial in trials:
    mark = "*" if trial.settings == chosen else " "
    changed = {k: v for k, v in trial.settings.items() if v != defaults[k]}
    epochs = "" if trial.epochs is None else f", {trial.epochs} epochs"
    typer.echo(
      f"{mark} validation NDCG@10 {trial.ndcg_at_10:.4f}, "
      f"{trial.seconds:,.0f} s{epochs}; {changed or 'defaults'}"
    )
  typer.echo(
    f"{method}: {len(trials)} trials, {len(validation):,} validation requests "
    f"over {len(prepared.catalog):,} items; written to {output}"
  )


def evaluate(
  data: Annotated[_Path, typer.Option(help="Folder that `prepare` wrote.")],
  retriever: Annotated[
    list[_Path],
    typer.Option(help="Folder that `retrieve fit` wrote; repeat it."),
  ],
  output: Annotated[_Path, typer.Option(help="Folder of the report.")],
  model_dir: Annotated[
    list[_Path] | None,
    typer.Option(
      help="Folder that `train` wrote, of a run that matches titles: its state "
      "vector is a row; repeat it."
    ),
  ] = None,
  candidates: Annotated[
    list[_Path] | None,
    typer.Option(
      help="Published candidate file (LLMRank's format); repeat it. Only its "
      "users are evaluated."
    ),
  ] = None,
  num_candidates: Annotated[
    int, typer.Option(help="Of a published list, the target included.", min=2)
  ] = 20,
  split: Annotated[str, typer.Option(help="validation or test.")] = "test",
  num_requests: Annotated[
    int | None,
    typer.Option(
      help="Drawn by seed; all if left out. Not with candidates.", min=1
    ),
  ] = None,
  keep_seen: Annotated[
    bool,
    typer.Option(
      "--keep_seen", help="Rank items of the history, too (full catalogue)."
    ),
  ] = False,
  seed: Annotated[
    int, typer.Option(help="Of subset and bootstrap.", min=0)
  ] = 0,
  module: TrustedModules = None,
) -> None:
  """Rank frozen candidates, published ones and the whole catalogue."""
  run_evaluate(
    data,
    retriever,
    output,
    model_dirs=model_dir or (),
    candidates=candidates or (),
    num_candidates=num_candidates,
    split=split,
    num_requests=num_requests,
    keep_seen=keep_seen,
    seed=seed,
    modules=module or (),
  )


def _published(
  files: Sequence[_Path],
  prepared: Any,
  split: str,
  num_candidates: int,
  seed: int,
) -> dict[str, Any]:
  """Requests by the name of the candidate file, of the same users in all."""
  from instructrec.data import candidate_files

  if not files:
    return {}
  longest = prepared.manifest["split"]["max_history"]
  if longest < candidate_files.MAX_HISTORY:
    raise ValueError(
      f"the requests have histories of at most {longest} items, the protocol "
      f"of candidate files up to {candidate_files.MAX_HISTORY}; prepare the "
      f"data with --max_history={candidate_files.MAX_HISTORY}"
    )
  frame = prepared.requests.read(split)
  found = {}
  for path in files:
    name = path.name.split(".tsv")[0]
    if name in found:
      raise ValueError(
        f"two candidate files are called {name!r}; rename one, the report "
        "names lists after their files"
      )
    found[name] = candidate_files.requests(
      candidate_files.read(path, prepared.catalog),
      frame,
      num_candidates=num_candidates,
      seed=seed,
    )
  users = {frozenset(r.user_id for r in rows) for rows in found.values()}
  if len(users) > 1:
    raise ValueError(
      f"the candidate files {[str(f) for f in files]} are of different users; "
      "evaluate them one by one"
    )
  return found


def _runs(
  folders: Sequence[_Path], fingerprint: str, modules: Sequence[str]
) -> dict[str, Any]:
  """Runs as retrievers, by the name of their folder."""
  if not folders:
    return {}
  from instructrec.serving import opened_run, run_retriever

  found = {}
  for folder in folders:
    opened = opened_run.OpenedRun.open(folder, modules=modules)
    if opened.prepared.fingerprint != fingerprint:
      raise ValueError(
        f"the run {folder} was trained on data with the fingerprint "
        f"{opened.prepared.fingerprint}, these have {fingerprint}; pass the "
        "--data that it was made from"
      )
    found[folder.resolve().name] = run_retriever.RunRetriever(opened)
  return found


def run_evaluate(
  data: _Path,
  retrievers: Sequence[_Path],
  output: _Path,
  *,
  model_dirs: Sequence[_Path] = (),
  candidates: Sequence[_Path] = (),
  num_candidates: int = 20,
  split: str = "test",
  num_requests: int | None = None,
  keep_seen: bool = False,
  seed: int = 0,
  modules: Sequence[str] = (),
) -> _Path:
  """Evaluates; the function behind the command. Arguments are its options.

  Returns:
    The path of report.md.
  """
  import time

  from instructrec.data import dataset
  from instructrec.evaluation import environment, markdown, report
  from instructrec.retrieval import evaluate as ranking
  from instructrec.retrieval import methods
  from instructrec.retrieval import retriever as retriever_lib

  if candidates and num_requests is not None:
    raise ValueError(
      "--num_requests draws users and --candidates brings its own; pass one "
      "of them"
    )
  started = time.perf_counter()
  prepared = dataset.load(data)
  opened = {
    **methods.load_all(retrievers, prepared.fingerprint),
    **_runs(model_dirs, prepared.fingerprint, modules),
  }
  published = _published(candidates, prepared, split, num_candidates, seed)
  requests = _requests(prepared, split, num_requests, seed)
  if published:
    users = {r.user_id for r in next(iter(published.values()))}
    requests = [
      r for r in _requests(prepared, split, None, seed) if r.user_id in users
    ]
  log = prepared.split.training_log
  found = [
    ranking.evaluate(
      "frozen candidates", opened, requests, training_log=log, seed=seed
    ),
    *(
      ranking.evaluate(
        name,
        opened,
        rows,
        training_log=log,
        ndcg_at=(1, 5, 10, 20),
        seed=seed,
      )
      for name, rows in published.items()
    ),
    ranking.evaluate_catalogue(
      "full catalogue",
      opened,
      requests,
      training_log=log,
      remove_seen=not keep_seen,
      seed=seed,
    ),
  ]
  manifests = {
    folder.resolve().name: retriever_lib.read_manifest(folder)
    for folder in retrievers
  }
  context = report.Context(
    title=f"Retrievers, {split} split",
    commands=[environment.command()],
    protocol={
      "frozen candidates": prepared.manifest["candidates"],
      "published candidates": [str(path) for path in candidates] or "none",
      "full catalogue": "items of the history "
      + ("ranked, too" if keep_seen else "left out"),
      "ties": "expected value under random tie-breaking",
      "intervals": "95% percentile bootstrap over requests, or over users "
      "where some have several",
      "split": prepared.manifest["split"],
    },
    data={
      "source": prepared.manifest["source"],
      **prepared.manifest["counts"],
      "prepared fingerprint": prepared.fingerprint,
    },
    seeds={"candidates": prepared.manifest["seed"], "evaluation": seed},
    environment=environment.describe(),
    config="\n".join(
      f"{name}: {m['method']}, {len(m['record']['trials'])} trials, "
      f"{m['record']['num_validation']} validation requests; {m['settings']}"
      for name, m in manifests.items()
    ),
    warnings=prepared.manifest["warnings"],
    training_log=(),
    wall_seconds={"evaluation": time.perf_counter() - started},
  )
  path = report.write(output, found, context)
  for result in found:
    typer.echo(f"\n{result.group} ({result.num_requests:,} requests)")
    typer.echo(markdown.metric_table(result))
  typer.echo(f"\nreport: {path}")
  return path
