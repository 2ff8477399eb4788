"""Task negation."""

from torch import nn

from forget_lib.unlearning.parts.task_vectors import _negate, task_vector
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method(
    "task_negation",
    title="Task negation",
    paper="Ilharco et al., ICLR 2023",
    uses="forget, validation (retain for batch norm)",
    family="task arithmetic",
    needs=("validation",),
)
def task_negation(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.02,
    epochs: int = 3,
    scale: float = 0.0,
    kept: float = 0.95,
) -> nn.Module:
    r"""Fine-tune a copy on the forget set and move the model by the same way backwards.

    :math:`\tau = \theta_{ft} - \theta_0`, :math:`\theta_{ft} = \arg\min \mathcal{L}_{CE}(D_f)` from :math:`\theta_0`;
    :math:`\theta_u = \theta_0 - \lambda \tau`. λ is the largest of 1.0, 0.9 … 0.1 that keeps 95 % of the validation
    accuracy on the classes that stay. Statistics of batch norm, which cannot be negated, are taken anew on the retain
    set. Status V. The original already fits the forget set, so τ is nearly 0 at a low rate.
    Args: learning_rate of SGD (> 0). epochs: passes over the forget set (>= 1). scale: λ (> 0), or 0 to choose it.
        kept: share of the accuracy in (0, 1].
    Raises: NotApplicableError without validation samples; ForgetError for settings out of range; DivergedError.
    """
    return _negate(model, task, task_vector(model, task, learning_rate, epochs), scale, kept)
