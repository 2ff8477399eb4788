"""The table of the README is what the committed records say."""

from tests.faults import record
from tests.faults.__main__ import PARTS


def test_the_table_is_that_of_the_records():
    text = record.README.read_text(encoding="utf-8")
    shown = text.partition(record.START)[2].partition(record.END)[0].strip()
    assert shown == record.table({part: about for part, (about, _) in PARTS.items()})


def test_no_record_hides_a_failure():
    assert "FAILED" not in record.README.read_text(encoding="utf-8")
