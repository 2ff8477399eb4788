"""NegMerge."""

import torch
from torch import nn

from forget_lib.unlearning.common import check_range
from forget_lib.unlearning.parts.task_vectors import Vector, _negate, task_vector
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


def agreed(vectors: list[Vector]) -> Vector:
    """The mean of the vectors where all have the same sign, else 0."""
    found = {}
    for name in vectors[0]:
        parts = torch.stack([vector[name] for vector in vectors])
        found[name] = parts.mean(0) * (parts.sign().sum(0).abs() == len(vectors))
    return found


@method(
    "negmerge",
    title="NegMerge",
    paper="Kim et al., ICML 2025",
    uses="forget, validation (retain for batch norm)",
    family="task arithmetic",
    needs=("validation",),
)
def negmerge(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.02,
    epochs: int = 2,
    repeats: int = 2,
    scale: float = 0.0,
    kept: float = 0.95,
) -> nn.Module:
    r"""Task negation along what several fine-tuned copies agree on.

    :math:`\tau_j` from fine-tuning at 0.5, 1 and 2 times the rate, each `repeats` times in another order;
    :math:`\tau = \overline{\tau_j}` where all signs agree, else 0; :math:`\theta_u = \theta_0 - \lambda \tau`, λ as in
    task_negation. Status: idea V (README), P else; the authors' code is not public. torchunlearn's port takes λ = 1 and
    chooses settings by accuracy on retain minus forget, a criterion for classes only.
    Args: learning_rate of SGD (> 0). epochs (>= 1). repeats (>= 1). scale: λ (> 0), or 0 to choose it. kept: share of
        the accuracy in (0, 1].
    Raises: NotApplicableError without validation samples; ForgetError for settings out of range; DivergedError.
    """
    check_range("repeats", repeats, 1)
    rates = [factor * learning_rate for factor in (0.5, 1.0, 2.0) for _ in range(int(repeats))]
    vectors = [task_vector(model, task, rate, epochs) for rate in rates]
    return _negate(model, task, agreed(vectors), scale, kept)
