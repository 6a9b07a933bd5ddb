"""Compiling, fitting and searching, on this machine's backend and for TPUs."""

import dataclasses
import importlib.util
import json
import types

import pytest
from typer import testing

from instructrec.cli import main
from instructrec.preflight import (
  check,
  chips,
  compiled,
  cost,
  launch,
  launch_files,
  report,
  search,
)

LENGTHS = ["INPUTS_LENGTH=256", "TARGETS_LENGTH=32"]
TINY = (
  "T5Config.emb_dim=32",
  "T5Config.num_heads=2",
  "T5Config.mlp_dim=64",
  "T5Config.num_encoder_layers=1",
  "T5Config.num_decoder_layers=1",
  "VOCAB_SIZE=128",
  "BATCH_SIZE=4",
  "INPUTS_LENGTH=32",
  "TARGETS_LENGTH=8",
)
LOCAL = chips.parse("local")


@pytest.fixture
def tiny():
  return launch_files.read(["gin/quickstart_token.gin"], TINY)


def _options(folder, **changes):
  defaults = {"hbm_gib": None, "search": False, "tries": 8, "cache": folder}
  return check.Options(**(defaults | changes))


def _silent(line):
  del line


def test_compiled_flops_are_those_of_the_model(tiny, tmp_path):
  """Nothing is recomputed, so that the formula and the compiler agree.

  But for one thing: on CPUs the gradient of the relative positions is summed
  over the batch as a product (`attention.dot_product_attention`).
  """
  result = check.run(tiny, "train", LOCAL, _options(tmp_path), _silent)
  found = report.as_json(result)
  if result.figures.cost.opaque:
    pytest.skip("this backend computes matrix products in custom calls")
  batch, config = tiny.batch("train"), tiny.network
  rows, inputs = batch["encoder_input_tokens"].shape
  targets = batch["decoder_target_tokens"].shape[-1]
  squares = (
    config.num_encoder_layers * inputs**2
    + config.num_decoder_layers * targets**2
  )
  sums = 2 * rows * config.num_heads * squares
  flops = result.figures.cost.flops
  model = found["model_over_compiled_flops"] * flops
  assert model == pytest.approx(flops - sums, rel=1e-6)
  assert found["fits"]
  assert found["limit_bytes"] is None or found["limit_bytes"] > 0


def test_recomputing_costs_a_forward_pass(tiny, tmp_path):
  full = tiny.with_settings(
    dataclasses.replace(tiny.settings, remat_policy="full")
  )
  plain = check.run(tiny, "train", LOCAL, _options(tmp_path), _silent)
  again = check.run(full, "train", LOCAL, _options(tmp_path), _silent)
  if again.figures.cost.opaque:
    pytest.skip("this backend computes matrix products in custom calls")
  ratio = again.figures.cost.flops / plain.figures.cost.flops
  assert 1.1 < ratio <= 4 / 3


def test_the_state_is_counted_without_compiling(tiny, tmp_path):
  """AdamW: three float32 numbers a parameter; all are arguments too."""
  result = check.run(tiny, "train", LOCAL, _options(tmp_path), _silent)
  state = compiled.state_bytes(tiny, LOCAL)
  assert state == pytest.approx(12 * tiny.network.num_parameters, rel=1e-3)
  batch = sum(x.size * 4 for x in tiny.batch("train").values())
  assert result.figures.memory.arguments == pytest.approx(
    state + batch, rel=0.01
  )


def test_figures_are_kept_on_disk(tiny, tmp_path, monkeypatch):
  first = compiled.compile_step(tiny, "score", LOCAL, tmp_path)
  monkeypatch.setattr(
    compiled, "measure", lambda *a: pytest.fail("compiled again")
  )
  assert compiled.compile_step(tiny, "score", LOCAL, tmp_path) == first
  other = dataclasses.replace(tiny, num_candidates=3)
  with pytest.raises(pytest.fail.Exception, match="compiled again"):
    compiled.compile_step(other, "score", LOCAL, tmp_path)


