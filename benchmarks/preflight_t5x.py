"""Our training step beside that of T5X's own network, compiled for TPUs.

  PYTHONPATH=${T5X_DIR} python benchmarks/preflight_t5x.py \
    --gin_file=gin/instructrec_xl.gin --topology=v5e-8 \
    --gin=SCAN_LAYERS=True --gin="REMAT_POLICY='minimal'" --gin=BATCH_SIZE=16

Needs T5X (docs/t5x.md) and libtpu, no TPU. All have the sizes, batch, mesh,
recomputation and optimizer of the gin files: our network under the embedded
runner and under T5X's trainer and partitioner, and T5X's `examples/scalable_t5`
under the latter. Prints a Markdown table of memory and work per device.
"""

import argparse
import copy
import pathlib
from typing import Any

import jax
from t5x import adafactor, models, partitioning, trainer, utils
from t5x.examples.scalable_t5 import network

import t5x_t5
from instructrec import cache
from instructrec.preflight import (
  check,
  chips,
  compiled,
  launch,
  launch_files,
  report,
)
from instructrec.training import mesh as mesh_lib


def t5x_optimizer() -> adafactor.Adafactor:
  """As `gin/runs/t5x_finetune.gin` has it."""
  return adafactor.Adafactor(
    decay_rate=0.8,
    step_offset=0,
    logical_factor_rules=adafactor.standard_logical_factor_rules(),
  )


def t5x_model(found: launch.Launch) -> models.EncoderDecoderModel:
  """T5X's scalable T5 1.1 with the sizes of a launch."""
  return t5x_t5.build(
    network, found.network, optimizer_def=t5x_optimizer(), z_loss=1e-4
  )


def our_model(found: launch.Launch) -> Any:
  """Our model of a launch, for T5X's trainer."""
  model: Any = copy.copy(found.config.model)
  model.optimizer_def = t5x_optimizer()
  return model


def lower_under_t5x(
  model: Any, found: launch.Launch, topology: chips.Topology
) -> jax.stages.Lowered:
  """T5X's training step of a model for a slice, from shapes alone."""
  settings = found.settings
  partitioner = partitioning.PjitPartitioner(
    model_parallel_submesh=topology.submesh(settings.model),
    logical_axis_rules=partitioning.standard_logical_axis_rules(
      parameter_partitioning_dims=2 if settings.shard_parameters else 1,
      additional_rules=[
        rule for rule in found.config.mesh.rules if rule[0] == "residual_length"
      ],
    ),
  )
  # T5X would take the devices of this machine. The mesh is ours in both.
  partitioner.__dict__["mesh"] = mesh_lib.make_mesh(
    found.config.mesh, topology.devices()
  )
  batch = found.batch("train")
  initializer = utils.TrainStateInitializer(
    optimizer_def=model.optimizer_def,
    init_fn=model.get_initial_variables,
    input_shapes={name: x.shape for name, x in batch.items()},
    input_types={name: x.dtype for name, x in batch.items()},
    partitioner=partitioner,
  )
  axes = initializer.train_state_axes
  rng = jax.random.PRNGKey(0)
  learning_rate = utils.create_learning_rate_scheduler(
    factors="constant", base_learning_rate=5e-4
  )
  microbatches = settings.num_microbatches

  def step(state: Any, batch: Any) -> Any:
    return trainer.train_with_lr(
      state,
      batch,
      learning_rate=learning_rate(state.step),
      dropout_rng=jax.random.fold_in(rng, state.step),
      model=model,
      num_microbatches=microbatches if microbatches > 1 else None,
      data_partition_spec=partitioner.data_partition_spec,
    )

  partitioned = partitioner.partition(
    step,
    in_axis_resources=(axes, partitioner.data_partition_spec),
    out_axis_resources=(axes, None),
    donate_argnums=(0,),
  )
  return partitioned.lower(initializer.global_train_state_shape, batch)


def main() -> None:
  """Compiles all and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--gin_file", action="append", required=True)
  parser.add_argument("--gin", action="append", default=[])
  parser.add_argument("--topology", required=True)
  parser.add_argument(
    "--cache_dir", type=pathlib.Path, default=cache.folder("preflight")
  )
  args = parser.parse_args()
  jax.config.update("jax_platforms", "cpu")
  found = launch_files.read(args.gin_file, args.gin)
  if found.rng_impl is not None:
    jax.config.update("jax_default_prng_impl", found.rng_impl)
  topology = chips.parse(args.topology)
  ours = compiled.compile_step(found, "train", topology, args.cache_dir)
  under_t5x = [
    compiled.compile_lowered(
      lower_under_t5x(model, found, topology), topology, args.cache_dir
    )
    for model in (our_model(found), t5x_model(found))
  ]
  results = [
    check.Result(
      launch=found,
      step="train",
      topology=topology,
      limit_bytes=topology.chip and topology.chip.hbm_bytes,
      figures=figures,
    )
    for figures in (ours, *under_t5x)
  ]
  lines = report.table(results).splitlines()
  for name, line in zip(
    ("network", "---", "ours", "ours, under T5X", "T5X's"), lines, strict=True
  ):
    start = f"|{name}" if name == "---" else f"| {name} "
    print(start + line)


if __name__ == "__main__":
  main()
