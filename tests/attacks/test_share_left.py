"""Share left: the truth of simulated doses is recovered, intervals cover it, and an unseen sample has none."""

import numpy as np
import pytest

from forget_lib.attacks import AttackInput, References, Side, get_attack
from forget_lib.attacks.parts.per_sample import influence, shares
from forget_lib.core.errors import ForgetError, TooFewError
from tests.attacks.test_every_attack import as_logits, changed, simulated

DOSES = (0, 0.05, 0.1, 0.25, 0.5, 1)
SAMPLES = 160


def halves(generator, number):
    """Membership bool [number, SAMPLES] of complementary halves."""
    order = np.array([generator.permutation(SAMPLES) for _ in range(number // 2)])
    first = order < SAMPLES // 2
    return np.stack([first, ~first], axis=1).reshape(number, SAMPLES)


def targets(dose, seed, number=5, references=16, shift=-0.4, effect=1.5):
    """Targets of one pool that kept exactly a share of their forget sets; all margins are moved by `shift`."""
    generator = np.random.default_rng(seed)
    ease, moved = generator.normal(0, 3, SAMPLES), np.abs(generator.normal(effect, effect / 2, SAMPLES))
    inside = halves(generator, references)
    margins = ease + moved * inside + generator.normal(size=inside.shape)
    found = []
    for forget in halves(generator, 2 * number)[::2]:
        kept = np.zeros(SAMPLES)
        kept[generator.permutation(np.flatnonzero(forget))[: round(dose * SAMPLES / 2)]] = 1
        target = as_logits(ease + moved * kept + generator.normal(size=SAMPLES) + shift)
        sides = [np.flatnonzero(forget), np.flatnonzero(~forget)]
        columns, labels = np.concatenate(sides), np.zeros(SAMPLES // 2, dtype=np.int64)
        pool = References(as_logits(margins)[:, columns], inside[:, columns])
        found.append((AttackInput(*(Side(target[side], labels) for side in sides), references=pool), columns))
    return found


def pooled(dose, seed, **options):
    return shares([influence(inputs, columns) for inputs, columns in targets(dose, seed, **options)])[1]


@pytest.mark.parametrize("dose", DOSES)
def test_doses_are_recovered_and_intervals_cover_them_in_200_runs(dose):
    found = [pooled(dose, seed) for seed in range(200)]
    assert np.mean([each.value for each in found]) == pytest.approx(dose, abs=0.02)
    assert np.mean([each.low <= dose <= each.high for each in found]) >= 0.9
    assert np.mean([each.high - each.low for each in found]) < 0.4


@pytest.mark.parametrize("dose", [0, 0.25, 1])
def test_the_interval_of_one_target_covers_too(dose):
    found = [get_attack("share_left")(targets(dose, seed, number=1)[0][0])[0] for seed in range(200)]
    assert np.mean([each.value for each in found]) == pytest.approx(dose, abs=0.02)
    assert np.mean([each.low <= dose <= each.high for each in found]) >= 0.9


@pytest.mark.parametrize("references", [4, 8])
def test_few_references_do_not_shrink_it(references):
    found = [pooled(1, seed, references=references).value for seed in range(100)]
    assert np.mean(found) == pytest.approx(1, abs=0.03)


def test_it_is_negative_where_too_much_was_forgotten_and_lies_between_the_ends():
    ends = [np.mean([pooled(0, seed, shift=shift).value for seed in range(20)]) for shift in (-2, 2)]
    assert ends == pytest.approx([0, 0], abs=0.03)  # what moves all samples alike is no influence
    inputs = simulated(2.0, models=16, leaks=-0.5)
    assert get_attack("share_left")(inputs)[0].value == pytest.approx(-0.5, abs=0.1)


def test_by_hand_with_two_references_a_side():
    inside = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]) == 1
    margins = np.array([[5.0, 3, 0, 1], [3, 1, 0, 1], [1, 0, 4, 2], [1, 0, 2, 2]])
    sides = [Side(as_logits(np.array(each)), [0, 0]) for each in ([2.5, 1.0], [1.0, 1.0])]
    inputs = AttackInput(*sides, references=References(as_logits(margins), inside))
    # Means in 4, 2, 3, 2 and out 1, 0, 0, 1; residual squares sum to 6 over 4 degrees a side in, to 0 out.
    moved, out, variance = np.array([3, 2, 3, 1]), np.array([1, 0, 0, 1]), (6 / 4 + 1e-6) / 2
    found = moved * (np.array([2.5, 1, 1, 1]) - out) / variance
    whole = (moved**2 - 6 / 4 / 2 - 1e-6 / 2) / variance
    expected = found[:2].sum() / whole[:2].sum() - found[2:].sum() / whole[2:].sum()
    assert get_attack("share_left")(inputs)[0].value == pytest.approx(expected)


def test_it_is_read_with_references_only():
    with pytest.raises(ForgetError, match="train a pool first"):
        get_attack("share_left")(AttackInput(*(Side(np.zeros((3, 2)), [0, 0, 0]) for _ in range(2))))
    with pytest.raises(TooFewError, match="at least 4 references"):
        get_attack("share_left")(simulated(models=2))
    infinite = changed(simulated(), forget={"logits": np.full((300, 2), [np.inf, 0])})
    assert np.isfinite(get_attack("share_left")(infinite)[0].value)
