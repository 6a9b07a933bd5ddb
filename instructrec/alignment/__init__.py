"""Teaches a model to obey: control tasks, and lists that do as they ask."""
