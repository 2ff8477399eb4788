"""Task negation."""

from torch import nn

from forget_lib.unlearning import UnlearningTask, method, source
from forget_lib.unlearning.common import Count, NotNegative, Positive, Share
from forget_lib.unlearning.parts.task_vectors import negated, task_vector


@method(
    "task_negation",
    title="Task negation",
    uses="forget, validation (retain for batch norm)",
    family="task arithmetic",
    needs=("validation",),
)
@source("Ilharco et al., ICLR 2023", arxiv="2212.04089", status="V")
def task_negation(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Positive = 0.02,
    epochs: Count = 3,
    scale: NotNegative = 0.0,
    kept: Share = 0.95,
) -> nn.Module:
    r"""Fine-tune a copy on the forget set and move the model by the same way backwards.

    :math:`\tau = \theta_{ft} - \theta_0`, :math:`\theta_{ft} = \arg\min \mathcal{L}_{CE}(D_f)` from :math:`\theta_0`;
    :math:`\theta_u = \theta_0 - \lambda \tau`. λ is the largest of 1.0, 0.9 … 0.1 that keeps 95 % of the validation
    accuracy on the classes that stay. Statistics of batch norm, which cannot be negated, are taken anew on the retain
    set. The original already fits the forget set, so τ is nearly 0 at a low rate.

    Settings: epochs over the forget set. scale is λ, 0 to choose it so that `kept` of the accuracy stays.
    """
    return negated(model, task, task_vector(model, task, learning_rate, epochs), scale, kept)
