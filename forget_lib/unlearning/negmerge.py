"""NegMerge. The authors' code is not public. torchunlearn's port takes λ = 1 and chooses
settings by accuracy on retain minus forget, a criterion for classes only."""

import torch
from torch import nn

from forget_lib.unlearning import Count, Factor, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import Importance
from forget_lib.unlearning.parts.task_vectors import negated, task_vector


def agreed(vectors: list[Importance]) -> Importance:
    """The mean of the vectors where all have the same sign, else 0."""
    found = {}
    for name in vectors[0]:
        parts = torch.stack([vector[name] for vector in vectors])
        found[name] = parts.mean(0) * (parts.sign().sum(0).abs() == len(vectors))
    return found


@method(
    "negmerge",
    title="NegMerge",
    uses="forget, validation (retain for batch norm)",
    family="task arithmetic",
    version=2,
)
@source("Kim et al., ICML 2025", arxiv="2410.05583", status="P")
def negmerge(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 0.02,
    epochs: Count = 2,
    repeats: Count = 2,
    scale: Factor = 0.0,
) -> nn.Module:
    r"""Task negation along what several fine-tuned copies agree on.

    :math:`\tau_j` from fine-tuning at 0.5, 1 and 2 times the rate, each `repeats` times in another order;
    :math:`\tau = \overline{\tau_j}` where all signs agree, else 0; :math:`\theta_u = \theta_0 - \lambda \tau`.
    Settings: scale λ as in task_negation.
    """
    rates = [factor * learning_rate for factor in (0.5, 1.0, 2.0) for _ in range(repeats)]
    vectors = [task_vector(model, task, rate, epochs) for rate in rates]
    return negated(model, task, agreed(vectors), scale)
