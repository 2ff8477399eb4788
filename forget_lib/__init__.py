"""Forget: a reproducible study of machine unlearning for image classifiers."""

__version__ = "0.1.0"
