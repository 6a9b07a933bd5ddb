"""Attention as a TPU kernel, and how it is cut to a chip."""
