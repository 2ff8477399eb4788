"""Task negation. The authors choose λ from 0, 0.05 … 1; here it may be larger, since τ is small where the original
already fits the forget set."""

from torch import nn

from forget_lib.unlearning import Count, Factor, Rate, UnlearningTask, method, source
from forget_lib.unlearning.parts.task_vectors import negated, task_vector


@method(
    "task_negation",
    title="Task negation",
    uses="forget, validation (retain for batch norm)",
    family="task arithmetic",
    version=2,
)
@source("Ilharco et al., ICLR 2023", arxiv="2212.04089", status="V")
def task_negation(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.02, epochs: Count = 3, scale: Factor = 0.0
) -> nn.Module:
    r"""Fine-tune a copy on the forget set and move the model by the same way backwards.

    :math:`\tau = \theta_{ft} - \theta_0`, :math:`\theta_{ft} = \arg\min \mathcal{L}_{CE}(D_f)` from :math:`\theta_0`;
    :math:`\theta_u = \theta_0 - \lambda \tau`. Statistics of batch norm, which cannot be negated, are taken anew on the
    retain set. The original already fits the forget set, so τ is nearly 0 at a low rate.
    Settings: scale λ; 0: the largest from 0.1 to 8 that keeps 95 % of the validation accuracy on other classes.
    """
    return negated(model, task, task_vector(model, task, learning_rate, epochs), scale)
