"""Intervals, tests, metrics and scores: pure functions of numbers."""
