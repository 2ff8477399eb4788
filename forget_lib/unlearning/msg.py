"""MSG. 5 epochs at 1e-3; rates and epochs here for small models."""

import torch
from torch import nn

from forget_lib.unlearning import Count, Rate, Share, UnlearningTask, method
from forget_lib.unlearning.common import Importance, kernels, mean_gradient, sgd, top_share
from forget_lib.unlearning.parts.winners import WINNER, repair


def difference_gradient(model: nn.Module, task: UnlearningTask) -> Importance:
    """∇[CE(as many retain samples as forget samples) - CE(forget set)] in eval mode, by name of kernel."""
    order = torch.randperm(len(task.retain), generator=task.generator)[: len(task.forget)]
    part = task.retain.subset(order.to(task.retain.labels.device))
    gradients = mean_gradient(model, (1, part), (-1, task.forget))
    return {name: gradients[name] for name in kernels(model, (nn.Conv2d,))}


def up_then_down(progress: float) -> float:
    """Linear from near 0 to 1 at half way, and back."""
    return max(0.02, 1 - abs(2 * progress - 1))


@method("msg", title="MSG", uses="forget, retain", family="challenge winners", needs=("trained convolution",))
@WINNER
def msg(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.05, epochs: Count = 1, share: Share = 0.3
) -> nn.Module:
    r"""Draw anew the convolution weights that neither set cares about most, and repair, mostly through them.

    :math:`g = \nabla[\mathcal{L}_{CE}(D'_r) - \mathcal{L}_{CE}(D_f)]`, :math:`|D'_r| = |D_f|`; in each convolution the
    share of weights with the smallest :math:`|g|` is drawn anew (Kaiming, fan out). Then :math:`\min
    \mathcal{L}_{CE}(D_r)` with gradients of kept weights times 0.1; the rate rises over the first half and falls over
    the second.
    """
    scores, handles = difference_gradient(model, task), []
    for name, weight in kernels(model, (nn.Conv2d,)).items():
        chosen = top_share({name: scores[name].abs()}, share, largest=False)[name]
        fresh = nn.init.kaiming_normal_(torch.empty_like(weight), mode="fan_out", nonlinearity="relu")
        with torch.no_grad():
            weight.copy_(torch.where(chosen, fresh, weight))
        factors = torch.where(chosen, 1.0, 0.1).to(weight)
        handles.append(weight.register_hook(lambda gradient, f=factors: gradient * f))
    try:
        return repair(model, task, epochs, sgd(model, learning_rate), up_then_down)
    finally:
        for handle in handles:
            handle.remove()
