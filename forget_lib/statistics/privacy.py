"""Accountants of privacy: from noise to (ε, δ) and back. Distances are in units of the noise's deviation."""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp
from scipy.stats import norm

ORDERS = np.unique(np.concatenate([np.arange(2, 64), np.geomspace(64, 2**17, 60)]).astype(int))
"""Orders α of Rényi divergences; each gives a valid bound, and the smallest counts."""


def gaussian_delta(epsilon: float, distance: float) -> float:
    r"""Least δ at which :math:`\mathcal{N}(0, 1)` and :math:`\mathcal{N}(\mu, 1)` are (ε, δ)-close, μ the distance > 0.

    :math:`\Phi(\mu / 2 - \epsilon / \mu) - e^\epsilon \Phi(-\mu / 2 - \epsilon / \mu)` (Balle & Wang, ICML 2018).
    """
    half, ratio = distance / 2, epsilon / distance
    return float(norm.cdf(half - ratio) - np.exp(epsilon + norm.logcdf(-half - ratio)))


def gaussian_distance(epsilon: float, delta: float) -> float:
    """The largest distance that is hidden at (ε, δ); the inverse of `gaussian_delta`."""
    return float(brentq(lambda distance: gaussian_delta(epsilon, distance) - delta, 1e-6, 100.0, xtol=1e-12))


def noise_of_steps(hidden: float, steps: int, keep: float, diameter: float, shift: float) -> float:
    r"""Deviation of the noise of each of T steps after which two runs are as close as Gaussians `hidden` apart.

    They start at most `diameter` D apart; a step brings them together by the factor `keep` ρ in (0, 1], drives them
    apart by at most `shift` s, and adds the same noise to both: :math:`\sigma = (\rho^T D + s \sum_{k<T} \rho^k) /
    (\mu \sqrt{\sum_{k<T} \rho^{2k}})`.
    Source: the sum is that of Koloskova et al., ICML 2025 (Rényi divergence); that the runs are as close as two
    Gaussians, which is tighter, is shown by Bok et al., NeurIPS 2024 (shifted interpolation).
    """
    powers = keep ** np.arange(steps)
    apart = keep**steps * diameter + shift * powers.sum()
    return float(apart / (hidden * np.sqrt(np.square(powers).sum())))


def sampled_epsilon(noise: float, share: float, steps: int, delta: float) -> float:
    r"""ε at δ of sums with Gaussian noise over Poisson samples, composed over steps; one sample added or removed.

    noise: deviation over the longest summand. share: q, with which each sample is drawn. Per step and whole order α:
    :math:`\frac{1}{\alpha - 1} \ln \sum_k \binom{\alpha}{k} (1 - q)^{\alpha - k} q^k e^{(k^2 - k) / 2 \sigma^2}`.
    Source: Mironov et al. 2019 (arXiv 1908.10530); to ε as in Canonne et al., NeurIPS 2020.
    """
    best = math.inf
    for order in ORDERS:
        k = np.arange(order + 1)
        terms = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1) + k * math.log(share)
        terms += (order - k) * math.log1p(-share) if share < 1 else np.where(k < order, -np.inf, 0.0)
        divergence = steps * logsumexp(terms + (k * k - k) / (2 * noise**2)) / (order - 1)
        found = divergence + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)
        if found > best:
            break  # it falls to the best order and rises from there on
        best = float(found)
    return max(0.0, best)


def sampled_noise(epsilon: float, delta: float, share: float, steps: int) -> float:
    """The least noise with which `sampled_epsilon` is at most ε, to a part in a thousand."""
    low, high = 0.1, 0.2
    while sampled_epsilon(high, share, steps, delta) > epsilon:
        low, high = high, 2 * high
    while high > 1.001 * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if sampled_epsilon(middle, share, steps, delta) > epsilon else (low, middle)
    return high


def for_one_of(epsilon: float, delta: float, group: int) -> tuple[float, float]:
    r"""(ε, δ) for one sample that give the (ε, δ) asked for to a whole group of k: :math:`\epsilon / k`, and
    :math:`\delta (e^{\epsilon / k} - 1) / (e^\epsilon - 1)`."""
    return epsilon / group, delta * math.expm1(epsilon / group) / math.expm1(epsilon)