def test_kept_figures_that_were_changed_are_measured_again(
  tmp_path, monkeypatch, caplog
):
  measured = []
  monkeypatch.setattr(
    compiled, "measure", lambda *unused: measured.append(1) or _figures(123)
  )
  program = types.SimpleNamespace(as_text=lambda: "program")

  def figures():
    return compiled.compile_lowered(program, LOCAL, tmp_path)

  assert figures() == figures() == _figures(123)
  assert len(measured) == 1
  (file,) = tmp_path.iterdir()
  file.write_text(file.read_text().replace("123", "124"))
  assert figures() == _figures(123)
  assert f"{file} is damaged" in caplog.text
  assert figures() == _figures(123)
  assert len(measured) == 2


def test_the_compilers_complaints_are_read():
  def needed(message):
    return compiled._needed(message)

  assert needed(
    "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 28.50G "
    "of 15.75G hbm. Exceeded hbm capacity by 12.75G."
  ) == int(28.5 * 2**30)
  assert (
    needed(
      "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required "
      "for HLO temporaries (8.00T) exceeds available HBM (15.48G)."
    )
    == 8 * 2**40
  )
  assert needed("INTERNAL: Used 28.50G of 15.75G hbm") is None


def test_a_lack_of_memory_is_a_result_and_other_errors_are_errors():
  class Lowered:
    def __init__(self, message):
      self.message = message

    def compile(self):
      raise RuntimeError(self.message)

  figures = compiled.measure(
    Lowered("RESOURCE_EXHAUSTED: hbm. Used 28.50G of 15.75G hbm."), 8
  )
  assert not figures.fits(None)
  assert compiled.Figures.from_json(dataclasses.asdict(figures)) == figures
  with pytest.raises(RuntimeError, match="INTERNAL"):
    compiled.measure(Lowered("INTERNAL: broken"), 8)


def _figures(needed):
  memory = compiled.Memory(
    arguments=needed, outputs=0, aliased=0, temporaries=0, code=0
  )
  return compiled.Figures(
    memory=memory,
    needed_bytes=needed,
    cost=None,
    optimal_seconds=None,
    compile_seconds=0.0,
    compiler="none",
  )


def test_alternatives_come_in_the_order_of_their_cost(tiny):
  topology = chips.parse("v5e-4")
  found = search.alternatives(tiny, topology, "train")
  base = tiny.settings
  costs = [search.expected_cost(settings, base) for settings in found]
  assert costs == sorted(costs)
  assert all(cost > 0 for cost in costs)
  assert len(set(found)) == len(found)
  assert {s.remat_policy for s in found} == {"none", "minimal", "full"}
  # Two heads divide over two devices; the four rows over four data devices.
  assert {s.model for s in found} == {1, 2}
  assert {s.num_microbatches for s in found if s.model == 2} == {1, 2}


@pytest.mark.parametrize(("num_items", "models"), [(7, {1, 2}), (6, {1})])
def test_a_table_of_items_divides_as_well(num_items, models):
  """It has a row more than there are items."""
  bindings = [*TINY, f"NUM_ITEMS={num_items}", "TITLE_LENGTH=4"]
  found = launch_files.read(["gin/quickstart.gin"], bindings)
  others = search.alternatives(found, chips.parse("v5e-4"), "train")
  assert {settings.model for settings in others} == models


def test_scoring_has_no_microbatches(tiny):
  found = search.alternatives(tiny, chips.parse("v5e-4"), "score")
  assert {(s.num_microbatches, s.remat_policy) for s in found} == {(1, "none")}


