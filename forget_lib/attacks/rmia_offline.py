"""RMIA, offline."""

import numpy as np

from forget_lib.attacks import AttackInput, References, attack, source
from forget_lib.attacks.parts.per_sample import mean_probability, relative_score
from forget_lib.core.errors import TooFewError
from forget_lib.statistics import intervals, scores

OFFLINE_GRID = np.linspace(0, 1, 11)
TUNING_TARGETS = 4


@attack("rmia_offline", title="RMIA, offline", null="0.5", needs="references")
@source("Zarifzadeh et al., ICML 2024", arxiv="2312.03262")
def rmia_offline(inputs: AttackInput) -> np.ndarray:
    r"""Relative likelihood against the models without the sample: :math:`\log p_t(x) - \log \Pr(x)`.

    :math:`\Pr(x) = ((1 + a) \bar p_{out}(x) + (1 - a)) / 2` takes :math:`\bar p_{in} = a \bar p_{out} + 1 - a`; `a` is
    tuned on references in the place of the target, never on the target.
    """
    references = inputs.pool
    a = tuned_a(references, inputs.labels)
    outside = mean_probability(references.logits, inputs.labels, ~references.membership)
    expected = ((1 + a) * outside + 1 - a) / 2
    return relative_score(inputs, expected, lambda population: ((1 + a) * population + 1 - a) / 2)


def tuned_a(references: References, labels: np.ndarray) -> float:
    """The `a` in {0, 0.1, ..., 1} with the best mean AUC when references stand in for the target.

    The stand-in and its complement are left out of the references, so that each sample keeps as many models without it.
    Raises: TooFewError below 4 references.
    """
    if references.number < 4:
        raise TooFewError(f"Tuning RMIA's a needs at least 4 references, got {references.number}.")
    areas = np.zeros(len(OFFLINE_GRID))
    for stand_in in range(min(TUNING_TARGETS, references.number)):
        truth = references.membership[stand_in]
        if truth.all() or not truth.any():
            continue
        others = ~((references.membership == truth).all(axis=1) | (references.membership == ~truth).all(axis=1))
        outside = ~references.membership[others]
        if not others.any() or outside.sum(axis=0).min() < 1:
            continue
        mean = mean_probability(references.logits[others], labels, outside)
        own = -scores.cross_entropy(references.logits[stand_in], labels)
        for position, a in enumerate(OFFLINE_GRID):
            relative = own - np.log(np.maximum(((1 + a) * mean + 1 - a) / 2, 1e-300))
            areas[position] += intervals.auc(relative[truth], relative[~truth])
    return float(OFFLINE_GRID[areas.argmax()])
