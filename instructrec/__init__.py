"""InstructRec: recommendation as instruction following, in JAX."""

__version__ = "0.1.0"
