"""Forgetting through sparsity."""

from torch import nn
from torch.nn import functional

from forget_lib.unlearning.common import check_range, epochs_of, sgd, step
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


def penalty_at(epoch: int, epochs: int, alpha: float, without: int = 0) -> float:
    """α (1 - epoch / (epochs - without)), 0 in the last `without` epochs; epoch counts from 0."""
    return alpha * (1 - epoch / (epochs - without)) if epoch < epochs - without else 0.0


@method("l1_sparse", title="l1-sparse", paper="Jia et al., NeurIPS 2023", uses="retain", family="retain only")
def l1_sparse(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.02,
    epochs: int = 2,
    alpha: float = 5e-4,
    epochs_without: int = 0,
) -> nn.Module:
    r"""Fine-tune on the retain set under a fading penalty on all weights.

    Minimises :math:`\mathcal{L}_{CE}(D_r) + \alpha_e \|\theta\|_1`, :math:`\alpha_e = \alpha (1 - e / (E - E_0))`,
    over all parameters, batch norm's too. Nothing is pruned. Status V; alpha M (the public parser's default of 0.2
    belongs to other methods and kills the net).
    Args: learning_rate: of SGD (> 0). epochs: E (>= 1). alpha (>= 0). epochs_without: E_0, last epochs without
    penalty, in [0, E).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("alpha", alpha, 0)
    check_range("epochs_without", epochs_without, 0, epochs - 1)
    optimizer = sgd(model, learning_rate)
    for epoch in epochs_of(task, model, epochs):
        weight = penalty_at(epoch, epochs, alpha, epochs_without)
        for images, labels in task.retain.batches():
            step(optimizer, functional.cross_entropy(model(images), labels), l1=weight)
    return model
