"""A study of some seconds for the tests of the demo: one digit forgotten by two methods."""

from pathlib import Path

from forget_lib.study import run

METHODS = {"finetune": {}, "uniform_kl": {}}


def make_records(root: Path, request: str = "class:5") -> run.Scenario:
    """Writes the records of a tiny MNIST study under `root`."""
    recipe = {"epochs": 4, "batch_size": 64, "learning_rate": 0.02}
    fields = {"dataset": "mnist", "model": "mlp", "request": request, "start": "sample"}
    scenario = run.make_scenario(root, recipe, (), **fields)
    run.run_methods(scenario, METHODS)
    return scenario
