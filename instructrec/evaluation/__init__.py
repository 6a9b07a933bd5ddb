"""Ranking metrics, intervals, reports and plots."""
