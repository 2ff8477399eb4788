"""U-LiRA, shared pool."""

import numpy as np

from forget_lib.attacks import AttackInput, attack, source
from forget_lib.attacks.parts.per_sample import likelihood_ratio
from forget_lib.statistics import scores


@attack("u_lira", title="U-LiRA, shared pool", null="0.5", needs="unlearned references")
@source("Hayes et al., 2024 (arXiv 2403.01218)", arxiv="2403.01218")
def u_lira(inputs: AttackInput) -> np.ndarray:
    """LiRA on references that the method under attack has unlearned: "trained on, then removed" against "never seen".

    Each reference k forgets its part of the evaluation samples; where it had seen x it speaks for the first hypothesis,
    elsewhere for the second. One pool of trained references serves all methods.
    """
    unlearned = np.asarray(inputs.pool.unlearned_logits)
    target = scores.phi(inputs.logits, inputs.labels)
    return likelihood_ratio(target, scores.phi(unlearned, inputs.labels), inputs.pool.membership)
