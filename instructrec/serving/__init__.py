"""Ranks requests one at a time, without TensorFlow."""
