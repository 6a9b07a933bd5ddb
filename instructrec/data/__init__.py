"""Interactions, catalogues, splits and candidate sets."""
