"""The harness is started as a script, and its files are found as such."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
