"""The chain of requests, whole and damaged."""

import pytest

from forget_lib.deletion import ledger, report


def test_a_ledger_that_was_edited_is_named_and_nothing_is_added(mine):
    path = mine / "ledger.jsonl"
    good = path.read_text()
    path.write_text(good.replace('"outcome":"', '"outcome":"x'))
    with pytest.raises(ledger.LedgerError, match=r"line 1: .*changed"):
        report.prepare(mine / "first.yaml")
    path.write_text(good[:-20])
    with pytest.raises(ledger.LedgerError, match="line 1: it is incomplete"):
        ledger.append(path, {})
    path.write_text(good)
    ledger.append(path, {"kind": "note"})
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[1])
    with pytest.raises(ledger.LedgerError, match=r"line 1: .*removed, added or moved"):
        ledger.read_ledger(path)
    path.write_text("".join([lines[0], lines[0]]))
    with pytest.raises(ledger.LedgerError, match="line 2"):
        ledger.read_ledger(path)
