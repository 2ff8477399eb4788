"""Statistics against hand values, scipy, scikit-learn, and simulations whose truth is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.metrics import roc_auc_score

from forget_lib.core.errors import ForgetError, TooFewError
from forget_lib.statistics import intervals

STUDIES = 2000
"""Simulated studies; the standard error of a coverage of 95 % is then 0.5 points."""


def covered(interval, truth=0.0):
    return interval.low <= truth <= interval.high


def test_t_interval_is_scipys():
    values = [1.0, 2.0, 4.0]
    interval = intervals.t_interval(values)
    expected = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (interval.low, interval.high) == pytest.approx(expected)
    assert interval.value == pytest.approx(7 / 3)
    assert interval.n == 3


@pytest.mark.parametrize(
    ("call", "number"),
    [
        (lambda: intervals.t_interval([1.0]), "2"),
        (lambda: intervals.bootstrap_interval(range(9)), "10"),
        (lambda: intervals.sign_flip_test([1.0] * 5), "6"),
        (lambda: intervals.tost([0.1], 0.2), "2"),
        (lambda: intervals.tpr_at_fpr([1.0], range(999), 0.01), "1000"),
        (lambda: intervals.tpr_at_fpr([1.0], range(9999), 0.001), "10000"),
        (lambda: intervals.cluster_bootstrap(range(9), len), "10"),
        (lambda: intervals.nested_variance_components(np.ones((1, 4, 2))), "2 draws"),
        (lambda: intervals.clopper_pearson(0, 0), "1 trial"),
    ],
)
def test_too_few_says_how_many_are_needed(call, number):
    with pytest.raises(TooFewError, match=number):
        call()


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ForgetError, match="not finite"):
        intervals.t_interval([1.0, math.nan])


@pytest.mark.parametrize("size", [3, 6, 10, 20])
def test_mean_intervals_cover_the_truth(size):
    samples = np.random.default_rng(size).normal(size=(500, size))
    coverage = np.mean([covered(intervals.mean_interval(row)) for row in samples])
    assert coverage == pytest.approx(0.95, abs=0.03)


def test_auc_interval_covers_the_closed_form():
    generator = np.random.default_rng(0)
    truth = stats.norm.cdf(1 / math.sqrt(2))
    hits = [
        covered(intervals.auc_interval(generator.normal(1, 1, 60), generator.normal(0, 1, 80)), truth)
        for _ in range(STUDIES)
    ]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
def test_an_end_that_cannot_be_is_moved_to_where_it_can():
    found = intervals.within(intervals.t_interval([0, 0, 1]), (-1, 1))  # by t: -1.10 to 1.77
    place, half = 2 / 3, (1.76755 - 1 / 3) / 2
    slope = 1 / (place * (1 - place))
    ends = [2 * special.expit(special.logit(place) + sign * half * slope) - 1 for sign in (-1, 1)]
    assert found[1:3] == pytest.approx(ends, rel=1e-4)
    positive = intervals.within(intervals.t_interval([0, 1, 3]), (0, math.inf))  # by t: -2.46 to 5.13
    assert positive.low == pytest.approx(4 / 3 * math.exp(-3.79449 / (4 / 3)), rel=1e-4)
    assert positive.high == pytest.approx(5.1278, rel=1e-4)


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=12),
    st.sampled_from([(0.0, 1.0), (0.0, math.inf), (-math.inf, 1.0), (-1.0, 1.0), (-math.inf, math.inf)]),
)
def test_an_interval_within_bounds_holds_its_mean_and_keeps_the_ends_that_can_be(values, bounds):
    plain = intervals.mean_interval(values)
    found = intervals.within(plain, bounds)
    assert bounds[0] <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= bounds[1]
    assert plain.low < bounds[0] or found.low == plain.low
    assert plain.high > bounds[1] or found.high == plain.high
    assert intervals.within(found, bounds) == found


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
def test_an_interval_around_what_cannot_be_is_left_alone():
    wrong = intervals.Interval(1.2, -0.4, 2.8, 3)
    assert intervals.within(wrong, (0, 1)) == wrong


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
@pytest.mark.parametrize("chance", [0.02, 0.2, 0.5, 0.9])
def test_intervals_within_bounds_cover_as_those_without(chance):
    shares = np.random.default_rng(0).binomial(20, chance, (1000, 3)) / 20
    plain = [intervals.t_interval(row) for row in shares]
    inside = [intervals.within(one, (0, 1)) for one in plain]
    before, after = (np.mean([covered(one, chance) for one in each]) for each in (plain, inside))
    assert after >= before - 0.015


def test_auc_with_ties_is_scikit_learns():
    generator = np.random.default_rng(1)
    members, others = generator.integers(0, 5, 40), generator.integers(0, 4, 70)
    expected = roc_auc_score(np.r_[np.ones(40), np.zeros(70)], np.r_[members, others])
    assert intervals.auc(members, others) == pytest.approx(expected)
    assert intervals.auc_interval(members, others).value == pytest.approx(expected)


scores = st.lists(st.integers(-5, 5), min_size=2, max_size=30)


@settings(max_examples=60, deadline=None)
@given(scores, scores, st.randoms())
def test_auc_is_antisymmetric_and_ignores_order(members, others, random):
    area = intervals.auc(members, others)
    assert 0 <= area <= 1
    assert area + intervals.auc(others, members) == pytest.approx(1)
    shuffled = list(members)
    random.shuffle(shuffled)
    assert intervals.auc(shuffled, others) == pytest.approx(area)
    assert intervals.auc(np.exp(members), np.exp(others)) == pytest.approx(area)


def test_clopper_pearson_is_scipys_and_covers():
    for successes, trials in [(0, 10), (3, 3000), (10, 10), (7, 20)]:
        expected = stats.binomtest(successes, trials).proportion_ci(0.95, "exact")
        got = intervals.clopper_pearson(successes, trials)
        assert (got.low, got.high) == pytest.approx((expected.low, expected.high))
    counts = np.random.default_rng(0).binomial(400, 0.02, 500)
    table = {count: covered(intervals.clopper_pearson(count, 400), 0.02) for count in set(counts.tolist())}
    assert np.mean([table[count] for count in counts.tolist()]) >= 0.94


def test_rate_uses_the_largest_false_positive_rate_at_or_under_the_target():
    others = np.arange(1000.0)
    rate = intervals.tpr_at_fpr([990.0, 989.0, 990.5, 2000.0], others, 0.01)
    assert rate.threshold == 989.0  # the 11th largest: ten non-members are strictly above
    assert rate.true_positive_rate.value == 0.75
    assert rate.false_positive_rate.value == 0.01


def test_tied_scores_never_exceed_the_target_rate():
    others = np.r_[np.zeros(900), np.ones(100)]
    rate = intervals.tpr_at_fpr([1.0, 0.0], others, 0.01)
    assert rate.false_positive_rate.value == 0
    assert rate.true_positive_rate.value == 0


def test_pairs_are_matched_by_seed():
    first, second = {2: 1.0, 0: 3.0, 1: 2.0}, {0: 1.0, 1: 1.0, 2: 1.0}
    assert intervals.differences(first, second).tolist() == [0.0, 2.0, 1.0]
    assert intervals.paired_difference(first, second).value == pytest.approx(1)
    with pytest.raises(ForgetError, match="same seeds; only one side has 1"):
        intervals.differences({0: 1.0, 1: 2.0}, {0: 1.0})
    with pytest.raises(ForgetError, match="same length"):
        intervals.differences([1.0], [1.0, 2.0])


def test_sign_flip_by_hand_and_against_scipy():
    assert intervals.sign_flip_test([1, 2, 3, 4, 5, 6]) == pytest.approx(2 / 64)
    assert intervals.sign_flip_test([1, -1, 1, -1, 1, -1]) == 1
    values = np.random.default_rng(3).normal(0.5, 1, 9)
    expected = stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert intervals.sign_flip_test(values) == pytest.approx(expected)
    many = np.random.default_rng(4).normal(0.2, 1, 30)
    assert intervals.sign_flip_test(many) == pytest.approx(stats.ttest_1samp(many, 0).pvalue, abs=0.02)


def test_sign_flip_has_its_size_and_power():
    generator = np.random.default_rng(5)
    null = [intervals.sign_flip_test(row) for row in generator.normal(size=(STUDIES, 8))]
    shifted = [intervals.sign_flip_test(row) for row in generator.normal(1.5, 1, size=(500, 8))]
    assert np.mean(np.array(null) <= 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.mean(np.array(shifted) <= 0.05) > 0.8


def test_holm_by_hand():
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    with pytest.raises(ForgetError):
        intervals.holm([1.2])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_monotone_and_within_range(p_values):
    adjusted = intervals.holm(p_values)
    assert (adjusted >= np.array(p_values)).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= -1e-12).all()


def test_equivalence_has_its_size_at_the_margin_and_power_inside():
    generator = np.random.default_rng(6)
    at_margin = [intervals.tost(row, 0.02).equivalent for row in generator.normal(0.02, 0.01, (STUDIES, 6))]
    inside = [intervals.tost(row, 0.02).equivalent for row in generator.normal(0, 0.01, (500, 6))]
    assert np.mean(at_margin) == pytest.approx(0.05, abs=0.015)
    assert np.mean(inside) > 0.9
    result = intervals.tost([0.01, 0.012, 0.011], 0.02)
    assert result.equivalent
    assert result.low > -0.02
    assert result.high < 0.02
    assert intervals.tost([0.0, 0.0], 0.1).p_value == 0
    with pytest.raises(ForgetError):
        intervals.tost([0.0, 0.1], 0)


@pytest.mark.parametrize("people", [12, 30])
def test_cluster_bootstrap_covers_where_samples_of_a_person_agree(people):
    generator = np.random.default_rng(people)
    clusters = np.repeat(np.arange(people), 5)
    hits = []
    for study in range(500):
        values = np.repeat(generator.normal(size=people), 5) + generator.normal(0, 0.5, len(clusters))
        means = values.reshape(people, 5).mean(axis=1)

        def mean(drawn: np.ndarray, means: np.ndarray = means) -> np.ndarray:
            return drawn @ means / people

        hits.append(covered(intervals.cluster_bootstrap(clusters, mean, resamples=200, seed=study)))
    assert np.mean(hits) == pytest.approx(0.95, abs=0.03)


def test_nested_components_are_recovered_and_their_intervals_cover():
    generator = np.random.default_rng(8)
    truth = {"draw": 4.0, "original": 9.0, "run": 2.25}
    found = []
    for study in range(120):
        values = generator.normal(0, 2, (6, 1, 1)) + generator.normal(0, 3, (6, 5, 1))
        values = values + generator.normal(0, 1.5, (6, 5, 2))
        found.append(intervals.nested_variance_components(values, 60, study))
    for name, value in truth.items():
        assert np.mean([each[name].value for each in found]) == pytest.approx(value, rel=0.2), name
        assert np.mean([each[name].low <= value <= each[name].high for each in found]) > 0.8, name


def test_nested_components_by_hand():
    """Two draws whose means are 1 and 3, originals 1 apart from them, runs that agree: all squares by hand."""
    table = np.array([[[0, 0], [2, 2]], [[2, 2], [4, 4]]], dtype=float)
    found = intervals.nested_variance_components(table, 10)
    # Cells: between originals of a draw var 2; draw means 1 and 3: var 2, of which 2/2 comes from originals.
    assert {name: each.value for name, each in found.items()} == {"draw": 1.0, "original": 2.0, "run": 0.0}


def test_seeds_needed_is_the_smallest_number():
    number = intervals.seeds_needed(0.02, 0.01)

    def half(n):
        return stats.t.ppf(0.975, n - 1) * 0.02 / math.sqrt(n)

    assert half(number) <= 0.01 < half(number - 1)
    assert intervals.seeds_needed(0, 0.01) == 2
    assert intervals.seeds_needed(1.0, stats.t.ppf(0.975, 4) / math.sqrt(5)) == 5  # exactly the margin is enough
    with pytest.raises(ForgetError):
        intervals.seeds_needed(0.1, 0)


def test_delong_by_hand():
    """Members 1, 3, 5 and others 0, 3: placements by counting pairs, a tie for one half."""
    found = intervals.auc_interval([1, 3, 5], [0, 3])
    above, below = np.array([0.5, 0.75, 1.0]), np.array([1.0, 0.5])
    error = math.sqrt(above.var(ddof=1) / 3 + below.var(ddof=1) / 2)
    assert found.value == 0.75
    assert found.n == 5
    assert 0.75 - stats.norm.ppf(0.975) * error == pytest.approx(found.low, abs=1e-9)  # 0.19 is possible
    place = special.logit(0.75) + stats.norm.ppf(0.975) * error / (0.75 * 0.25)
    assert found.high == pytest.approx(special.expit(place))
    narrow = intervals.auc_interval([1, 3, 5], [0, 3], level=0.5)
    assert narrow.high == pytest.approx(0.75 + stats.norm.ppf(0.75) * error)


def test_the_bootstrap_t_interval_by_its_definition():
    values = np.random.default_rng(3).exponential(size=10)
    drawn = values[np.random.default_rng(0).integers(0, 10, (2000, 10))]
    pivots = (drawn.mean(1) - values.mean()) / (drawn.std(1, ddof=1) / math.sqrt(10))
    low, high = (values.mean() - np.quantile(pivots, q) * stats.sem(values) for q in (0.95, 0.05))
    found = intervals.bootstrap_interval(values, level=0.9)
    assert found == pytest.approx((values.mean(), low, high, 10))
    assert intervals.mean_interval(values, 0.9) == found
    assert intervals.mean_interval(values[:9]) == intervals.t_interval(values[:9])
    assert intervals.bootstrap_interval([2.0] * 12) == (2.0, 2.0, 2.0, 12)


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
def test_an_end_that_resamples_without_spread_hide_is_students():
    """Nine zeros and a one: a third of all resamples are zeros alone, and without them the mean would be an end."""
    values = [0.0] * 9 + [1.0]
    assert intervals.bootstrap_interval(values) == intervals.t_interval(values)
    few = [0.0] * 5 + [1.0, 2.0, 3.0, 4.0, 5.0]  # a thousandth of the resamples: these are left out
    assert intervals.bootstrap_interval(few) != intervals.t_interval(few)
    assert np.isfinite(intervals.bootstrap_interval(few)[:3]).all()
    draws = np.random.default_rng(0).binomial(1, 0.2, (200, 10))
    assert np.mean([covered(intervals.bootstrap_interval(row), 0.2) for row in draws]) > 0.85  # once 0.63


def test_the_expanded_percentile_interval_of_people_by_its_definition():
    clusters, values = np.repeat(np.arange(10), 3), np.random.default_rng(4).normal(size=30)
    of_people = values.reshape(10, 3).sum(1)
    drawn = of_people[np.random.default_rng(5).integers(0, 10, (1000, 10))].sum(1) / 30
    tail = stats.norm.cdf(stats.t.ppf(0.05, 9) * math.sqrt(10 / 9))
    found = intervals.cluster_bootstrap(clusters, lambda often: often @ of_people / 30, level=0.9, seed=5)
    assert found == pytest.approx((values.mean(), *np.quantile(drawn, [tail, 1 - tail]), 10))


def test_fewest_values_are_enough():
    assert intervals.sign_flip_test([1.0] * 6) == 2 / 64
    assert intervals.t_interval([1.0, 3.0]).n == 2
    assert intervals.bootstrap_interval(range(10)).n == 10
    assert intervals.tpr_at_fpr([1.0], range(1000), 0.01).threshold == 989
    assert intervals.auc([1.0], [0.0]) == 1
    assert intervals.cluster_bootstrap(range(10), lambda often: often.sum(axis=1)) == (10, 10, 10, 10)
    assert set(intervals.nested_variance_components(np.eye(2)[..., None], 2)) == {"draw", "original"}
    with pytest.raises(TooFewError, match="2 originals each, got 3, 1"):
        intervals.nested_variance_components(np.ones((3, 1, 2)))


def test_what_cannot_be_a_count_a_margin_or_a_probability_is_refused():
    for successes in (-1, 4):
        with pytest.raises(ForgetError, match="expected 0 to 3"):
            intervals.clopper_pearson(successes, 3)
    with pytest.raises(ForgetError, match="must lie in"):
        intervals.holm([-0.1])
    assert intervals.holm([0.0, 1.0]).tolist() == [0.0, 1.0]
    with pytest.raises(ForgetError, match="SD >= 0"):
        intervals.seeds_needed(-0.1, 0.1)
    with pytest.raises(ForgetError, match="full, finite table"):
        intervals.nested_variance_components(np.ones((3, 3)))
    with pytest.raises(ForgetError, match="1 of 2 values"):
        intervals.t_interval([1.0, math.inf])


def test_random_flips_of_many_differences_count_the_one_that_was_observed():
    """Of 21 equal differences only the two flips of all signs reach the sum: never drawn, the observed one is left."""
    assert intervals.sign_flip_test([1.0] * 20) == 2 / 2**20
    assert intervals.sign_flip_test([1.0] * 40) == 1 / 100_001


def test_equivalence_by_hand():
    """Differences 0 and 0.02: mean 0.01, standard error 0.01, one degree of freedom, so that t is Cauchy."""
    found = intervals.tost([0.0, 0.02], 0.04)
    assert found.p_value == pytest.approx(0.5 - math.atan(3) / math.pi)
    half = 0.01 * math.tan(math.pi * 0.45)
    assert (found.low, found.high) == pytest.approx((0.01 - half, 0.01 + half))
    assert not found.equivalent
    assert intervals.tost([0.0, 0.02], 0.04, alpha=0.2).equivalent
    assert intervals.tost([0.1, 0.1], 0.1).p_value == 1
    assert not intervals.tost([-0.2, -0.2], 0.1).equivalent


def test_components_of_a_table_with_one_run_a_cell_by_hand():
    found = intervals.nested_variance_components(np.array([[[0.0], [2.0]], [[6.0], [8.0]]]), 50)
    # Draw means 1 and 7: var 18; originals of a draw: var 2, of which half is in a draw's mean.
    assert {name: each.value for name, each in found.items()} == {"draw": 17.0, "original": 2.0}
    assert all(0 <= each.low <= each.high and each.n == 2 for each in found.values())


def test_negatives_that_a_rate_needs():
    assert [intervals.negatives_needed(rate) for rate in (0.1, 0.01, 0.03)] == [100, 1000, 334]
