"""`instructrec train`: gin in, a trained model folder out."""

import pathlib
from typing import Annotated, Any

import typer

from instructrec.cli.processes import (
  CoordinatorAddress,
  DeviceCount,
  InitializationTimeout,
  MultiprocessGpu,
  ProcessCount,
  ProcessIndex,
  join_processes,
)


def split_gin_args(args: list[str]) -> list[str]:
  """The bindings in `--gin.NAME=value` arguments.

  Args:
    args: arguments that are no options of the command.

  Returns:
    Bindings such as "NAME=value".

  Raises:
    typer.BadParameter: for anything else among them.
  """
  bindings = []
  for arg in args:
    if not arg.startswith("--gin.") or "=" not in arg:
      raise typer.BadParameter(
        f"unknown argument {arg!r}; gin bindings are written "
        "--gin.NAME=value, e.g. --gin.TRAIN_STEPS=100"
      )
    bindings.append(arg.removeprefix("--gin."))
  return bindings


def train(
  context: typer.Context,
  gin_file: Annotated[
    list[str],
    typer.Option(help="Gin file, e.g. gin/quickstart.gin; may be repeated."),
  ],
  tfds_data_dir: Annotated[
    pathlib.Path, typer.Option(help="Folder that `generate` wrote.")
  ],
  model_dir: Annotated[
    pathlib.Path,
    typer.Option(help="Folder of the run; an unfinished run in it goes on."),
  ],
  multiprocess_gpu: MultiprocessGpu = False,
  coordinator_address: CoordinatorAddress = None,
  process_count: ProcessCount = None,
  process_index: ProcessIndex = None,
  initialization_timeout: InitializationTimeout = None,
  device_count: DeviceCount = None,
) -> None:
  """Train a model; any binding can be set as [b]--gin.NAME=value[/b].

  The vocabulary is the one in the data folder. A run that was stopped goes on
  from its newest checkpoint when the same command is given again. Ctrl-C saves
  one first; pressed twice, it does not.
  """
  join_processes(
    multiprocess_gpu,
    coordinator_address,
    process_count,
    process_index,
    initialization_timeout,
  )
  run(
    gin_file,
    split_gin_args(context.args),
    tfds_data_dir=tfds_data_dir,
    model_dir=model_dir,
    device_count=device_count,
  )


