"""The demo: widgets for a notebook, and the logic behind them, which needs no browser."""

from forget_lib.demo.library import Bench, Entry, find_entries, open_bench
from forget_lib.demo.page import Demo

__all__ = ["Bench", "Demo", "Entry", "find_entries", "open_bench"]
