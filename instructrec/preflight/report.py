"""What a preflight found: as text, as a Markdown table, as JSON."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from instructrec.preflight import check, chips, roofline, search
from instructrec.preflight import launch as launch_lib

_GIB = 2**30


def _name(topology: chips.Topology) -> str:
  if topology.name == topology.shape:
    return topology.name
  return f"{topology.name} ({topology.shape})"


def _devices(topology: chips.Topology) -> str:
  """How many, and what a device is: on v3 half a chip."""
  count = topology.num_devices
  chip = topology.chip
  if chip is None:
    return f"{count} devices; each of them:"
  if chip.devices_per_chip > 1:
    return (
      f"{count} cores, {chip.devices_per_chip} a chip; each core, which is a "
      "device to JAX:"
    )
  return f"{count} chips; each of them:"


def _settings(launch: launch_lib.Launch, devices: int) -> str:
  s = launch.settings
  split = launch.config.mesh.shard_sequence
  model: Any = launch.config.model
  chunks = model.loss_chunks
  return (
    f"mesh {devices // s.model} x {s.model} (data x model), "
    f"{'2-D' if s.shard_parameters else '1-D'} parameters, "
    f"{'split residual stream, ' if split else ''}"
    f"{s.num_microbatches} microbatch{'es' * (s.num_microbatches > 1)}, remat "
    f"{s.remat_policy}"
    f"{', scanned layers' if launch.network.scan_layers else ''}"
    f"{f', loss in {chunks} chunks' if chunks > 1 else ''}"
  )


def _batch(result: check.Result) -> str:
  launch = result.launch
  if result.step == "score":
    return (
      f"{launch.score_batch_size} lists of {launch.num_candidates} candidates, "
      f"{launch.inputs_length} + {launch.targets_length} tokens"
    )
  rows = (
    f"{launch.batch_size} rows of {launch.inputs_length} + "
    f"{launch.targets_length} tokens{', packed' if launch.pack else ''}"
  )
  if launch.lists is None or launch.catalog is None:
    return rows
  return (
    f"{rows}; {launch.lists.num_lists} lists drawn of each, of up to "
    f"{launch.lists.max_items} of {launch.catalog.items:,} titles, the longest "
    f"of {launch.catalog.title_length} tokens"
  )


def verdict(result: check.Result) -> str:
  """Whether a step fits, and with what it would, in a sentence.

  Args:
    result: of `check.run`.
  """
  place = f"the {result.step} step on {_name(result.topology)}"
  needed = f"{result.figures.needed_bytes / _GIB:.2f} GiB a device"
  if result.limit_bytes is None:
    return f"{place} needs {needed}; how much there is, nothing says"
  limit = f"{result.limit_bytes / _GIB:.2f} GiB"
  if result.fits:
    share = result.figures.needed_bytes / result.limit_bytes
    percent = f"{share:.0%}" if share >= 0.01 else "under 1%"
    return f"{place} fits: it needs {needed}, {percent} of {limit}"
  remedy = _remedy(result)[0].strip()
  return f"{place} does not fit: it needs {needed} of {limit}; {remedy}"


def cost(result: check.Result, price_per_chip_hour: float) -> str:
  """What a run costs at least, in a sentence, or why that is not known.

  Args:
    result: of `check.run`; where it does not fit, the settings that do count.
    price_per_chip_hour: of one chip, in any currency.
  """
  if result.step != "train":
    return f"no estimate of cost: the {result.step} step has no number of times"
  if result.topology.chip is None:
    return "no estimate of cost: how fast these devices are, nothing says"
  runs = result if result.fits else result.remedied
  if runs is None or runs.figures.cost is None:
    return "no estimate of cost: no settings are known to fit"
  chip = result.topology.chip
  steps = runs.launch.config.train_steps
  seconds = steps * roofline.bounds(runs.figures.cost, chip).seconds
  count = result.topology.num_devices // chip.devices_per_chip
  chip_hours = seconds / 3600 * count
  return (
    f"{steps:,} steps take at least {_duration(seconds)} on {count:,} chips, "
    f"{_amount(chip_hours)} chip-hours: "
    f"{_amount(chip_hours * price_per_chip_hour)} at {price_per_chip_hour:g} "
    "a chip-hour, without starts, compiling, evaluation and checkpoints"
  )


def _duration(seconds: float) -> str:
  for size, unit in ((3600, "h"), (60, "min")):
    if seconds >= size:
      return f"{_amount(seconds / size)} {unit}"
  return f"{_amount(seconds)} s"


def _amount(value: float) -> str:
  return f"{value:,.2f}" if value >= 0.1 else f"{value:.2g}"


def text(result: check.Result) -> str:
  """All figures of a result, for people.

  Args:
    result: of `check.run`.

  Returns:
    Lines.
  """
  topology, figures = result.topology, result.figures
  devices = topology.num_devices
  lines = [
    f"{result.step} step on {_name(topology)}: {_devices(topology)}",
    f"  {_settings(result.launch, devices)}",
    f"  {_batch(result)}",
    *_memory(result),
  ]
  if figures.cost is not None:
    lines += _work(result)
  lines.append(
    f"  compiled in {figures.compile_seconds:,.0f} s by {figures.compiler}"
  )
  if result.remedy is not None:
    lines += _remedy(result)
  return "\n".join([*lines, verdict(result)])


def _memory(result: check.Result) -> list[str]:
  found, limit = result.figures.memory, result.limit_bytes
  if limit is None:
    verdict = "no limit known"
  else:
    verdict = (
      f"{'fits' if result.fits else 'DOES NOT FIT'} into {limit / _GIB:.2f} GiB"
    )
  lines = [
    f"  memory      {result.figures.needed_bytes / _GIB:9.3f} GiB, {verdict}"
  ]
  if found is None:
    lines.append("    (what the compiler came down to before it gave up)")
    return lines
  return lines + [
    f"    {name:<12}{getattr(found, name) / _GIB:7.3f} GiB"
    for name in ("arguments", "outputs", "aliased", "temporaries", "code")
  ]


def _work(result: check.Result) -> list[str]:
  figures, chip = result.figures, result.topology.chip
  work = figures.cost
  assert work is not None
  lines = [
    f"  FLOPs       {work.flops:9.3e}",
    f"  model FLOPs {_needed_flops(result):9.3e}",
  ]
  if ratio := _ratio(result):
    lines[-1] += f", {ratio:.1%} of the compiled"
  for name, times in work.opaque.items():
    lines.append(f"    not counted: {times:,.0f} x {name}")
  lines.append(f"  bytes       {work.hbm_bytes:9.3e} read and written")
  lines.append(f"  sent        {work.sent_bytes:9.3e} bytes to others")
  for kind, found in sorted(work.collectives.items()):
    lines.append(
      f"    {kind:<19}{found.count:6,.0f} x, {found.sent_bytes:9.3e} bytes"
    )
  if work.cycles:
    lines.append(f"  cycles      {work.cycles:9.3e}, the compiler's estimate")
  if figures.optimal_seconds is not None:
    lines.append(
      f"  optimal     {figures.optimal_seconds * 1e3:9.3f} ms, the compiler's "
      "estimate"
    )
  if chip is not None:
    bound = roofline.bounds(work, chip)
    lines.append(
      f"  at least    {bound.seconds * 1e3:9.3f} ms, bound by {bound.by} "
      f"(compute {bound.compute * 1e3:.3f}, memory {bound.memory * 1e3:.3f}, "
      f"network {bound.network * 1e3:.3f})"
    )
    lines.append(
      f"  at most     {_rate(result):9,.0f} tokens/s, all devices together"
    )
  return lines


def _needed_flops(result: check.Result) -> float:
  """Model FLOPs of a device's share."""
  total = roofline.model_flops(result.launch, result.step)
  return total / result.topology.num_devices


