"""What a profile will cost: the longest chain and the time of some workers, worked out by hand."""

import pytest
import torch

from forget_lib.datasets import ImageData
from workflow import estimate
from workflow.config_check import checked
from workflow.plan import Job, plan


def jobs(**after: tuple[str, ...]) -> dict[str, Job]:
    made = {name: Job("nb", name, {}, tuple(f"nb/{each}" for each in before)) for name, before in after.items()}
    return {job.key: job for job in made.values()}


DIAMOND = jobs(a=(), b=("a",), c=("a",), d=("b", "c"), e=())
SECONDS = {"nb/a": 2.0, "nb/b": 3.0, "nb/c": 5.0, "nb/d": 1.0, "nb/e": 4.0}


def test_the_longest_chain_is_the_dearest_path():
    assert estimate.longest_chain(DIAMOND, SECONDS) == ["nb/a", "nb/c", "nb/d"]


@pytest.mark.parametrize(("workers", "seconds"), [(1, 15.0), (2, 8.0), (3, 8.0), (100, 8.0)])
def test_workers_take_the_ready_job_with_most_behind_it(workers, seconds):
    # Two workers: a 0-2 beside e 0-4, then c 2-7 beside b 4-7, then d 7-8.
    assert estimate.makespan(DIAMOND, SECONDS, workers) == seconds


def test_a_scenario_costs_its_trainings_its_methods_and_its_evaluations(monkeypatch):
    monkeypatch.setattr(estimate, "seconds_a_pass", lambda *_: 0.001)
    monkeypatch.setattr(estimate, "relative_costs", lambda: {"finetune": 0.1})
    monkeypatch.setattr(
        estimate,
        "_sizes",
        lambda *_: {"forget": 100, "retain": 900, "validation": 0, "unseen": 0, "population": 0, "test": 1000},
    )
    given = {"dataset": "mnist", "start": "sample", "model": "mlp", "device": "cpu", "draw": 0}
    given |= {"request": "random:0.1", "recipe": {"epochs": 2}, "methods": {"finetune": {}, "not_recorded": {}}}
    cost = estimate.cost_of(Job("03", "one", given, ("02/one",)))
    retraining, models, evaluated = 3 * 2 * 900, 5, 2000
    passes = retraining * (2 + 0.1 + estimate.LIMIT) + models * evaluated
    measured = models * estimate.MEASURED
    assert cost.seconds == pytest.approx(estimate.OVERHEAD + 0.001 * passes + measured)
    turns = estimate.cost_of(Job("06", "people", given | {"in_turn": 3}))
    originals = 3 * 3 * 2 * 1000  # no job before it trains any
    assert turns.seconds == pytest.approx(estimate.OVERHEAD + 0.001 * (3 * passes + originals) + 3 * measured)


def test_jobs_that_share_a_scenario_cost_together_what_one_job_costs(monkeypatch):
    monkeypatch.setattr(estimate, "seconds_a_pass", lambda *_: 0.001)
    monkeypatch.setattr(estimate, "relative_costs", lambda: {"finetune": 0.1, "ssd": 0.3})
    sizes = dict.fromkeys(("forget", "retain", "validation", "unseen", "population", "test"), 100)
    monkeypatch.setattr(estimate, "_sizes", lambda *_: sizes)
    config = {"profile": "p", "start": "sample", "device": "cpu"}
    scenario = {"notebook": "07", "dataset": "mnist", "model": "small_cnn", "recipe": {"epochs": 2}, "groups": 2}
    scenario |= {"methods": {"finetune": {}, "ssd": {}}, "requests": ["random:0.1"]}
    pool = {"samples": 80, "evaluation": 8, "number": 8, "targets": 3, "doses": [0.5]}

    kinds = ("07", "07a_train_references")

    def seconds(**changes: object) -> float:
        planned = plan(checked(config | {"scenarios": {"s": scenario | changes}}))
        jobs = [job for job in planned.values() if job.notebook in kinds]
        return sum(estimate.cost_of(job).seconds - estimate.OVERHEAD for job in jobs)

    assert seconds() == pytest.approx(seconds(groups=1))
    pooled = {"parameters": {"pool": pool}}
    assert seconds(**pooled, shards=4) == pytest.approx(seconds(**pooled, groups=1))


def test_the_text_names_jobs_hours_disk_and_each_number_of_workers():
    costs = {key: estimate.Cost(3600 * value, 1e9) for key, value in SECONDS.items()}
    text = "\n".join(estimate.lines(DIAMOND, costs, [1, 8]))
    assert "5 jobs, 15.0 hours of one worker, 5.00 GB on disk" in text
    assert "Longest chain: 8.00 h, nb/a -> nb/c -> nb/d" in text
    assert "1 workers:    15.00 h" in text
    assert "8 workers:     8.00 h" in text


def test_an_original_is_estimated_where_a_tenth_of_each_class_is_less_than_one_sample(monkeypatch):
    monkeypatch.setattr(estimate, "seconds_a_pass", lambda *_: 0.001)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (90, 1, 8, 8), dtype=torch.uint8, generator=generator)
    labels, people = torch.arange(90) % 30, tuple(f"person {number}" for number in range(30))
    few = ImageData("few", "Few", images, labels, images[:30], labels[:30], people, "made here", "none")
    monkeypatch.setattr(estimate, "_data", lambda *_: few)
    given = {"dataset": "few", "start": "sample", "model": "mlp", "device": "cpu", "draw": 0, "recipe": {"epochs": 1}}
    assert estimate.cost_of(Job("02", "one", given)).seconds > estimate.OVERHEAD
