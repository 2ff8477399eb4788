"""A lower bound on epsilon from one run: how private is "train, then unlearn" with respect to its canaries?"""

from functools import lru_cache

import numpy as np
from scipy.stats import binom

from forget_lib.attacks import AttackInput, attack, get_attack, source
from forget_lib.attacks.loss_regression import loss_score, matched_columns
from forget_lib.core.errors import ForgetError, TooFewError
from forget_lib.statistics.measurement import Measurement

DELTA = 1e-5
GUESSED = 20
"""One sample in so many is guessed on each side; fixed beforehand, since choosing by the result would cheat."""
FEWEST_GUESSES = 5
HIGHEST = 50.0


def audit_p_value(epsilon: float, correct: int, guesses: int, canaries: int, delta: float = DELTA) -> float:
    r"""P-value of "the mechanism is (epsilon, delta)-DP" after `correct` of `guesses` right guesses on m canaries.

    :math:`P[B \ge v] + 2 m \delta \max_{i \le v} P[v > B \ge v - i] / i,\ B \sim Bin(r, 1 / (1 + e^{-\epsilon}))`.
    Source: Steinke et al., NeurIPS 2023, theorem 5.2.
    """
    chance = 1 / (1 + np.exp(-epsilon))
    tail = binom.sf(correct - 1, guesses, chance)
    if correct == 0 or delta == 0:
        return float(min(1.0, tail))
    below = np.cumsum(binom.pmf(correct - np.arange(1, correct + 1), guesses, chance))
    return float(min(1.0, tail + 2 * canaries * delta * (below / np.arange(1, correct + 1)).max()))


@lru_cache(maxsize=1024)  # of few counts, asked for again and again by the targets of a pool
def epsilon_lower_bound(correct: int, guesses: int, canaries: int, delta: float = DELTA, alpha: float = 0.05) -> float:
    """Largest epsilon >= 0 that the guesses refute at level `alpha`, nats. It has a ceiling: 20 of 20 right give 1.8.

    Raises: ForgetError unless 0 <= correct <= guesses <= canaries.
    """
    if not 0 <= correct <= guesses <= canaries or guesses == 0:
        raise ForgetError(f"Expected 0 <= correct <= guesses <= canaries, got {correct}, {guesses}, {canaries}.")
    if audit_p_value(0.0, correct, guesses, canaries, delta) > alpha:
        return 0.0
    low, high = 0.0, HIGHEST
    for _ in range(60):
        middle = (low + high) / 2
        if audit_p_value(middle, correct, guesses, canaries, delta) <= alpha:
            low = middle
        else:
            high = middle
    return low


def group_lower_bound(correct: int, guesses: int, delta: float, alpha: float = 0.05) -> float:
    r"""Largest epsilon >= 0 that the guesses refute of a promise about all deleted samples at once, nats.

    The promise: (epsilon, delta)-close to what never saw any of them, and there each guess is right with chance 1/2 by
    itself. So v or more right ones of r have a chance of at most :math:`e^\epsilon P[Bin(r, 1/2) \ge v] + \delta`.
    """
    tail = binom.logsf(correct - 1, guesses, 0.5)
    return float(max(0.0, np.log(alpha - delta) - tail)) if delta < alpha else 0.0


@attack("audit", title="One-run audit", null="0")
@source("Steinke et al., NeurIPS 2023", arxiv="2305.08846")
def audit(inputs: AttackInput) -> list[Measurement]:
    """Guess the most and the least member-like samples (a twentieth each) and bound epsilon by how many are right.

    Valid where a coin decided for each canary whether it was trained on; all trained ones were then deleted. Scores:
    LiRA with references, else minus the loss. The value is a 95 % lower bound with a ceiling, 0 after an exact retrain
    (in 95 of 100 runs). Raises: TooFewError below 100 samples.
    """
    columns = matched_columns(inputs)
    canaries = len(columns)
    each = canaries // GUESSED
    if each < FEWEST_GUESSES:
        raise TooFewError(f"An audit needs at least {GUESSED * FEWEST_GUESSES} canaries, got {canaries}.")
    by_lira = get_attack("lira").score
    score = by_lira(inputs) if inputs.references is not None and by_lira is not None else loss_score(inputs)
    member = columns[np.argsort(-score[columns], kind="stable")] < inputs.number_forget
    correct = int(member[:each].sum() + (~member[-each:]).sum())
    bound = epsilon_lower_bound(correct, 2 * each, canaries)
    return [
        Measurement("epsilon_lower_bound", bound, unit="nats", n=2 * each, null=0.0),
        Measurement("right_guesses", correct / (2 * each), unit="share", n=2 * each, null=0.5),
    ]
