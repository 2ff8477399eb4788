"""The table of the README is what the committed records say."""

import json

from tests.faults import record
from tests.faults.__main__ import PARTS


def test_the_table_is_that_of_the_records():
    text = record.README.read_text(encoding="utf-8")
    shown = text.partition(record.START)[2].partition(record.END)[0].strip()
    assert shown == record.table({part: about for part, (about, _) in PARTS.items()})


def test_what_failed_once_survived_later():
    records = [json.loads(path.read_text(encoding="utf-8")) for path in record.REFERENCE.glob("*.json")]
    for each in records:
        for name, row in each["rows"].items():
            later = [other["rows"][name] for other in records if other["made"] > each["made"] and name in other["rows"]]
            assert not row["failed"] or any(not other["failed"] and other["survived"] for other in later), name
