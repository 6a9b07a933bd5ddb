import math

import pytest

from instructrec.preflight import chips


@pytest.mark.parametrize(
  ("name", "shape", "devices"),
  [
    ("v5e:4x8", "v5e:4x8", 32),
    ("v5e-8", "v5e:2x4", 8),
    ("v5litepod-8", "v5e:2x4", 8),
    ("v5e-1", "v5e:1x1", 1),
    ("v6e-32", "v6e:4x8", 32),
    # Eight cores are four chips, and a chip is one device but on v3.
    ("v4-8", "v4:2x2x1", 4),
    ("v4-32", "v4:2x2x4", 16),
    ("v5p-8", "v5p:2x2x1", 4),
    ("v3-8", "v3:2x2", 8),
  ],
)
def test_names_of_slices(name, shape, devices):
  topology = chips.parse(name)
  assert topology.shape == shape
  assert topology.num_devices == devices


@pytest.mark.parametrize("chip", chips.CHIPS.values(), ids=lambda c: c.name)
def test_accelerator_types_count_chips_or_cores(chip):
  for number, shape in chip.shapes.items():
    size = math.prod(map(int, shape.split("x")))
    assert number == size * chip.cores_per_chip


@pytest.mark.parametrize("chip", chips.CHIPS.values(), ids=lambda c: c.name)
def test_the_units_of_the_chip_table(chip):
  # Bytes, FLOP/s and bytes/s of a device, not GB, TFLOP/s or gigabits.
  assert 15 * 2**30 < chip.hbm_bytes < 96 * 2**30
  assert 60e12 < chip.peak_flops < 1e15
  assert 4e11 < chip.hbm_bandwidth < 3e12
  assert 1e11 < chip.ici_bandwidth < 1e12


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("v4-9", r"no slice 'v4-9'; expected one of v4-8 \(v4:2x2x1\)"),
    ("v7:2x2", "expected a chip among v3, v4, v5e, v5p, v6e"),
    ("v5e", "with a shape"),
    ("v5e:2by4", "unknown topology 'v5e:2by4'"),
    ("cpu", "or 'local'"),
  ],
)
def test_a_name_that_is_none(name, message):
  with pytest.raises(chips.TopologyError, match=message):
    chips.parse(name)


@pytest.mark.parametrize(
  ("name", "model", "tile"),
  [
    ("v5e:4x8", 1, (1, 1, 1, 1)),
    ("v5e:4x8", 8, (4, 2, 1, 1)),
    ("v4-32", 4, (2, 2, 1, 1)),
    ("v5p:2x2x4", 16, (2, 2, 4, 1)),
    # Cores of a chip are nearer than chips.
    ("v3-8", 4, (2, 1, 1, 2)),
    ("local", 2, (1, 2, 1, 1)),
  ],
)
def test_the_block_that_shares_weights(name, model, tile):
  assert chips.parse(name).submesh(model) == tile


def test_a_block_that_does_not_tile():
  with pytest.raises(ValueError, match="no block of 3 devices tiles v5e:2x4"):
    chips.parse("v5e:2x4").submesh(3)


def test_without_libtpu_it_says_what_to_install(monkeypatch):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(chips.TopologyError, match=r"instructrec\[tpu\]"):
    chips.parse("v5e-8").devices()
