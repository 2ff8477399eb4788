"""The attack that needs no pool: what images are like tells what margin to expect of them."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm

from forget_lib.attacks import AttackInput, Side, get_attack
from forget_lib.attacks.parts.inputs import known_outside
from forget_lib.core.errors import ForgetError, TooFewError
from forget_lib.datasets.samples import Samples
from forget_lib.models.nets import build
from forget_lib.study import measure
from forget_lib.study import run as study
from tests.attacks.test_every_attack import area, as_logits, changed


def sides(shift, seed, number=400):
    """Margins that four known numbers explain, and their spread too; members lie `shift` deviations higher."""
    generator = np.random.default_rng(seed)

    def side(size, above):
        known = generator.normal(size=(size, 4))
        spread = np.exp(known[:, 1])
        margin = 3 * known[:, 0] + spread * (above + generator.normal(size=size))
        return Side(as_logits(margin), np.zeros(size, dtype=np.int64), known=known)

    return AttackInput(side(number, shift), side(number, 0), side(600, 0))


def test_it_reaches_what_can_be_told_when_mean_and_spread_are_known():
    found = [sides(1.0, seed) for seed in range(4)]
    truth = norm.cdf(1 / np.sqrt(2))
    assert np.mean([area("one_model", one) for one in found]) == pytest.approx(truth, abs=0.03)
    assert np.mean([area("loss_regression", one) for one in found]) < truth - 0.1


def test_it_finds_nothing_where_there_is_nothing():
    assert np.mean([area("one_model", sides(0.0, seed)) for seed in range(8)]) == pytest.approx(0.5, abs=0.02)


def test_the_target_on_the_population_is_all_that_it_learns_from():
    inputs = sides(1.0, 0)
    score = get_attack("one_model").score
    turned = dataclasses.replace(inputs, forget=inputs.unseen, unseen=inputs.forget)
    assert np.roll(score(turned), 400) == pytest.approx(score(inputs))
    labels = np.r_[np.zeros(300, dtype=np.int64), np.ones(300, dtype=np.int64)]
    assert (score(changed(inputs, population={"labels": labels})) != score(inputs)).any()


def test_it_says_what_is_missing():
    inputs = sides(1.0, 0)
    for wrong in (dataclasses.replace(inputs, population=None), changed(inputs, unseen={"known": None})):
        with pytest.raises(ForgetError, match="needs population images"):
            get_attack("one_model")(wrong)
    few = dataclasses.replace(inputs, population=inputs.population.take(np.arange(49)))
    with pytest.raises(TooFewError, match="at least 50 population images, got 49"):
        get_attack("one_model")(few)


def test_what_is_known_comes_from_the_helper_and_from_population_images(blobs):
    rows = {"population": slice(0, 60), "forget": slice(60, 80)}
    parts = {name: Samples(blobs.images[part], blobs.labels[part]) for name, part in rows.items()}
    shape, classes = tuple(blobs.images.shape[1:]), len(blobs.classes)
    known = known_outside(build("mlp", shape, classes, 0), parts)
    width = classes + 1 + 60 // 4
    assert {name: each.shape for name, each in known.items()} == {"population": (60, width), "forget": (20, width)}
    assert known["population"][:, classes + 1 :].mean(axis=0) == pytest.approx(0, abs=1e-9)
    fewer = known_outside(build("mlp", shape, classes, 0), parts | {"forget": parts["forget"].subset(range(5))})
    assert fewer["forget"] == pytest.approx(known["forget"][:5])


def test_a_scenario_measures_it_with_one_helper_net_that_saw_no_sample_in_question(scenario, monkeypatch):
    trained = []
    real = measure.train
    monkeypatch.setattr(
        measure, "train", lambda model, samples, *rest: trained.append(samples) or real(model, samples, *rest)
    )
    asked = dataclasses.replace(scenario, request="random:0.2", attacks=("one_model",))
    monkeypatch.setattr("forget_lib.attacks.one_model.FEWEST", 10)
    measure.known_of.cache_clear()
    table = study.run_methods(asked, {})
    found = table[(table["attack"] == "one_model") & (table["metric"] == "auc")].set_index("method")["value"]
    assert set(found.index) == {"original", "retrain", "second_retrain"}
    assert len(trained) == 1
    assert len(trained[0]) == len(asked.samples["retain"])