@pytest.mark.slow
def test_the_search_ends_with_the_first_that_fits(tiny, tmp_path):
  """Under a limit between what the launch takes and what microbatches take."""
  plain = check.run(tiny, "train", LOCAL, _options(tmp_path), _silent)
  least = tiny.with_settings(
    dataclasses.replace(tiny.settings, num_microbatches=4, remat_policy="full")
  )
  small = check.run(least, "train", LOCAL, _options(tmp_path), _silent)
  needs = [r.figures.needed_bytes for r in (plain, small)]
  assert needs[1] < needs[0]
  limit = sum(needs) / 2
  options = _options(tmp_path, hbm_gib=limit / 2**30, search=True, tries=30)
  lines = []
  result = check.run(tiny, "train", LOCAL, options, lines.append)
  assert not result.fits
  assert result.remedy is result.attempts[-1]
  assert result.remedy.needed_bytes <= limit
  assert all(a.needed_bytes > limit for a in result.attempts[:-1])
  # What was passed over would indeed not have fitted.
  passed_over = [a for a in result.attempts if a.figures is None]
  for attempt in passed_over[:2]:
    which = tiny.with_settings(attempt.settings)
    figures = compiled.compile_step(which, "train", LOCAL, tmp_path)
    assert figures.needed_bytes >= attempt.needed_bytes
  # What it prints, given to the launch, fits.
  bindings = [
    option.removeprefix("--gin.").replace('\\"', '"')
    for option in search.gin_bindings(tiny, result.remedy.settings, LOCAL)
  ]
  again = launch_files.read(["gin/quickstart_token.gin"], [*TINY, *bindings])
  assert again.settings == result.remedy.settings
  fixed = check.run(again, "train", LOCAL, options, _silent)
  assert fixed.fits
  assert "fits with --gin." in report.text(result)
  _, _, as_is, changed = report.table([result]).splitlines()
  assert "| as is |" in as_is
  assert "| no |" in as_is
  assert "`--gin." in changed
  assert "| yes |" in changed
  assert len(lines) == 2 + sum(a.figures is not None for a in result.attempts)


def test_state_that_is_too_large_is_not_compiled(tiny):
  attempts = list(
    search.search(
      tiny,
      LOCAL,
      "train",
      _figures(10**9),
      limit_bytes=1000.0,
      compile_step=lambda which: pytest.fail("compiled"),
      tries=3,
    )
  )
  assert attempts
  assert not any(a.fits or a.figures for a in attempts)


def test_the_search_stops_after_so_many(tiny):
  attempts = list(
    search.search(
      tiny,
      LOCAL,
      "train",
      _figures(10**9),
      limit_bytes=10**8,
      compile_step=lambda which: _figures(2 * 10**8),
      tries=2,
    )
  )
  assert sum(a.figures is not None for a in attempts) == 2
  assert not any(a.fits for a in attempts)


def test_what_cannot_fit_is_passed_over():
  base = launch.Settings(
    model=1, shard_parameters=True, num_microbatches=1, remat_policy="minimal"
  )
  measured = [
    search.Attempt(
      settings=base, fits=False, state_bytes=2, needed_bytes=42, figures=None
    )
  ]

  def least(**changes):
    settings = dataclasses.replace(base, **changes)
    return search.least_bytes(settings, 2, measured, devices=8)

  assert least(num_microbatches=4) == 2 + 10
  assert least(num_microbatches=2, model=2) == 2 + 10
  assert least(remat_policy="none", num_microbatches=2) == 2 + 20
  assert least(remat_policy="full") == 2  # May save any part of it.


def test_bindings_for_both_runners():
  topology = chips.parse("v5e-32")
  settings = launch.Settings(
    model=8, shard_parameters=True, num_microbatches=2, remat_policy="minimal"
  )
  embedded = launch_files.read(["gin/quickstart_token.gin"], LENGTHS)
  assert search.gin_bindings(embedded, settings, topology) == [
    "--gin.MODEL_PARALLEL=8",
    "--gin.SHARD_PARAMETERS=True",
    "--gin.NUM_MICROBATCHES=2",
    '--gin.REMAT_POLICY=\\"minimal\\"',
  ]
  t5x = launch_files.read(["gin/instructrec_xl.gin"])
  assert search.gin_bindings(t5x, settings, topology) == [
    '--gin.MODEL_PARALLEL_SUBMESH="(4,2,1,1)"',
    "--gin.NUM_MICROBATCHES=2",
    '--gin.REMAT_POLICY=\\"minimal\\"',
  ]


