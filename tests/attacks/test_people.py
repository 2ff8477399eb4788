"""Attacks on people: the rank test over classes, and the probes of identity, on made-up embeddings."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_curve

from forget_lib.attacks import AttackInput, ProbeInput, Side, get_attack
from forget_lib.attacks.verification import equal_error_rate, separation
from forget_lib.core.errors import ForgetError, TooFewError
from tests.attacks.test_every_attack import changed


def probes(distance, seed=0, people=24, forgotten=tuple(range(12))):
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(people, 16)) * distance
    who = np.repeat(np.arange(people), 3)
    gallery, queries = (centres[who] + generator.normal(size=(len(who), 16)) for _ in range(2))
    return ProbeInput(gallery, who, queries, who, forgotten)


def test_the_rank_test_counts_people_and_tells_how_much_it_could_find():
    generator = np.random.default_rng(0)
    logits = np.stack([generator.normal(size=60), np.zeros(60)], axis=1)
    labels = np.zeros(60, dtype=np.int64)
    people = np.repeat(np.arange(20), 3)
    inputs = AttackInput(Side(logits[:30], labels[:30]), Side(logits[30:], labels[30:]))
    by_image = {m.metric: m for m in get_attack("rank_test")(inputs)}
    grouped = changed(inputs, forget={"people": people[:30]}, unseen={"people": people[30:]})
    by_person = {m.metric: m for m in get_attack("rank_test")(grouped)}
    assert by_image["auc"].n == 30
    assert by_person["auc"].n == 10
    assert by_person["auc"].low < by_person["auc"].value < by_person["auc"].high
    assert 0.4 < by_person["rank_power"].value < by_image["rank_power"].value
    assert by_person["rank_p"].value > 0.01
    known = changed(inputs, forget={"logits": logits[:30] + np.array([5, 0])})
    assert {m.metric: m.value for m in get_attack("rank_test")(known)}["rank_p"] < 1e-6
    few = changed(grouped, forget={"people": np.arange(30) % 3})
    with pytest.raises(TooFewError, match="at least 4 people a side, got 3"):
        get_attack("rank_test")(few)


def test_a_class_that_no_unseen_person_shows_costs_its_images_and_not_the_test(capsys):
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(60, 3)), np.repeat([0, 1], 30)[np.argsort(generator.random(60))]
    people = np.repeat(np.arange(20), 3)
    sides = [Side(logits[rows], labels[rows], people=people[rows]) for rows in (slice(30), slice(30, None))]
    whole = AttackInput(*sides)
    more = (generator.normal(size=(2, 3)), [2, 2], [0, 5])
    values = (np.concatenate(pair) for pair in zip((logits[:30], labels[:30], people[:30]), more, strict=True))
    rare = changed(whole, forget=dict(zip(("logits", "labels", "people"), values, strict=True)))
    expected = get_attack("rank_test")(whole)
    assert capsys.readouterr().out == ""
    assert get_attack("rank_test")(rare) == expected
    assert "2 of 32 forget images are left out" in capsys.readouterr().out
    with pytest.raises(ForgetError, match="not among the unseen"):
        get_attack("rank_test")(changed(rare, forget={"people": None}, unseen={"people": None}))


def test_a_class_that_is_hard_for_everybody_does_not_count():
    labels = np.array([0] * 10 + [1] * 10 + [0] * 10 + [1] * 10)
    margins = np.where(labels == 0, 3.0, -3.0) + np.random.default_rng(1).normal(size=40) * 0.1
    logits = np.where(labels[:, None] == np.arange(2), margins[:, None], 0.0)
    skewed = np.concatenate([np.arange(10), np.arange(20, 40)])  # the forgotten are all of the easy class
    inputs = AttackInput(*(Side(logits[rows], labels[rows]) for rows in (skewed[:10], skewed[10:])))
    assert {m.metric: m.value for m in get_attack("rank_test")(inputs)}["rank_p"] > 0.01


def test_identity_probes_see_people_that_are_apart():
    apart, mixed = probes(4.0), probes(0.0)
    for name, metric in (
        ("reidentification", "rank_1_forgotten"),
        ("linear_probe", "probe_recall_forgotten"),
        ("nearest_class_mean", "class_mean_recall_forgotten"),
    ):
        high = next(m for m in get_attack(name)(apart) if m.metric == metric)
        low = next(m for m in get_attack(name)(mixed) if m.metric == metric)
        assert high.value > 0.95
        assert low.value < 0.3
        assert low.low <= low.value <= low.high
    found = {m.metric: m.value for m in get_attack("verification")(apart)}
    assert found["equal_error_rate"] < 0.02
    assert found["tar_at_1_far"] > 0.95
    assert {m.metric: m.value for m in get_attack("verification")(mixed)}["equal_error_rate"] == pytest.approx(
        0.5, abs=0.1
    )
    with pytest.raises(ForgetError, match="gallery"):
        probes(1.0, forgotten=(99,))
    with pytest.raises(ForgetError, match="AttackInput"):
        get_attack("lira")(apart)


def test_equal_error_rate_and_separation_against_closed_forms():
    generator = np.random.default_rng(0)
    genuine, impostor = generator.normal(2, 1, 20_000), generator.normal(0, 1, 20_000)
    assert equal_error_rate(genuine, impostor) == pytest.approx(norm.cdf(-1), abs=0.01)
    assert separation(genuine, impostor) == pytest.approx(2, abs=0.05)
    assert equal_error_rate(np.array([2.0, 3]), np.array([0.0, 1])) == 0
    false, true, _ = roc_curve(np.r_[np.ones(200), np.zeros(200)], np.r_[genuine[:200], impostor[:200]])
    crossing = (false + 1 - true)[np.abs(false - 1 + true).argmin()] / 2
    assert equal_error_rate(genuine[:200], impostor[:200]) == pytest.approx(crossing, abs=0.01)


def test_nearest_class_mean_by_hand():
    gallery = np.array([[2.0, 0], [1, 1], [0, 3]])
    queries = np.array([[5.0, 1], [1, 5], [1, 2.4]])
    inputs = ProbeInput(gallery, np.array([0, 0, 1]), queries, np.array([0, 1, 0]), (0,))
    # The mean of class 0 points at 22.5 degrees and that of class 1 at 90; the last query lies at 67, nearer to 90.
    found = {m.metric: (m.value, m.n) for m in get_attack("nearest_class_mean")(inputs)}
    assert found == {"class_mean_recall_forgotten": (0.5, 2), "class_mean_recall_retained": (1.0, 1)}
