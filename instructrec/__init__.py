"""InstructRec: recommendation as instruction following, in JAX.

`prepare`, `generate`, `train`, `evaluate` and `Ranker` are the commands as
Python has them (docs/python.md); what they need is imported when they are used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from instructrec.api import evaluate, generate, prepare, train
  from instructrec.serving.run_ranker import Ranker

__version__ = "0.1.0"
__all__ = ["Ranker", "evaluate", "generate", "prepare", "train"]


def __getattr__(name: str) -> Any:
  """Imports a public name at its first use (PEP 562)."""
  if name not in __all__:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  place = "serving.run_ranker" if name == "Ranker" else "api"
  found = getattr(importlib.import_module(f"{__name__}.{place}"), name)
  globals()[name] = found
  return found


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
