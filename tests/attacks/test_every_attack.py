"""Attacks by their definition, against closed forms on simulated models, and on bad input."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_curve

from forget_lib.attacks import (
    AttackInput,
    FamilyInput,
    References,
    Side,
    attack,
    get_attack,
    list_attacks,
    validate,
)
from forget_lib.attacks.audit import audit_p_value, epsilon_lower_bound
from forget_lib.attacks.neurips_score import calibrated_epsilons, epsilon_of_rates, points, rule_rates, sample_epsilons
from forget_lib.attacks.parts.per_sample import location_and_spread
from forget_lib.attacks.rmia_offline import tuned_a
from forget_lib.core.errors import DivergedError, ForgetError, TooFewError, UnknownNameError
from forget_lib.statistics import intervals, scores

PER_SAMPLE = ["attack_r", "rmia_offline", "rmia", "lira_offline", "lira", "u_lira"]
EVERY = [*list_attacks("target"), *PER_SAMPLE, "two_snapshot"]


def as_logits(phi):
    """Two-class logits with margin `phi` for label 0."""
    return np.stack([phi, np.zeros_like(phi)], axis=-1)


def simulated(shift=1.0, models=16, forget=300, unseen=300, seed=0, leaks=1.0):
    """Margins of samples of different difficulty: seen ones lie `shift` higher; `leaks` of it is left in the target."""
    generator = np.random.default_rng(seed)
    number = forget + unseen
    difficulty = generator.normal(0, 3, number)
    order = np.array([generator.permutation(models) for _ in range(number)]).T
    membership = order < models // 2
    phi = difficulty + generator.normal(size=(models, number)) + shift * membership
    after = difficulty + generator.normal(size=(models, number)) + leaks * shift * membership
    seen = np.arange(number) < forget
    target = difficulty + generator.normal(size=number) + leaks * shift * seen
    before = difficulty + generator.normal(size=number) + shift * seen
    population = generator.normal(0, 3, 50)
    references = References(
        as_logits(phi),
        membership,
        as_logits(population + generator.normal(size=(models, 50))),
        as_logits(after),
    )
    labels = np.zeros(number, dtype=np.int64)
    others = Side(as_logits(population + generator.normal(size=50)), np.zeros(50, dtype=np.int64))
    sides = [
        Side(as_logits(target[rows]), labels[rows], before=as_logits(before[rows]))
        for rows in (slice(forget), slice(forget, None))
    ]
    return AttackInput(*sides, others, references)


def changed(inputs, **sides):
    """The input with some fields of its sides changed, by side."""
    return replace(inputs, **{side: replace(getattr(inputs, side), **fields) for side, fields in sides.items()})


def area(name, inputs):
    return next(m.value for m in get_attack(name)(inputs) if m.metric == "auc")


@pytest.mark.parametrize("name", [n for n in EVERY if n != "audit"])
def test_every_attack_finds_samples_that_leak_and_none_that_do_not(name):
    leaking = np.mean([area(name, simulated(3.0, seed=seed)) for seed in range(2)])
    clean = [area(name, simulated(3.0, seed=seed, leaks=0.0)) for seed in range(8)]
    assert leaking > 0.6
    if get_attack(name).null == "0.5":
        assert np.mean(clean) == pytest.approx(
            0.5, abs=3 * intervals.t_interval(clean).high - 3 * np.mean(clean) + 0.01
        )
    else:
        assert np.mean(clean) > 0.9  # two snapshots betray even a perfect deletion


@pytest.mark.parametrize("name", EVERY)
def test_what_an_attack_returns(name):
    inputs = simulated(2.0, forget=120, unseen=130)
    found = get_attack(name)(inputs)
    assert {m.attack for m in found} == {name}
    for m in found:
        assert math.isfinite(m.value)
        assert m.low is None or m.low <= m.value <= m.high
        assert m.null is not None
    assert get_attack(name)(inputs) == found
    assert get_attack(name).paper
    score = get_attack(name).score
    assert score is None or score(inputs).shape == (250,)


def test_lira_reaches_the_closed_form():
    inputs = [simulated(1.5, models=64, forget=2000, unseen=2000, seed=seed) for seed in range(3)]
    truth = norm.cdf(1.5 / math.sqrt(2))
    assert np.mean([area("lira", one) for one in inputs]) == pytest.approx(truth, abs=0.02)
    assert np.mean([area("lira_offline", one) for one in inputs]) == pytest.approx(truth, abs=0.02)
    assert area("loss_regression", inputs[0]) < truth - 0.1  # one threshold for easy and hard samples alike


def test_u_lira_uses_the_unlearned_references():
    inputs = simulated(3.0, models=64, forget=1000, unseen=1000, leaks=0.3)
    assert area("u_lira", inputs) == pytest.approx(norm.cdf(0.9 / math.sqrt(2)), abs=0.03)
    assert area("lira", inputs) < area("lira", simulated(3.0, models=64, forget=1000, unseen=1000))


def test_pooled_spread_is_of_residuals_not_of_raw_values():
    generator = np.random.default_rng(0)
    values = generator.normal(0, 10, 400) + generator.normal(0, 1, (8, 400))
    side = np.zeros((8, 400), dtype=bool)
    side[:4] = True
    middle, spread = location_and_spread(values, side)
    assert middle == pytest.approx(np.median(values[:4], axis=0))
    assert len(set(spread)) == 1
    assert spread[0] == pytest.approx(1, rel=0.1)
    many = location_and_spread(generator.normal(0, 1, (64, 50)), np.ones((64, 50), dtype=bool))[1]
    assert len(set(many)) == 50


def test_attack_r_by_hand():
    references = References(
        as_logits(np.array([[1.0, 0], [2, 0], [3, 5], [9, 9]])), np.array([[0, 1], [0, 1], [0, 0], [1, 0]]) == 1
    )
    inputs = AttackInput(
        Side(as_logits(np.array([2.0, 2.0])), [0, 0]), Side(as_logits(np.array([6.0, 6.0])), [0, 0]),
        references=References(np.repeat(references.logits, 2, axis=1), np.repeat(references.membership, 2, axis=1)),
    )  # fmt: skip
    assert get_attack("attack_r").score(inputs).tolist() == [0.5, 0.5, 0.5, 0.5]


def test_rmia_tunes_a_on_references_only():
    inputs = simulated(2.0)
    a = tuned_a(inputs.references, inputs.labels)
    assert 0 <= a <= 1
    other = changed(inputs, forget={"logits": inputs.forget.logits * -3})
    assert tuned_a(other.references, other.labels) == a
    with pytest.raises(TooFewError, match="at least 4"):
        tuned_a(References(inputs.references.logits[:3], inputs.references.membership[:3]), inputs.labels)


def test_the_population_only_shifts_scores_within_one_target():
    inputs = simulated(2.0)
    without = replace(inputs, population=None)
    one, two = get_attack("rmia").score(inputs), get_attack("rmia").score(without)
    assert np.ptp(one - two) == pytest.approx(0, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([*PER_SAMPLE, "confidence", "entropy", "modified_entropy"]))
def test_scores_follow_the_samples_when_these_are_reordered(seed, name):
    inputs = simulated(1.0, models=8, forget=20, unseen=25, seed=seed)
    generator = np.random.default_rng(seed)
    forget, unseen = generator.permutation(20), generator.permutation(25)
    columns = np.concatenate([forget, 20 + unseen])
    moved = replace(
        inputs,
        forget=inputs.forget.take(forget),
        unseen=inputs.unseen.take(unseen),
        references=inputs.references.take(columns),
    )
    assert get_attack(name).score(moved) == pytest.approx(get_attack(name).score(inputs)[columns])


def test_sides_exchanged_turn_the_area_round():
    inputs = simulated(2.0)
    references = inputs.references.take(np.r_[300:600, 0:300])
    turned = replace(inputs, forget=inputs.unseen, unseen=inputs.forget, references=references)
    for name in ("lira", "rmia", "attack_r", "loss_regression"):
        assert area(name, inputs) + area(name, turned) == pytest.approx(1)


def test_loss_regression_accuracy_is_chance_without_signal_and_interval_holds_it():
    found = get_attack("loss_regression")(simulated(0.0, forget=400, unseen=500))
    accuracy = found[0]
    assert accuracy.metric == "accuracy"
    assert accuracy.n == 800  # balanced
    assert accuracy.low <= 0.5 <= accuracy.high


def test_rate_at_low_false_positives_is_quoted_only_with_enough_unseen():
    few = {m.metric for m in get_attack("lira")(simulated(2.0, unseen=999))}
    found = get_attack("lira")(simulated(2.0, unseen=1000))
    assert "tpr_at_1_fpr" not in few
    rate = next(m for m in found if m.metric == "tpr_at_1_fpr")
    score = get_attack("lira").score(simulated(2.0, unseen=1000))
    false, true, _ = roc_curve(np.arange(1300) < 300, score)
    assert rate.value == pytest.approx(true[false <= 0.01].max())


def test_intervals_redraw_people_where_there_are_people():
    inputs = simulated(1.0, forget=100, unseen=100)
    ids = np.arange(100) // 5
    people = changed(inputs, forget={"people": ids}, unseen={"people": 20 + ids})
    found, plain = (next(m for m in get_attack("lira")(one) if m.metric == "auc") for one in (people, inputs))
    assert found.value == pytest.approx(plain.value)
    assert found.n == 40
    assert found.low < found.value < found.high
    few = changed(people, forget={"people": np.zeros(100, int)}, unseen={"people": np.ones(100, int)})
    assert next(m for m in get_attack("lira")(few) if m.metric == "auc").low is None


def test_per_class_thresholds_ignore_differences_between_classes():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    easy = np.where(labels == 0, 6.0, 0.0)
    shifted = generator.normal(easy + 1, 1)
    sure = lambda phi: np.where(labels[:, None] == 0, as_logits(phi), as_logits(phi)[:, ::-1])  # noqa: E731
    inputs = AttackInput(Side(sure(shifted), labels), Side(sure(generator.normal(easy, 1)), labels))
    assert area("confidence", inputs) > area("loss_regression", inputs) + 0.05
    assert area("confidence", inputs) == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.04)


def test_unseen_samples_of_other_classes_are_left_out():
    inputs = simulated(1.0, models=8, forget=30, unseen=40)
    labels = np.r_[np.zeros(30, dtype=int), np.ones(10, dtype=int)]
    checked = validate(changed(inputs, unseen={"labels": labels}))
    assert len(checked.unseen.labels) == 30
    assert checked.references.logits.shape[1] == 60
    assert len(checked.unseen.before) == 30


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"forget": {"labels": np.ones(300, dtype=int)}}, ForgetError, "not among the unseen"),
        ({"forget": {"logits": np.full((300, 2), np.nan)}}, DivergedError, "NaN"),
        ({"forget": {"labels": np.zeros(2, dtype=int)}}, ForgetError, "300 rows of logits but 2 labels"),
        (
            {"forget": {"logits": np.zeros((1, 2)), "labels": np.zeros(1, dtype=int)}},
            TooFewError,
            "at least 2 forget",
        ),
        (
            {"forget": {"indices": np.arange(300)}, "unseen": {"indices": np.arange(299, 599)}},
            ForgetError,
            "1 samples are in both",
        ),
    ],
)
def test_bad_input_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        get_attack("lira")(changed(simulated(), **change))


def test_references_are_asked_for_where_there_are_none():
    with pytest.raises(ForgetError, match="train a pool first"):
        get_attack("lira")(replace(simulated(), references=None))


def test_constant_scores_are_refused_and_infinite_logits_counted():
    inputs = simulated()
    flat = changed(inputs, forget={"logits": np.ones((300, 2))}, unseen={"logits": np.ones((300, 2))})
    with pytest.raises(ForgetError, match="same"):
        get_attack("loss_regression")(flat)
    infinite = np.array(inputs.forget.logits)
    infinite[:3, 0] = np.inf
    found = get_attack("loss_regression")(changed(inputs, forget={"logits": torch.tensor(infinite)}))
    assert next(m.value for m in found if m.metric == "clipped_logits") == 3


def test_too_few_references_are_refused_with_the_number_needed():
    inputs = simulated(models=2)
    for name in ("lira", "lira_offline", "u_lira"):
        with pytest.raises(TooFewError, match="at least 4 references"):
            get_attack(name)(inputs)
    missing = replace(inputs, references=replace(inputs.references, unlearned_logits=None))
    with pytest.raises(ForgetError, match="unlearned by the method"):
        get_attack("u_lira")(missing)


def test_the_registry_refuses_unknown_names_and_declarations():
    with pytest.raises(UnknownNameError, match="lira"):
        get_attack("lyra")
    with pytest.raises(ForgetError, match="null must be one of"):
        attack("mine", title="", paper="", null="0.7")
    with pytest.raises(ForgetError, match="kind one of"):
        attack("mine", title="", paper="", null="0.5", kind="scores")
    with pytest.raises(ForgetError, match="does not say what it returns"):
        attack("mine", title="", paper="", null="0.5")(lambda inputs: [])
    with pytest.raises(ForgetError, match="Attack 'lira' exists already"):
        attack("lira", title="", paper="", null="0.5", kind="score")(lambda inputs: np.zeros(2))
    assert list_attacks()[0] == "loss_regression"


def test_audit_on_known_mechanisms():
    generator = np.random.default_rng(0)
    for epsilon in (0.0, 1.0, 3.0):
        right = generator.binomial(200, 1 / (1 + math.exp(-epsilon)), 400)
        bounds = {count: epsilon_lower_bound(int(count), 200, 200, delta=0) for count in set(right.tolist())}
        drawn = np.array([bounds[count] for count in right.tolist()])
        assert (drawn > epsilon).mean() <= 0.05 + 0.03  # a 95 % lower bound, on randomised response
        assert drawn.mean() > epsilon - 0.7
    assert epsilon_lower_bound(20, 20, 500) == pytest.approx(1.8, abs=0.02)
    assert audit_p_value(0, 0, 20, 500) == 1
    with pytest.raises(ForgetError):
        epsilon_lower_bound(21, 20, 500)
    with pytest.raises(TooFewError, match="100 canaries"):
        get_attack("audit")(simulated(forget=40, unseen=40))


def test_audit_bounds_a_leak_and_not_a_clean_deletion():
    bound = lambda inputs: get_attack("audit")(inputs)[0].value  # noqa: E731
    assert bound(simulated(3.0)) > 1.5
    assert np.mean([bound(simulated(3.0, seed=seed, leaks=0.0)) > 0 for seed in range(20)]) <= 0.2


def test_challenge_rules_by_hand():
    positive, negative = np.array([3.0, 4.0, 1.0]), np.array([0.0, 2.0, -1.0])
    false_positive, false_negative = rule_rates(positive, negative)
    found = set(zip(false_positive.round(6), false_negative.round(6), strict=True))
    for threshold in (0.5, 1.5, 2.5, 3.5):
        rates = ((negative >= threshold).mean(), (positive < threshold).mean())
        assert tuple(np.round(rates, 6)) in found
    assert epsilon_of_rates([0.0], [0.0]).tolist() == [50.0]
    assert epsilon_of_rates([0.0], [0.5]).tolist() == [0.0]
    assert epsilon_of_rates([0.1], [0.2])[0] == pytest.approx(math.log((0.8 - 1e-5) / 0.1))
    assert points(np.array([0.0, 0.49, 0.5, 1.2, 6.9, 7.0]), 512).tolist() == [1.0, 1.0, 0.5, 0.25, 2.0**-13, 0.0]


def test_challenge_score_falls_with_the_shift_and_its_null_is_not_one():
    generator = np.random.default_rng(0)
    retrained, held_out = generator.normal(size=(2, 32, 60))
    score = {}
    for shift in (0.0, 0.5, 1.0, 3.0):
        found = get_attack("neurips_score")(FamilyInput(generator.normal(shift, 1, (32, 60)), retrained, held_out))
        score[shift] = {m.metric: m.value for m in found}
    assert 0.05 < score[0.0]["forgetting_quality"] < 0.37
    order = [score[shift]["forgetting_quality"] for shift in (0.0, 0.5, 1.0, 3.0)]
    assert order == sorted(order, reverse=True)
    assert score[0.0]["relative_quality"] == pytest.approx(1, abs=0.35)
    assert score[3.0]["calibrated_epsilon"] > 0.8
    with pytest.raises(TooFewError, match="at least 8 models"):
        FamilyInput(retrained[:4], retrained[:4])
    with pytest.raises(ForgetError, match="same shape"):
        FamilyInput(retrained, retrained[:, :3])


def test_calibrated_bound_rarely_accuses_perfect_unlearning():
    generator = np.random.default_rng(1)
    clean = calibrated_epsilons(generator.normal(size=(64, 400)), generator.normal(size=(64, 400)))
    assert (clean > 0).mean() <= 0.05
    assert sample_epsilons(np.zeros((16, 3)), generator.normal(size=(16, 3))).tolist() == [50.0] * 3


def test_scores_do_not_underflow():
    logits = np.array([[90.0, 0.0], [0.0, 90.0]])
    assert scores.phi(logits, np.array([0, 0])).tolist() == [50.0, -50.0]
    assert scores.cross_entropy(logits, np.array([0, 0])) == pytest.approx([0, 90])
    assert np.isfinite(scores.modified_entropy(logits, np.array([0, 0]))).all()
