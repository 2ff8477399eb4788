"""RMIA, online."""

from __future__ import annotations

import numpy as np

from forget_lib.attacks.parts.per_sample import mean_probability, relative_score
from forget_lib.attacks.registry import AttackInput, attack


@attack(
    "rmia",
    title="RMIA, online",
    paper="Zarifzadeh et al., ICML 2024",
    null="0.5",
    needs="references",
)
def rmia(inputs: AttackInput) -> np.ndarray:
    r"""Relative likelihood :math:`\log p_t(x) - \log \Pr(x)`, :math:`\Pr` the mean over models with and without x."""
    references = inputs.references
    inside = mean_probability(references.logits, inputs.labels, references.membership)
    outside = mean_probability(references.logits, inputs.labels, ~references.membership)
    return relative_score(inputs, (inside + outside) / 2, lambda population: population)
