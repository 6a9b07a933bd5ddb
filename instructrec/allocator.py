"""Freed memory that stays with the process, for programs compiled for CPUs.

A program that XLA compiled for CPUs asks for its temporaries anew each time it
runs. glibc takes so large a block from the kernel and gives it back, and every
page is then cleared and mapped again: 130,000 page faults, a quarter of the
training step that `benchmarks/training_step.py` times.
"""

import ctypes
import os

import jax

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_LARGEST_KEPT = 1 << 30  # Bytes.
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
  """On CPUs: has glibc use freed memory again instead of giving it back.

  The process keeps its peak. Programs run on the thread that calls them, as
  glibc keeps large blocks for the main thread alone. Starts JAX's backends;
  nothing may have been computed before.

  Returns:
    Whether freed memory is kept: not where JAX has an accelerator, where the
    environment has settings of malloc (MALLOC_..., GLIBC_TUNABLES), nor where
    the C library is not glibc.
  """
  jax.config.update("jax_cpu_enable_async_dispatch", False)
  if jax.default_backend() != "cpu":
    return False
  if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
    return False
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  return mallopt is not None and bool(
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
    and mallopt(_M_TRIM_THRESHOLD, _NEVER)
  )
