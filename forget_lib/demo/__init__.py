"""The demo: a page of widgets on the models of a study, and the logic behind them, which needs no browser."""

from forget_lib.demo.page import Demo
from forget_lib.demo.studies import Bench, Entry, find_entries, open_bench

__all__ = ["Bench", "Demo", "Entry", "find_entries", "open_bench"]
