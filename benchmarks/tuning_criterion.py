"""Whether the criterion of tuning prefers a retrained model to the original and to every placebo, on tuning's draws:

    python benchmarks/tuning_criterion.py [CONFIG] [SCENARIO …]

For tests of the criterion alone: tuning itself never looks at a retrained model.
"""

import sys
from pathlib import Path

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from forget_lib.core import paths
from forget_lib.study import tuning
from forget_lib.study.scenario import make_scenario


def main(config: str = "workflow/config/quick.yaml", *names: str) -> int:
    """Prints a table for each scenario, request and draw; returns 1 where the criterion fails."""
    given = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    tables = []
    for name, scenario in given["scenarios"].items():
        if names and name not in names:
            continue
        common = {"dataset": scenario["dataset"], "model": scenario["model"], "start": given["start"]}
        for asked in scenario.get("requests", []):
            reported = make_scenario(paths.RESULTS / "tuning", scenario["recipe"], (), request=asked, **common)
            request = tuning.tuning_request(reported.parsed, reported.data)
            for draw in (tuning.DRAW, tuning.DRAW + 1):
                fields = common | {"request": request, "draw": draw, "seed": draw}
                made = make_scenario(paths.RESULTS / "tuning", scenario["recipe"], (), **fields)
                table = tuning.criterion_check(made)
                tables.append(table.assign(scenario=name, request=request, draw=draw))
                print(f"{name}, {request}, draw {draw}\n{table.round(3).to_string(index=False)}\n", flush=True)
    whole = pd.concat(tables, ignore_index=True)
    failed = whole[~whole["passes"]]
    print(f"{len(whole) - len(failed)} of {len(whole)} comparisons pass.")
    return int(len(failed) > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
