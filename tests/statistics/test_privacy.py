"""Accountants against values worked out by hand, against published ones, and against runs."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from forget_lib.statistics import privacy


def test_at_epsilon_zero_delta_is_the_total_variation_of_two_gaussians():
    assert privacy.gaussian_delta(0.0, 2.0) == pytest.approx(2 * norm.cdf(1.0) - 1)


@pytest.mark.parametrize(
    ("epsilon", "delta", "noise"), [(1.0, 1e-5, 3.73063163), (0.1, 1e-5, 30.7495661), (8.0, 1e-6, 0.65293538)]
)
def test_the_noise_of_one_gaussian_is_that_of_the_library_dp_accounting(epsilon, delta, noise):
    """Its get_sigma_gaussian, version 0.6.0, for sensitivity 1."""
    assert 1 / privacy.gaussian_distance(epsilon, delta) == pytest.approx(noise, rel=1e-5)
    assert privacy.gaussian_delta(epsilon, 1 / noise) == pytest.approx(delta, rel=1e-4)


def test_noise_of_steps_by_hand():
    assert privacy.noise_of_steps(1.0, 1, 1.0, 2.0, 0.0) == pytest.approx(2.0)
    assert privacy.noise_of_steps(0.5, 4, 1.0, 2.0, 0.5) == pytest.approx((2.0 + 4 * 0.5) / (0.5 * 2))
    by_hand = (0.25 * 4.0 + 1.0 * 1.5) / math.sqrt(1.25)
    assert privacy.noise_of_steps(1.0, 2, 0.5, 4.0, 1.0) == pytest.approx(by_hand)


@pytest.mark.parametrize(("steps", "keep", "diameter", "shift"), [(7, 0.9, 2.0, 0.1), (40, 1.0, 0.02, 0.001)])
def test_two_runs_as_far_apart_as_allowed_end_exactly_as_far_apart_as_is_hidden(steps, keep, diameter, shift):
    """In one dimension, with maps ρ x ± s / 2, the ends are Gaussians: no accountant can promise more."""
    noise = privacy.noise_of_steps(0.3, steps, keep, diameter, shift)
    one, other, variance = diameter / 2, -diameter / 2, 0.0
    for _ in range(steps):
        one, other, variance = keep * one + shift / 2, keep * other - shift / 2, keep**2 * variance + noise**2
    assert (one - other) / math.sqrt(variance) == pytest.approx(0.3)


def test_the_noise_is_at_the_renyi_divergence_of_the_authors_code():
    """Koloskova et al.: constant noise, decay λ: σ² = η λ (2 - η λ) (D c + 2 C₁ / λ (1 - c))² / (2 ε (1 - c²)),
    c = (1 - η λ)^T, and ε the divergence over its order, which two Gaussians μ apart have at μ² / 2."""
    rate, decay, radius, longest, steps = 1e-4, 750.0, 0.01, 10.0, 6
    c, renyi = (1 - rate * decay) ** steps, 1.0
    apart = 2 * radius * c + 2 * longest / decay * (1 - c)
    theirs = math.sqrt(apart**2 * rate * decay * (2 - rate * decay) / (2 * renyi * (1 - c**2)))
    ours = privacy.noise_of_steps(math.sqrt(2 * renyi), steps, 1 - rate * decay, 2 * radius, 2 * rate * longest)
    assert ours == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("share", "noise", "steps", "delta", "epsilon"),
    [
        (256 / 60000, 1.1, 14062, 1e-5, 2.5969812),
        (0.01, 1.0, 1000, 1e-5, 2.1077531),
        (0.1, 20.0, 100, 1e-8, 0.2574930),
        (1.0, 5.0, 10, 1e-5, 2.8141092),
    ],
)
def test_composition_over_steps_is_that_of_the_library_dp_accounting(share, noise, steps, delta, epsilon):
    """Its RdpAccountant, version 0.6.0, with the same orders; its tighter one gives 2.38, 1.83, 0.241 and 2.59."""
    assert privacy.sampled_epsilon(noise, share, steps, delta) == pytest.approx(epsilon, rel=1e-6)


def test_without_sampling_the_bound_is_never_below_the_exact_one():
    for noise in (2.0, 5.0, 20.0):
        found = privacy.sampled_epsilon(noise, 1.0, 10, 1e-5)
        assert privacy.gaussian_delta(found, math.sqrt(10) / noise) <= 1e-5


def test_sampled_noise_is_the_least_that_keeps_the_promise():
    noise = privacy.sampled_noise(0.5, 1e-6, 0.1, 50)
    assert privacy.sampled_epsilon(noise, 0.1, 50, 1e-6) <= 0.5 < privacy.sampled_epsilon(noise / 1.01, 0.1, 50, 1e-6)


def test_a_group_of_two_by_hand_and_one_alone():
    epsilon, delta = privacy.for_one_of(1.0, 1e-5, 2)
    assert epsilon == 0.5
    assert delta * (1 + math.exp(0.5)) == pytest.approx(1e-5)
    assert privacy.for_one_of(3.0, 1e-6, 1) == pytest.approx((3.0, 1e-6))
    assert np.isfinite(privacy.for_one_of(500.0, 1e-5, 300)).all()
