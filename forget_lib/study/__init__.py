"""Scenarios, their records, and pools of reference models."""
