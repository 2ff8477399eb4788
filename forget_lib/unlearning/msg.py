"""MSG."""

import torch
from torch import nn
from torch.nn import functional

from forget_lib.unlearning.common import check_range, gradients_of, kernels, sgd
from forget_lib.unlearning.parts.importance import Importance
from forget_lib.unlearning.parts.winners import WINNERS, cross_entropy, repair
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


def difference_gradient(model: nn.Module, task: UnlearningTask) -> Importance:
    """∇[CE(as many retain samples as forget samples) - CE(forget set)] in eval mode, by name of weight."""
    order = torch.randperm(len(task.retain), generator=task.generator)[: len(task.forget)]
    part = task.retain.subset(order.to(task.retain.labels.device))
    model.eval()
    model.zero_grad()
    for samples, sign in ((part, 1), (task.forget, -1)):
        for images, labels in samples.batches(shuffle=False, augment=False):
            loss = functional.cross_entropy(model(images), labels, reduction="sum")
            (sign * loss / len(samples)).backward()
    gradients = gradients_of(model)
    model.zero_grad()
    return {name: gradients[name] for name in kernels(model, (nn.Conv2d,))}


@method("msg", title="MSG", uses="forget, retain", needs=("trained convolution",), **WINNERS)
def msg(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.05,
    epochs: int = 1,
    share: float = 0.3,
    kept_factor: float = 0.1,
) -> nn.Module:
    r"""Draw anew the convolution weights that neither set cares about most, and repair, mostly through them.

    :math:`g = \nabla[\mathcal{L}_{CE}(D'_r) - \mathcal{L}_{CE}(D_f)]`, :math:`|D'_r| = |D_f|`; in each convolution the
    30 % of weights with the smallest :math:`|g|` are drawn anew (Kaiming, fan out). Then :math:`\min
    \mathcal{L}_{CE}(D_r)` with gradients of kept weights times 0.1; the rate rises over the first half and falls over
    the second. Status V (5 epochs at 1e-3); rates and epochs here for small models.
    Args: learning_rate of SGD (> 0). epochs (>= 1). share drawn anew, in (0, 1]. kept_factor (>= 0).
    Raises: NotApplicableError without a convolution; ForgetError for settings out of range; DivergedError.
    """
    check_range("share", share, 0, 1, open_low=True)
    check_range("kept_factor", kept_factor, 0)
    scores, handles = difference_gradient(model, task), []
    for name, weight in kernels(model, (nn.Conv2d,)).items():
        flat = scores[name].abs().flatten()
        chosen = torch.zeros_like(flat, dtype=torch.bool)
        chosen[flat.topk(round(share * len(flat)), largest=False).indices] = True
        chosen = chosen.view_as(weight)
        fresh = nn.init.kaiming_normal_(torch.empty_like(weight), mode="fan_out", nonlinearity="relu")
        with torch.no_grad():
            weight.copy_(torch.where(chosen, fresh, weight))
        factors = torch.where(chosen, 1.0, kept_factor).to(weight)
        handles.append(weight.register_hook(lambda gradient, f=factors: gradient * f))
    try:
        return repair(model, task, epochs, sgd(model, learning_rate), cross_entropy, up_then_down)
    finally:
        for handle in handles:
            handle.remove()


def up_then_down(progress: float) -> float:
    """Linear from near 0 to 1 at half way, and back."""
    return max(0.02, 1 - abs(2 * progress - 1))