def _on_eight_chips(tiny, gib, step="train", attempts=()):
  """As if a step took an hour's thousandth of computing on v5e."""
  chip = chips.parse("v5e-8").chip
  work = cost.Cost(
    flops=3.6 * chip.peak_flops,
    hbm_bytes=1.0,
    collectives={},
    cycles=0.0,
    opaque={},
    loops=False,
  )
  return check.Result(
    launch=tiny,
    step=step,
    topology=chips.parse("v5e-8"),
    limit_bytes=16 * 2**30,
    figures=dataclasses.replace(_figures(gib * 2**30), cost=work),
    attempts=attempts,
  )


def test_the_verdict_is_a_sentence(tiny):
  place = "the train step on v5e-8 (v5e:2x4)"
  assert report.verdict(_on_eight_chips(tiny, 4)) == (
    f"{place} fits: it needs 4.00 GiB a device, 25% of 16.00 GiB"
  )
  assert report.verdict(_on_eight_chips(tiny, 0)).endswith(
    "it needs 0.00 GiB a device, under 1% of 16.00 GiB"
  )
  assert report.verdict(_on_eight_chips(tiny, 32)) == (
    f"{place} does not fit: it needs 32.00 GiB a device of 16.00 GiB; --search "
    "looks for settings that do"
  )


def test_a_run_costs_its_steps_on_all_chips(tiny):
  """A thousand steps of a thousandth of an hour on eight chips."""
  assert tiny.config.train_steps == 1000
  found = report.cost(_on_eight_chips(tiny, 4), 1.5)
  assert "1,000 steps take at least 1.00 h on 8 chips" in found
  assert "8.00 chip-hours: 12.00 at 1.5 a chip-hour" in found
  assert "8.00 chip-hours: 0.008 at 0.001" in report.cost(
    _on_eight_chips(tiny, 4), 0.001
  )


def test_what_has_no_cost_says_why(tiny):
  too_large = _on_eight_chips(tiny, 32)
  assert "no settings are known to fit" in report.cost(too_large, 1.5)
  score = _on_eight_chips(tiny, 4, step="score")
  assert "the score step has no number of times" in report.cost(score, 1.5)
  here = dataclasses.replace(score, step="train", topology=LOCAL)
  assert "how fast these devices are" in report.cost(here, 1.5)


def test_the_cost_is_of_the_settings_that_fit(tiny):
  fitting = _on_eight_chips(tiny, 4).figures
  attempt = search.Attempt(
    settings=dataclasses.replace(tiny.settings, num_microbatches=2),
    fits=True,
    state_bytes=0,
    needed_bytes=fitting.needed_bytes,
    figures=fitting,
  )
  found = report.cost(_on_eight_chips(tiny, 32, attempts=(attempt,)), 1.5)
  assert "8.00 chip-hours: 12.00 at 1.5 a chip-hour" in found


def _command(*args):
  return testing.CliRunner().invoke(main.app, ["preflight", *args])


