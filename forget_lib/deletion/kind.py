"""Is a file the report of a deletion request? Exit status 0 if so, else 1: `run_all.sh verify` asks.

python -m forget_lib.deletion.kind results/forget/NAME/report.json
"""

import json
import sys
from pathlib import Path

KIND = "forget deletion report"


def is_report(path: Path) -> bool:
    """Whether `path` is a report, or the folder of one. No error: what it is not is for others to say."""
    path = path / "report.json" if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("kind") == KIND


if __name__ == "__main__":
    sys.exit(not is_report(Path(sys.argv[1])))
