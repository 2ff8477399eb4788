"""Records are keyed by meaning: moving or rewording code changes no key, and a change of numbers raises a version.

`python -m tests.test_versions` writes the recorded numbers anew; raise the version of what changed first.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from forget_lib.attacks import ATTACKS, list_attacks
from forget_lib.core.paths import REPOSITORY
from forget_lib.unlearning import METHODS, list_methods, unlearn, why_not_applicable
from tests.attacks.test_every_attack import simulated
from tests.tiny_tasks import tiny_conv_net
from tests.unlearning.test_frozen import task_of

RECORDED = Path(__file__).with_name("versions.json")
TOLERANCE = 1e-3
"""Processors round differently; a change worth a version moves some number by more."""
BY_LOGITS = [name for need in ("target", "references", "unlearned references") for name in list_attacks(need)]


def net(seed: int = 0) -> torch.nn.Module:
    """The tiny convolutional net in single precision, for images of 8 by 8 pixels."""
    model = tiny_conv_net(seed).float()
    model.body[-1] = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return model


def numbers_of_method(name: str) -> list[float] | None:
    """What a method leaves in a tiny net with batch norm, for a class and a subset: the
    mean and the length of each tensor; None where it applies to neither."""
    found: list[float] = []
    for kind in ("class", "subset"):
        original, task = task_of(net, kind)
        if why_not_applicable(name, original, task) is None:
            tensors = [tensor.double() for tensor in unlearn(name, original, task).state_dict().values()]
            found += [float(value) for tensor in tensors for value in (tensor.mean(), tensor.norm())]
    return [float(f"{value:.6g}") for value in found] or None


def numbers_of_attack(name: str) -> list[float]:
    """What an attack measures on simulated margins."""
    return [float(f"{measurement.value:.6g}") for measurement in ATTACKS[name](simulated(1.0))]


def recorded() -> dict[str, dict[str, object]]:
    """Version and numbers by method and attack, as they were written."""
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def check(name: str, version: int, numbers: list[float] | None) -> None:
    """Fails with what is to be done where numbers changed and the version did not, or the other way round."""
    assert name in recorded(), f"{name} is new: run python -m tests.test_versions"
    before = recorded()[name]
    assert before["version"] == version, f"{name} has a new version: run python -m tests.test_versions"
    same = np.allclose(numbers or [], before["numbers"] or [], rtol=TOLERANCE, atol=TOLERANCE)
    assert same, f"{name} gives other numbers: raise its version, then run python -m tests.test_versions"


@pytest.mark.parametrize("name", list_methods())
def test_a_method_with_other_numbers_has_another_version(name):
    check(name, METHODS[name].version, numbers_of_method(name))


@pytest.mark.parametrize("name", BY_LOGITS)
def test_an_attack_with_other_numbers_has_another_version(name):
    check(f"attack {name}", ATTACKS[name].version, numbers_of_attack(name))


KEYS = """
import sys
from forget_lib.study import run
given = {"dataset": "mnist", "model": "mlp", "request": "class:5", "start": "sample"}
scenario = run.make_scenario(sys.argv[1], {"epochs": 1}, **given)
found = {}
for name in ("finetune", "uniform_kl", "scrub"):
    found[name] = run.prepare(scenario, name, {}).about["key"]
print(sorted(found.items()))
"""


@pytest.mark.slow
def test_moving_rewording_and_reformatting_code_changes_no_key(tmp_path):
    def keys(root: Path) -> str:
        command = [sys.executable, "-c", KEYS, str(tmp_path / "results")]
        environment = {"PYTHONPATH": str(root), "PATH": "", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    copy = tmp_path / "copy"
    shutil.copytree(REPOSITORY / "forget_lib", copy / "forget_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "data" / "samples", copy / "data" / "samples")
    shutil.copytree(REPOSITORY / "workflow" / "config", copy / "workflow" / "config")
    before = keys(copy)
    assert before.count("scrub") == 1
    unlearning = copy / "forget_lib" / "unlearning"
    teachers = unlearning / "parts" / "distillation.py"
    teachers.rename(teachers.with_name("moved.py"))
    text = (unlearning / "scrub.py").read_text(encoding="utf-8").replace("parts.distillation", "parts.moved")
    (unlearning / "scrub.py").write_text("# A comment.\n\n\n" + text, encoding="utf-8")
    errors = copy / "forget_lib" / "core" / "errors.py"
    errors.write_text(
        errors.read_text(encoding="utf-8").replace("Did you mean", "Was it meant to be"), encoding="utf-8"
    )
    assert keys(copy) == before


if __name__ == "__main__":
    content = {name: {"version": METHODS[name].version, "numbers": numbers_of_method(name)} for name in list_methods()}
    content |= {f"attack {n}": {"version": ATTACKS[n].version, "numbers": numbers_of_attack(n)} for n in BY_LOGITS}
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in content.items()]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