def _ratio(result: check.Result) -> float | None:
  """Model FLOPs over compiled FLOPs; None where some were not counted."""
  work = result.figures.cost
  if work is None or work.opaque or not work.flops:
    return None
  return _needed_flops(result) / work.flops


def _rate(result: check.Result) -> float:
  """Tokens a second of inputs and targets at the roofline."""
  work, chip = result.figures.cost, result.topology.chip
  assert work is not None
  assert chip is not None
  seconds = roofline.bounds(work, chip).seconds
  return roofline.tokens(result.launch, result.step) / seconds


def _remedy(result: check.Result) -> list[str]:
  if not result.attempts:
    return ["  --search looks for settings that do"]
  found = result.remedy
  if found is None:
    return [f"  no other setting was found to fit ({_tried(result)})"]
  options = search.gin_bindings(result.launch, found.settings, result.topology)
  return [
    f"  fits with {' '.join(options)}: {found.needed_bytes / _GIB:.3f} GiB "
    f"({_tried(result)})"
  ]


def _tried(result: check.Result) -> str:
  count = sum(attempt.figures is not None for attempt in result.attempts)
  return (
    f"{count} settings compiled, {len(result.attempts) - count} passed over"
  )


def table(results: Sequence[check.Result]) -> str:
  """A Markdown table.

  Args:
    results: of `check.run`.

  Returns:
    The table, one row a result, and one for the settings that were found to
    fit where it does not; memory, FLOPs, bytes and times are per device.
  """
  lines = [
    "| slice | devices | settings | memory GiB (limit) | fits | TFLOP | "
    "model/compiled | GB read, written | GB sent | at least ms (bound by) | "
    "at most tokens/s |",
    "|---" * 11 + "|",
  ]
  for result in results:
    lines.append("| " + " | ".join(_row(result, "as is")) + " |")
    if result.remedy is not None and result.remedied is not None:
      options = search.gin_bindings(
        result.launch, result.remedy.settings, result.topology
      )
      cells = _row(result.remedied, f"`{' '.join(options)}`")
      lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


