"""Memory of the study's largest jobs: under 4 GiB. Not part of the tests: `./run_all.sh faults memory`.

The data set, model, batch and methods are the study's; epochs are one, since memory does not grow with them.
"""

import json
import os
import subprocess
import sys

import pytest

from forget_lib.core.paths import REPOSITORY
from workflow.config_check import read_config
from workflow.plan import plan

MOST = 4 * 2**30
NOTEBOOKS = ("04_unlearn_cifar10", "05_unlearn_mufac")


@pytest.mark.fault("Memory of the study's largest jobs")
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_job_stays_under_4_gib(notebook, tmp_path, record_property):
    jobs = plan(read_config(REPOSITORY / "workflow" / "config" / "study.yaml"))
    job = next(each for each in jobs.values() if each.notebook == notebook)
    recipe = job.parameters["recipe"] | {"epochs": 1}
    given = dict(job.parameters) | {"results": str(tmp_path / "results"), "recipe": recipe}
    command = [sys.executable, "-m", "workflow.pages", "run", f"notebooks/{notebook}.ipynb"]
    command += ["--parameters", json.dumps(given), "--output", str(tmp_path / "a.ipynb")]
    process = subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
    _, status, used = os.wait4(process.pid, 0)
    peak = 1024 * used.ru_maxrss  # of the largest process among it and those it has waited for, the kernel included
    record_property(f"{notebook} GiB", round(peak / 2**30, 2))
    assert status == 0
    assert peak < MOST
