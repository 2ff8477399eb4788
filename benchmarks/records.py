"""How long a study of many runs takes to load and to summarise: made-up records in a temporary folder.

    python benchmarks/records.py [--records 10000]

Prints CPU seconds for `results.load` and `results.summary`; the aim is 10 s for 10,000 records of 35 metrics each.
"""

import argparse
import json
import tempfile
import time
from itertools import islice, product
from pathlib import Path

from forget_lib.statistics.measurement import Measurement
from forget_lib.study import records as results
from forget_lib.study.records import KEYS, SCHEMA, record_folder

METRICS = 35


def write_made_up(root: Path, records: int) -> None:
    """Writes run.json files as the study does: 50 methods, 4 draws, as many seeds as it takes."""
    measurements = [Measurement(f"metric_{number}", 0.5)._asdict() for number in range(METRICS)]
    grid = product(range(-(-records // 200)), range(4), range(50))
    for seed, draw, method in islice(grid, records):
        keys = dict(zip(KEYS, ("made-up", "mlp", "class-1", draw, seed, f"method_{method}", 0), strict=True))
        run = {"schema": SCHEMA, **keys, "source": "made up", "synthetic": True, "sampled": False, "status": "done"}
        run |= {"reason": None, "cost": {"seconds": 1.0, "sample_passes": 1000}, "measurements": measurements}
        folder = record_folder(root, **keys)
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(run, indent=1))


def measure(records: int) -> dict[str, float]:
    """CPU seconds of loading and of summarising `records` made-up records, and the number of rows."""
    with tempfile.TemporaryDirectory() as name:
        write_made_up(Path(name), records)
        begun = time.process_time()
        table = results.load(Path(name))
        loaded = time.process_time()
        results.summary(table)
        done = time.process_time()
    return {"records": records, "rows": len(table), "load_seconds": loaded - begun, "summary_seconds": done - loaded}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000)
    print(json.dumps(measure(parser.parse_args().records), indent=1))
