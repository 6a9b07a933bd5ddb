"""Scripts of other processes share `copy_run` with the tests."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