def _row(result: check.Result, settings: str) -> list[str]:
  topology, figures = result.topology, result.figures
  limit = result.limit_bytes
  cells = [
    f"{_name(topology)}{', score' * (result.step == 'score')}",
    str(topology.num_devices),
    settings,
    f"{figures.needed_bytes / _GIB:.2f}"
    + ("" if limit is None else f" ({limit / _GIB:.2f})"),
    "yes" if result.fits else "no",
  ]
  work = figures.cost
  if work is None:
    return cells + ["-"] * 6
  ratio = _ratio(result)
  cells += [
    f"{work.flops / 1e12:.3f}",
    "-" if ratio is None else f"{ratio:.2f}",
    f"{work.hbm_bytes / 1e9:.2f}",
    f"{work.sent_bytes / 1e9:.2f}",
  ]
  if topology.chip is None:
    return [*cells, "-", "-"]
  bound = roofline.bounds(work, topology.chip)
  return [
    *cells,
    f"{bound.seconds * 1e3:.1f} ({bound.by})",
    f"{_rate(result):,.0f}",
  ]


def as_json(result: check.Result) -> dict[str, Any]:
  """Everything of a result, as JSON has it.

  Args:
    result: of `check.run`.

  Returns:
    Bytes, FLOPs and seconds as plain numbers.
  """
  topology, figures = result.topology, result.figures
  launch = result.launch
  bound = None
  if figures.cost is not None and topology.chip is not None:
    found = roofline.bounds(figures.cost, topology.chip)
    bound = {
      **dataclasses.asdict(found),
      "seconds": found.seconds,
      "by": found.by,
      "tokens_per_s": _rate(result),
    }
  return {
    "topology": topology.name,
    "shape": topology.shape,
    "devices": topology.num_devices,
    "step": result.step,
    "settings": dataclasses.asdict(launch.settings),
    "scan_layers": launch.network.scan_layers,
    "batch": {
      name: list(x.shape) for name, x in launch.batch(result.step).items()
    },
    "limit_bytes": result.limit_bytes,
    "fits": result.fits,
    "figures": dataclasses.asdict(figures),
    "model_flops": _needed_flops(result),
    "model_over_compiled_flops": _ratio(result),
    "bound": bound,
    "attempts": [
      {
        **dataclasses.asdict(attempt),
        "bindings": search.gin_bindings(launch, attempt.settings, topology),
      }
      for attempt in result.attempts
    ],
  }
