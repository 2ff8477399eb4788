"""l1-sparse. Alpha is M: the public parser's default of 0.2 belongs to other methods and kills the net."""

from torch import nn

from forget_lib.unlearning import Count, Factor, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import epochs_of, learn, sgd


@method("l1_sparse", title="l1-sparse", uses="retain", family="retain only")
@source("Jia et al., NeurIPS 2023", arxiv="2304.04934", status="V")
def l1_sparse(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.02, epochs: Count = 2, alpha: Factor = 5e-4
) -> nn.Module:
    r"""Fine-tune on the retain set under a fading penalty on all weights.

    Minimises :math:`\mathcal{L}_{CE}(D_r) + \alpha_e \|\theta\|_1`, :math:`\alpha_e = \alpha (1 - e / E)`, epoch e of
    E from 0, over all parameters, batch norm's too. Nothing is pruned.
    """
    optimizer = sgd(model, learning_rate)
    for epoch in epochs_of(task, model, epochs):
        learn(model, task.retain, optimizer, l1=alpha * (1 - epoch / epochs))
    return model
