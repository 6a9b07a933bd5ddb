"""What `allocator.keep_freed_memory` does to a process, in page faults."""

import os
import pathlib
import subprocess
import sys

import pytest

from instructrec import allocator
from instructrec.cli import evaluate, train
from instructrec.settings import evaluation, training
from instructrec.training import distributed

_HERE = pathlib.Path(__file__).parent

# Its temporary has 64 MB, more than glibc keeps; prints faults a run.
_PROGRAM = """
import resource
import jax
import jax.numpy as jnp
from instructrec import allocator

kept = {call}
run = jax.jit(lambda x: jnp.dot(jnp.dot(x, x.T), x))
x = jnp.ones((4_096, 64))
for _ in range(3):
  run(x).block_until_ready()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
found = []
for _ in range(5):
  before = faults()
  run(x).block_until_ready()
  found.append(faults() - before)
# The fewest: a busy machine takes pages back that were kept.
print(kept, min(found))
"""


def _faults(call, **environment):
  """What the call returned, and the fewest page faults of a run."""
  clean = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))
  }
  ran = subprocess.run(
    [sys.executable, "-c", _PROGRAM.format(call=call)],
    env=clean | {"JAX_PLATFORMS": "cpu"} | environment,
    capture_output=True,
    text=True,
    check=True,
  )
  kept, faults = ran.stdout.split()
  return kept, int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="counts Linux's faults")
def test_temporaries_are_not_mapped_anew_in_each_run():
  before = _faults("None")
  after = _faults("allocator.keep_freed_memory()")
  if after[0] != "True":
    pytest.skip("the C library is not glibc")
  # 64 MB are 16,384 pages.
  assert before[1] > 15_000
  assert after[1] < before[1] / 2


def test_a_users_settings_of_malloc_stay():
  kept, _ = _faults(
    "allocator.keep_freed_memory()", MALLOC_TRIM_THRESHOLD_="131072"
  )
  assert kept == "False"


@pytest.mark.parametrize(
  "run",
  [
    lambda: train.run(
      training.TrainingSettings(
        gin_files=(), tfds_data_dir=_HERE, model_dir=_HERE
      )
    ),
    lambda: evaluate.run(evaluation.EvaluationSettings(model_dir=_HERE)),
  ],
)
def test_commands_ask_for_it_before_jax_begins(run, monkeypatch):
  order = []

  def begin(device_count):
    order.append("devices")
    raise ValueError("far enough")

  monkeypatch.setattr(
    allocator, "keep_freed_memory", lambda: order.append("kept")
  )
  monkeypatch.setattr(distributed, "check_devices", begin)
  with pytest.raises(ValueError, match="far enough"):
    run()
  assert order == ["kept", "devices"]
