"""l1-sparse. Alpha is M: the public parser's default of 0.2 belongs to other methods and kills the net."""

from torch import nn

from forget_lib.unlearning import UnlearningTask, method, source
from forget_lib.unlearning.common import Count, CountOrNone, NotNegative, Positive, check_range, epochs_of, learn, sgd


def penalty_at(epoch: int, epochs: int, alpha: float, without: int = 0) -> float:
    """α (1 - epoch / (epochs - without)), 0 in the last `without` epochs; epoch counts from 0."""
    return alpha * (1 - epoch / (epochs - without)) if epoch < epochs - without else 0.0


@method("l1_sparse", title="l1-sparse", uses="retain", family="retain only")
@source("Jia et al., NeurIPS 2023", arxiv="2304.04934", status="V")
def l1_sparse(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Positive = 0.02,
    epochs: Count = 2,
    alpha: NotNegative = 5e-4,
    epochs_without: CountOrNone = 0,
) -> nn.Module:
    r"""Fine-tune on the retain set under a fading penalty on all weights.

    Minimises :math:`\mathcal{L}_{CE}(D_r) + \alpha_e \|\theta\|_1`, :math:`\alpha_e = \alpha (1 - e / (E - E_0))`,
    over all parameters, batch norm's too. Nothing is pruned.

    Settings: epochs E. epochs_without: :math:`E_0 < E`, last epochs without penalty.
    """
    check_range("epochs_without", epochs_without, 0, epochs - 1)
    optimizer = sgd(model, learning_rate)
    for epoch in epochs_of(task, model, epochs):
        learn(model, task.retain, optimizer, l1=penalty_at(epoch, epochs, alpha, epochs_without))
    return model
