"""How much memory conversions of a checkpoint take, and how long.

  python benchmarks/checkpoint_memory.py --folder=/tmp/checkpoint_memory

Draws a network of Flan-T5-XL's widths (by default with fewer layers, so that
it fits on a disk), and converts it Hugging Face -> InstructRec -> T5X (with
Adafactor's state) -> T5X's old form -> Hugging Face, each conversion the
command in a process of its own. Prints, per conversion, the size of the
parameters, the peak of resident memory (`VmHWM`, start-up and libraries
included) over that size, and seconds. A last process only imports the
libraries. Ends with an error where the last file is not the first, to the
last bit.
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

import drawn_network
from instructrec.models.checkpoint import convert, names, tensors
from instructrec.models.networks import t5_config

_INTERVAL = 0.05


def random_checkpoint(
  cfg: t5_config.T5Config, dtype: str
) -> tensors.Checkpoint:
  """A network whose numbers are drawn when they are read."""

  def draw(index: int, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(index)
    return rng.standard_normal(shape, np.float32).astype(tensors.DTYPES[dtype])

  params = {
    name: tensors.Tensor(
      parameter.shape,
      tensors.DTYPES[dtype],
      lambda index=index, shape=parameter.shape: draw(index, shape),
      name,
    )
    for index, (name, parameter) in enumerate(names.parameters(cfg).items())
  }
  return tensors.Checkpoint("random", "instructrec", 0, params, {}, config=cfg)


def peak_of(command: list[str]) -> tuple[int, float]:
  """Peak of resident bytes and seconds of a command.

  Raises:
    subprocess.CalledProcessError: where it fails.
  """
  start, peak = time.monotonic(), 0
  with subprocess.Popen(
    command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
  ) as running:
    status = pathlib.Path(f"/proc/{running.pid}/status")
    while running.poll() is None:
      # The kernel's own high-water mark: no peak falls between two looks.
      for line in status.read_text().splitlines():
        if line.startswith("VmHWM:"):
          peak = int(line.split()[1]) * 1024
      time.sleep(_INTERVAL)
  if running.returncode:
    raise subprocess.CalledProcessError(running.returncode, command)
  return peak, time.monotonic() - start


def commands(folder: pathlib.Path, layers: str) -> dict[str, list[str]]:
  """The conversions, by what they do."""
  first, ours, t5x, legacy, last = (
    folder / name for name in ("first", "ours", "t5x", "legacy", "last")
  )
  adafactor = [f"--layers={layers}", "--optimizer=adafactor"]
  steps = {
    "Hugging Face -> InstructRec": ["import", first, ours],
    f"InstructRec -> T5X ({layers})": [
      "export",
      ours,
      t5x,
      "--format=t5x",
      *adafactor,
    ],
    f"T5X ({layers}) -> T5X's old form": [
      "export",
      t5x,
      legacy,
      "--format=t5x_legacy",
    ],
    "T5X's old form -> Hugging Face": [
      "export",
      legacy,
      last,
      "--format=huggingface",
    ],
  }
  return {
    name: [
      *("checkpoint", what, f"--source={source}", f"--output={output}"),
      *more,
    ]
    for name, (what, source, output, *more) in steps.items()
  } | {
    "compare first and last": [
      "checkpoint",
      "diff",
      f"--first={first}",
      f"--second={last}",
    ]
  }


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--folder", help="where to write; temporary if left out")
  drawn_network.add_arguments(
    parser, emb_dim=2048, num_heads=32, mlp_dim=5120, num_layers=2
  )
  parser.add_argument("--dtype", choices=tensors.DTYPES, default="float32")
  parser.add_argument("--layers", choices=convert.LAYERS, default="unstacked")
  args = parser.parse_args()
  cfg = drawn_network.config(args)
  checkpoint = random_checkpoint(cfg, args.dtype)
  size = sum(tensor.nbytes for tensor in checkpoint.params.values())
  largest = max(tensor.nbytes for tensor in checkpoint.params.values())
  with tempfile.TemporaryDirectory(dir=args.folder) as name:
    folder = pathlib.Path(name)
    free = shutil.disk_usage(name).free
    # Five times the parameters, little of the optimizer.
    if free < 6 * size:
      raise OSError(
        f"{name} has {free / 2**30:.1f} GiB free, {6 * size / 2**30:.1f} GiB "
        "are needed; choose --folder or fewer --num_layers"
      )
    convert.convert(
      checkpoint, folder / "first", convert.Settings(form="huggingface")
    )
    print(
      f"{cfg.num_parameters:,} parameters, {size / 2**30:.3f} GiB; largest "
      f"array {largest / 2**30:.3f} GiB\n"
    )
    print("| conversion | peak GiB | peak / size | seconds |")
    print("|---|---|---|---|")
    libraries = "from instructrec.models.checkpoint import convert"
    rows = {"(libraries alone)": [sys.executable, "-c", libraries]} | {
      title: [sys.executable, "-m", "instructrec.cli.main", *map(str, command)]
      for title, command in commands(folder, args.layers).items()
    }
    for title, command in rows.items():
      peak, seconds = peak_of(command)
      print(
        f"| {title} | {peak / 2**30:.2f} | {peak / size:.2f} | {seconds:.0f} |"
      )


if __name__ == "__main__":
  main()
