"""The trace on margins worked out by hand, and the verdict as a pure function."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from forget_lib.core.errors import ForgetError, TooFewError
from forget_lib.deletion import verdict
from forget_lib.deletion.verdict import Reading

RULE = verdict.load_rule()
KEPT = (0.24, 0.25, 0.26)


def decided(outputs: Reading, embedding: Reading, **about):
    return verdict.decide({"outputs": outputs, "embedding": embedding}, RULE, **{"images": 50, **about})


def reading(value: float, deviation: float = 0.04, references: int = 8, kept: tuple[float, ...] = KEPT) -> Reading:
    return Reading(value, deviation, references, kept)


def test_the_trace_is_0_for_retrained_1_for_original_and_linear_between():
    retrained = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    trained = retrained + np.array([2.0, 4.0])
    models = np.array([[0.0, 1.0], [2.0, 5.0], [1.0, 3.0], [-2.0, -3.0], [4.0, -1.0]])
    assert verdict.traces(models, retrained, trained) == pytest.approx([0, 1, 0.5, -1, 0])


def test_noise_of_the_references_moves_neither_end_of_the_scale():
    generator, found = np.random.default_rng(0), []
    direction = np.full(40, 0.7)
    for _ in range(1000):
        noise = generator.normal(size=(14, 40))
        given = noise[6:12] + direction
        both = np.stack([noise[12], noise[13] + direction])
        found.append(verdict.traces(both, noise[:6], given))
    assert np.mean(found, axis=0) == pytest.approx([0, 1], abs=0.1)


def test_the_deviation_of_a_reading_is_that_of_fresh_retrained_models():
    generator, direction, ratios = np.random.default_rng(1), np.full(60, 1.0), []
    for _ in range(400):
        noise = generator.normal(size=(13, 60))
        found = verdict.read(noise[12], noise[:8], noise[8:12] + direction)
        ratios.append(found.value / found.error)
    # Student's t with 7 degrees of freedom: variance 7 / 5.
    assert np.var(ratios) == pytest.approx(1.4, abs=0.35)
    assert np.mean(ratios) == pytest.approx(0, abs=0.2)


def test_too_few_models_are_refused_and_no_difference_gives_no_certainty():
    with pytest.raises(TooFewError, match="at least 3"):
        verdict.leave_one_out(np.zeros((2, 4)), np.zeros((3, 4)))
    generator = np.random.default_rng(2)
    noise = generator.normal(size=(12, 3))
    found = verdict.read(noise[0], noise[:8], noise[:4])
    assert decided(found, reading(0.0)).outcome == verdict.UNDECIDED


def test_a_new_head_sees_a_class_that_is_hidden_at_the_output():
    generator = np.random.default_rng(3)
    labels, retained = np.array([2] * 12), np.repeat([0, 1], 30)
    centres = np.eye(3, 5) * 6
    known = centres[labels] + generator.normal(size=(12, 5))
    unknown = centres[retained[::5]] + generator.normal(size=(12, 5))
    retain = centres[retained] + generator.normal(size=(60, 5))
    assert verdict.probe_margins(known, labels, retain, retained, 3).mean() > 0
    assert verdict.probe_margins(unknown, labels, retain, retained, 3).mean() < 0
    with pytest.raises(TooFewError, match="at least 2"):
        verdict.probe_margins(known[:1], labels[:1], retain, retained, 3)


def test_a_trace_near_0_passes_and_one_far_from_it_fails_on_either_side():
    assert decided(reading(0.01), reading(0.0, 0.1)).outcome == verdict.PASS
    for value in (0.9, -0.9):
        found = decided(reading(value), reading(0.0, 0.1))
        assert found.outcome == verdict.FAIL
        assert ("left" if value > 0 else "gone") in found.reasons[0]


def test_hiding_the_answer_at_the_output_fails_by_the_embedding():
    found = decided(reading(0.0), reading(1.0, 0.1))
    assert found.outcome == verdict.FAIL
    assert "embedding" in found.reasons[0]


def test_no_power_is_never_a_pass():
    found = decided(reading(0.0, 0.04, kept=(0.01, 0.02, 0.0)), reading(0.0, 0.1, kept=(0.0, 0.01, 0.02)))
    assert found.outcome == verdict.UNDECIDED
    assert "chance of only" in found.reasons[0]
    assert found.needed


def test_a_wide_interval_is_not_enough_evidence_and_says_what_is_needed():
    wide = decided(reading(0.0, 0.15, kept=(0.9, 0.9, 0.9)), reading(0.0, 0.1))
    assert wide.outcome == verdict.UNDECIDED
    assert any("images" in need for need in wide.needed)
    near = decided(reading(0.08, 0.06, kept=(0.9, 0.9, 0.9)), reading(0.0, 0.1))
    assert near.outcome == verdict.UNDECIDED
    assert any("nearer to 0" in need for need in near.needed)


@pytest.mark.parametrize(
    ("change", "about", "word"),
    [
        ({"references": 5}, {}, "retrained references"),
        ({"kept": (0.2,)}, {}, "retrainings that keep 25%"),
        ({}, {"images": 7}, "images to forget"),
        ({}, {"people": 4}, "people who stay"),
    ],
)
def test_too_few_models_images_or_people_are_not_enough_evidence_even_where_the_trace_is_large(change, about, word):
    found = decided(dataclasses.replace(reading(0.9), **change), reading(0.9, 0.1), **about)
    assert found.outcome == verdict.UNDECIDED
    assert any(word in need for need in found.needed)


def test_references_that_cannot_be_compared_leave_no_verdict():
    found = decided(reading(0.0), reading(0.0, 0.1), concerns=["The recipe gives another accuracy."])
    assert found.outcome == verdict.UNDECIDED
    assert found.reasons == ("The recipe gives another accuracy.",)


def test_power_grows_with_the_trace_and_equals_alpha_at_none():
    at = [verdict.detection_power(trace_, reading(0.0), 0.05) for trace_ in (0.0, 0.1, 0.2, 0.5, 5.0)]
    assert at[0] == pytest.approx(0.05, abs=0.002)
    assert at == sorted(at)
    assert at[-1] == pytest.approx(1.0)
    shift, critical = 0.1 / (0.04 * math.sqrt(9 / 8)), stats.t.ppf(0.975, 7)
    assert at[1] == pytest.approx(stats.nct.sf(critical, 7, shift) + stats.nct.cdf(-critical, 7, shift), abs=1e-3)


def test_the_rule_is_complete_and_in_range(tmp_path):
    assert verdict.load_rule(0.1).margin == 0.1
    text = verdict.RULE.read_text()
    path = tmp_path / "rule.yaml"
    for change, word in (
        (("alpha", "alhpa"), "alhpa"),
        (("power: 0.8", "power: 8"), "expected a number above 0 and below 1"),
    ):
        path.write_text(text.replace(*change))
        with pytest.raises(ForgetError, match=word):
            verdict.load_rule(path=path)
    path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("margin")))
    with pytest.raises(ForgetError, match="margin is missing"):
        verdict.load_rule(path=path)
    with pytest.raises(ForgetError, match="outputs, embedding"):
        verdict.decide({"outputs": reading(0.0)}, RULE, images=50)
