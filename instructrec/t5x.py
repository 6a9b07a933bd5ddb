r"""T5X's scripts, started once their gin files and bindings are checked.

  python -m instructrec.t5x train --gin_file=gin/instructrec_xl.gin \
    --gin.MODEL_DIR=\"...\" --tfds_data_dir=...

`train`, `eval` and `infer` take the options of T5X's train.py, eval.py and
infer.py, and run them in this process. What plain T5X passes over in silence, a
misspelt macro above all, is an error here, before devices are touched.
InstructRec's own gin files are found, whether a checkout is at hand or not.
"""

import os
import runpy
import sys
from collections.abc import Sequence

from absl import flags

from instructrec.preflight import t5x_check, t5x_record
from instructrec.training import gin_config, gin_data, t5x_files

_USAGE = (
  f"usage: python -m instructrec.t5x {'|'.join(t5x_record.SCRIPTS)} "
  "--gin_file=... [--gin.NAME=value] [T5X's other options]"
)


def _parsed(arguments: Sequence[str]) -> tuple[flags.FlagValues, list[str]]:
  """T5X's gin options, and all others, as T5X's scripts read them."""
  found = flags.FlagValues()
  flags.DEFINE_multi_string("gin_file", [], "", flag_values=found)
  flags.DEFINE_multi_string("gin_bindings", [], "", flag_values=found)
  flags.DEFINE_list("gin_search_paths", ["."], "", flag_values=found)
  # As T5X rewrites them.
  rewritten = [
    f"--gin_bindings={arg.removeprefix('--gin.')}"
    if arg.startswith("--gin.")
    else arg
    for arg in arguments
  ]
  _, *others = found(["t5x", *rewritten], known_only=True)
  return found, others


def checked(script: str, arguments: Sequence[str]) -> list[str]:
  """The command line of a script of T5X, once its gin files are checked.

  Args:
    script: "train", "eval" or "infer".
    arguments: options of the script.

  Returns:
    The script's path and its options.

  Raises:
    ModuleNotFoundError: where there is no T5X.
    FileNotFoundError: where a gin file is missing.
    GinError: where files or bindings are misspelt, read by nothing, without a
      value, or not for T5X.
    GinDataError: where a file does not parse.
  """
  root = t5x_record.root()
  if root is None:
    raise ModuleNotFoundError(
      "T5X cannot be imported; install it with `pip install --no-deps -r "
      "requirements/t5x.txt` (docs/t5x.md), or put it on PYTHONPATH"
    )
  options, others = _parsed(arguments)
  files, bindings = options.gin_file, options.gin_bindings
  every = (*options.gin_search_paths, *gin_config.search_paths(), root.parent)
  folders = list(dict.fromkeys(map(os.path.abspath, every)))
  if not files:
    raise t5x_check.GinError(f"no --gin_file is given; {_USAGE}")
  if not t5x_files.need_t5x(files, folders):
    raise t5x_check.GinError(
      f"{', '.join(files)}: for `instructrec train`, not for T5X; expected "
      "files such as gin/instructrec_xl.gin"
    )
  for note in t5x_check.check(files, bindings, folders=folders, unset=()):
    print(f"note: {note}", file=sys.stderr)
  return [
    str(root / f"{script}.py"),
    *(f"--gin_file={file}" for file in files),
    *(f"--gin_bindings={binding}" for binding in bindings),
    f"--gin_search_paths={','.join(folders)}",
    *others,
  ]


def main() -> None:
  """Becomes the script that is named first."""
  script = sys.argv[1] if len(sys.argv) > 1 else ""
  if script not in t5x_record.SCRIPTS:
    sys.exit(_USAGE)
  try:
    sys.argv = checked(script, sys.argv[2:])
  except (
    t5x_check.GinError,
    gin_data.GinDataError,
    FileNotFoundError,
    ModuleNotFoundError,
  ) as error:
    sys.exit(f"instructrec.t5x: error: {error}")
  runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
  main()