def run(
  gin_files: list[str],
  bindings: list[str],
  *,
  tfds_data_dir: pathlib.Path,
  model_dir: pathlib.Path,
  device_count: int | None = None,
) -> None:
  """Trains; the function behind the command and the quickstart.

  Args:
    gin_files: paths of gin files.
    bindings: gin bindings over them.
    tfds_data_dir: the folder that `generate` wrote.
    model_dir: the folder of the run.
    device_count: devices that all processes must have together, or None.
  """
  import functools
  import os
  import time

  from instructrec import allocator
  from instructrec.evaluation import environment
  from instructrec.models import tokenizer
  from instructrec.models.objectives import objective
  from instructrec.pipelines import generate, streams, vocabulary
  from instructrec.training import (
    data_config,
    distributed,
    embedding_start,
    gin_config,
    item_arrays,
    item_table,
    run_dir,
    runner,
    sequences,
  )

  _check_folders(tfds_data_dir=tfds_data_dir, model_dir=model_dir)
  allocator.keep_freed_memory()
  distributed.check_devices(device_count)
  gin_config.parse(gin_files, bindings)
  config = gin_config.build(runner.TrainConfig)
  data = gin_config.build(data_config.DataConfig)
  gin_config.check_all_used()
  distributed.check_agreement({"the gin config": gin_config.config_text()})
  vocabulary_path = tfds_data_dir.absolute() / generate.VOCABULARY
  _check_vocabulary(vocabulary_path, config.model.vocab_size)
  os.environ[vocabulary.ENVIRONMENT_VARIABLE] = str(vocabulary_path)
  record: dict[str, Any] = {
    "command": {"gin_files": gin_files, "bindings": bindings},
    "tfds_data_dir": str(tfds_data_dir.absolute()),
    "environment": environment.describe(),
  }
  items, table_path = None, None
  if data.reads_items:
    items = item_arrays.ItemArrays.create(
      item_table.ItemTable.load(tfds_data_dir),
      tokenizer.Tokenizer(vocabulary_path),
      data,
    )
    table_path = tfds_data_dir / item_table.FILE
    _check_items(len(items.shares), config.model.num_items)
  elif config.initial_embeddings == "cooccurrence":
    raise ValueError(
      "INITIAL_EMBEDDINGS is 'cooccurrence', which is made of the items that "
      "batches hold; set HISTORY_LENGTH or NUM_DRAWN (gin/objectives/)"
    )
  open_stream = functools.partial(
    streams.open_stream,
    learns_targets=objective.LIKELIHOOD in config.model.score_parts,
  )
  stream = open_stream(data, "train", tfds_data_dir, items)
  validation = None
  if data.validation_split is not None:
    validation = open_stream(data, data.validation_split, tfds_data_dir, items)
  if distributed.is_lead():
    typer.echo(
      f"{stream.num_examples:,} training examples of {len(stream.datasets)} "
      f"tasks; {stream.truncated_inputs:.1%} of the instructions are cut at "
      f"{data.inputs_length} tokens"
    )
    if items is not None:
      typer.echo(
        f"{len(items.shares):,} items are read title by title; "
        f"{items.num_cut:,} titles are cut at {data.title_length} tokens, "
        f"{items.num_alike:,} have the tokens of another one"
      )
  before = run_dir.train_seconds(model_dir)
  first, started = 0, time.perf_counter()

  def save() -> None:
    run_dir.save(
      model_dir, vocabulary=vocabulary_path, record=record, items=table_path
    )

  def begin(step: int) -> None:
    nonlocal first
    first = step
    if distributed.is_lead():
      if step:
        typer.echo(
          f"goes on from checkpoint_{step} in {model_dir}: "
          f"{max(config.train_steps - step, 0):,} of {config.train_steps:,} "
          "steps are left"
        )
      save()

  def start() -> embedding_start.EmbeddingStart:
    typer.echo("embeddings start from what occurs with what")
    assert items is not None
    return embedding_start.from_cooccurrence(
      sequences.item_sequences(stream.datasets.values()),
      items.title_tokens,
      width=config.model.emb_dim,
      vocab_size=config.model.vocab_size,
      seed=config.seed,
    )

  state = runner.train(
    config,
    stream,
    validation,
    model_dir,
    embeddings=start if config.initial_embeddings == "cooccurrence" else None,
    begin=begin,
  )
  seconds = time.perf_counter() - started
  if distributed.is_lead():
    # Of a run that was stopped, the time of its earlier starts is not known.
    if first == 0:
      record["train_seconds"] = round(seconds, 1)
    elif first >= config.train_steps and before is not None:
      record["train_seconds"] = before
    save()
    typer.echo(
      f"trained to step {int(state.step)} in {seconds:,.0f} s; checkpoints "
      f"and logs in {model_dir}"
    )


def _check_vocabulary(path: pathlib.Path, limit: int) -> None:
  from instructrec.models import tokenizer

  found = tokenizer.Tokenizer(path).vocab_size
  if found > limit:
    raise ValueError(
      f"{path} has {found} ids, the model {limit}; set --gin.VOCAB_SIZE to at "
      f"least {found}"
    )


def _check_items(found: int, limit: int) -> None:
  if limit and found > limit:
    raise ValueError(
      f"the data have {found:,} items, the model has vectors for {limit:,} "
      f"beside their titles; set --gin.NUM_ITEMS={found}, or 0 for none"
    )


def _check_folders(**folders: pathlib.Path) -> None:
  for option, path in folders.items():
    # A pathlib.Path has made one slash of the two in gs://.
    if path.parts and path.parts[0] in ("gs:", "s3:"):
      raise ValueError(
        f"--{option}={path} is a bucket, expected a folder: the embedded "
        "runner maps its data into memory. Mount the bucket (docs/pods.md), "
        "or train with T5X, which reads and writes buckets itself"
      )
