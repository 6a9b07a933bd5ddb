"""Baseline rankers and retrievers."""
