"""Snakemake's output, shortened: each finished notebook, how many are done, and about how long the rest will take.

    snakemake … 2>&1 | python workflow/progress.py

Errors and everything that is not known to be noise pass through. The whole log stays in .snakemake/log.
"""

import re
import signal
import sys
import time

NOISE = re.compile(
    r"""^(?:
    SNAKEMAKE | =+$ | -{4,} | \s*$ | \s+[A-Z][\w ]+(?:\(s\))?:[ ] | Assuming[ ] | host:[ ] |
    Using[ ](?:workflow|shell) |
    Building[ ]DAG | Provided[ ] | Rules[ ]claiming | Job[ ]stats |
    job[ ]+count | (?:total|all|index|notebook|part_\w+)[ ]+\d |
    Select[ ]jobs | Execute[ ]\d+[ ]jobs | Finished[ ]job | \[\w{3}[ ]\w{3}[ ]+\d | Complete[ ]log | Elapsed[ ]time |
    localrule | RuleException | CalledProcessError | Command[ ]'set | WorkflowError | At[ ]least[ ]one[ ]job |
    Exiting[ ]because | Removing[ ]output
    )""",
    re.VERBOSE,
)
NOTHING = "Nothing to be done"
DONE = re.compile(r"^(\d+) of (\d+) steps")


def left(done: int, total: int, seconds: float) -> str:
    """About how long the rest takes, if it goes on as it went."""
    rest = seconds / done * (total - done)
    return f"{rest:.0f} s" if rest < 100 else f"{rest / 60:.0f} min" if rest < 6000 else f"{rest / 3600:.1f} h"


def main() -> None:
    """Reads standard input to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what the workflow says on Ctrl-C should still be read
    begun = time.monotonic()
    for line in sys.stdin:
        progress = DONE.match(line)
        if progress:
            done, total = map(int, progress.groups())
            if done < total:
                print(f"  {done} of {total} done, about {left(done, total, time.monotonic() - begun)} left", flush=True)
        elif line.startswith(NOTHING):
            print("Nothing has changed since the last run.", flush=True)
        elif not NOISE.match(line):
            print(line, end="", flush=True)


if __name__ == "__main__":
    main()
