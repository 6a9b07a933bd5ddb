"""Mesh, optimizer, train step, checkpoints and the runner."""
