"""Ranking models: networks, objectives, scoring and generation, a room each."""
