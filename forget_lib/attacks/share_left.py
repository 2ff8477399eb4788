"""Share left: how much of the forget set's influence on the model is still there."""

import numpy as np

from forget_lib.attacks import AttackInput, attack, source
from forget_lib.attacks.parts.per_sample import influence, shares
from forget_lib.statistics.measurement import Measurement


@attack("share_left", title="Share left", null="0", needs="references", kind="table")
@source("after LiRA (Carlini et al., S&P 2022)", arxiv="2112.03570")
def share_left(inputs: AttackInput) -> list[Measurement]:
    r"""How far the forget samples' margins lie from models without them (0) towards models with them (1).

    :math:`\sum_F w (\phi - \mu_{out}) / \sum_F w (\mu_{in} - \mu_{out})` with :math:`w = (\mu_{in} - \mu_{out}) /
    \sigma^2`, less the same over unseen samples, which holds what moves all margins alike. Of a model that was
    retrained with a share of the forget set it is that share. Below 0: forgotten too much. For a method that moves
    outputs in a way of its own it is a number of this model of margins, not a count of samples.
    """
    value = shares([influence(inputs, np.arange(len(inputs.labels)))])[1]
    return [Measurement("share_left", value.value, value.low, value.high, n=value.n, null=0.0)]
