"""RMIA, online."""

import numpy as np

from forget_lib.attacks import AttackInput, attack, source
from forget_lib.attacks.parts.per_sample import mean_probability, relative_score


@attack("rmia", title="RMIA, online", null="0.5", needs="references")
@source("Zarifzadeh et al., ICML 2024", arxiv="2312.03262")
def rmia(inputs: AttackInput) -> np.ndarray:
    r"""Relative likelihood :math:`\log p_t(x) - \log \Pr(x)`, :math:`\Pr` the mean over models with and without x."""
    references = inputs.pool
    inside = mean_probability(references.logits, inputs.labels, references.membership)
    outside = mean_probability(references.logits, inputs.labels, ~references.membership)
    return relative_score(inputs, (inside + outside) / 2, lambda population: population)