def test_the_command_says_what_does_not_fit(tmp_path):
  path = tmp_path / "new" / "figures.json"
  result = _command(
    "--gin_file=gin/quickstart_token.gin",
    "--topology=local",
    "--step=train",
    "--step=score",
    "--hbm_gib=0.0001",
    f"--cache_dir={tmp_path}/cache",
    f"--json={path}",
    *(f"--gin.{binding}" for binding in TINY),
  )
  assert result.exit_code == 1, result.output
  assert "DOES NOT FIT into 0.00 GiB" in result.stdout
  assert "--search looks for settings" in result.stdout
  assert "| local" in result.stdout
  found = json.loads(path.read_text())
  assert [entry["step"] for entry in found] == ["train", "score"]
  memory = found[0]["figures"]["memory"]
  assert found[0]["figures"]["needed_bytes"] == (
    memory["arguments"]
    + memory["outputs"]
    - memory["aliased"]
    + memory["temporaries"]
    + memory["code"]
  )
  assert found[0]["batch"]["encoder_input_tokens"] == [4, 32]
  assert not found[0]["fits"]


def test_the_command_names_a_wrong_step():
  result = _command(
    "--gin_file=gin/quickstart_token.gin", "--topology=local", "--step=walk"
  )
  assert result.exit_code == 2
  assert "--step=walk" in result.output


def _needs_libtpu():
  if importlib.util.find_spec("libtpu") is None:
    pytest.skip("libtpu is not installed: pip install 'instructrec[tpu]'")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v3-8", "v4-8", "v5e-8", "v5p-8", "v6e-8"])
def test_slices_exist(name):
  _needs_libtpu()
  topology = chips.parse(name)
  assert len(topology.devices()) == topology.num_devices


@pytest.mark.slow
def test_a_slice_that_libtpu_does_not_know():
  _needs_libtpu()
  with pytest.raises(chips.TopologyError, match=r"v5e:3x5: .*v5e-8 \(v5e:2x4"):
    chips.parse("v5e:3x5").devices()


@pytest.mark.slow
def test_a_step_is_compiled_for_tpus(tiny, tmp_path):
  """Two-way model parallelism and sharded parameters on eight chips."""
  _needs_libtpu()
  tiny = dataclasses.replace(tiny, batch_size=8)
  sharded = tiny.with_settings(
    dataclasses.replace(tiny.settings, model=2, shard_parameters=True)
  )
  topology = chips.parse("v5e-8")
  result = check.run(sharded, "train", topology, _options(tmp_path), _silent)
  assert result.fits
  work = result.figures.cost
  assert work.sent_bytes > 0
  assert work.cycles > 0
  whole = compiled.state_bytes(tiny, topology)
  assert compiled.state_bytes(sharded, topology) < whole / 4
  found = report.as_json(result)
  assert 0.9 < found["model_over_compiled_flops"] < 1.1
  assert found["bound"]["seconds"] == max(
    found["bound"][name] for name in ("compute", "memory", "network")
  )
  assert "at least" in report.text(result)


@pytest.mark.slow
def test_the_compiler_itself_says_what_does_not_fit(tiny, tmp_path):
  _needs_libtpu()
  huge = dataclasses.replace(
    tiny, score_batch_size=2**12, inputs_length=2**12, num_candidates=1
  )
  topology = chips.parse("v5e-1")
  result = check.run(huge, "score", topology, _options(tmp_path), _silent)
  assert not result.fits
  assert result.figures.memory is None
  assert result.figures.needed_bytes > topology.chip.hbm_bytes
  assert "gave up" in report.text(result)


@pytest.mark.slow
def test_a_mesh_that_does_not_divide_names_the_parameter(tiny):
  _needs_libtpu()
  topology = chips.parse("v5e-8")
  odd = tiny.with_settings(dataclasses.replace(tiny.settings, model=4))
  with pytest.raises(ValueError, match=r"rel_embedding .* does not divide"):
    compiled.lower(odd, "train", topology)
  rows = dataclasses.replace(tiny, batch_size=4)
  with pytest.raises(ValueError, match="batch of 4 rows does not divide"):
    compiled.lower(rows, "train", topology)
  lists = dataclasses.replace(tiny, batch_size=8, score_batch_size=12)
  with pytest.raises(ValueError, match="12 candidate lists do not divide"):
    compiled.lower(lists, "score", topology)
