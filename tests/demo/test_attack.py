"""The attack by a threshold."""

import numpy as np
import pytest

from forget_lib.core.errors import TooFewError
from forget_lib.demo import attack, parts
from forget_lib.statistics.scores import phi


def sentences(guess: tuple) -> str:
    return " ".join(parts.html.guess(*guess).split())


def test_the_threshold_gives_both_rates_with_exact_intervals():
    guess = attack.Guessing(np.array([3.0, 2, 1, 0]), np.array([1.0, 0, 0, 0])).at(1.0)
    found, accused = guess
    assert (found.value, accused.value) == (0.75, 0.25)
    assert (found.low, accused.high) == pytest.approx((0.1941, 0.8059), abs=1e-4)
    assert "3 of the 4" in sentences(guess)
    assert "1 of 4" in sentences(guess)
    assert "nothing shows that the guess beats chance" in sentences(guess)


def test_a_clear_difference_is_called_one():
    assert "clearly more often" in sentences(attack.Guessing(np.full(50, 2.0), np.full(50, -2.0)).at(0.0))
    assert "clearly less often" in sentences(attack.Guessing(np.full(50, -2.0), np.full(50, 2.0)).at(0.0))
    with pytest.raises(TooFewError):
        attack.Guessing(np.ones(1), np.ones(5))


def test_the_attack_panel_follows_model_and_threshold(bench):
    panel = attack.AttackPanel()
    panel.show(bench)
    low, high = panel.guessing.range
    panel.threshold.value = low
    all_of_them = len(panel.guessing.forget)
    assert f"{all_of_them} of the {all_of_them} forgotten images" in " ".join(panel.result.value.split())
    assert [rate.value for rate in panel.guessing.at(low)] == [1.0, 1.0]
    panel.model.value = "retrain"
    assert "Retrained" in panel.status.value
    assert low <= high


def test_the_default_attack_finds_what_the_original_was_trained_on_and_pictures_are_sorted(bench):
    panel = attack.AttackPanel()
    panel.show(bench)
    assert panel.model.value == "original"
    found, _ = panel.guessing.at(panel.threshold.value)
    assert f"{round(found.value * found.n)} forgotten images found" in panel.result.value
    assert f"{found.n - round(found.value * found.n)} forgotten images missed" in panel.result.value
    own = attack.scores(bench, "original", "forget") + attack.scores(bench, "retrain", "forget")
    samples = bench.samples("forget")
    assert own == pytest.approx(phi(bench.logits("original", "forget").numpy(), samples.labels.numpy()), abs=1e-3)
