"""Boundary Shrink. Paper: SGD 1e-5, 10 epochs, no weight decay; here 5e-4, as other methods have it. The public code
lets y' = y where the attack fails, so such samples are trained on their own label."""

import torch
from torch import Tensor, nn

from forget_lib.datasets.samples import Samples
from forget_lib.unlearning import Count, Rate, Share, UnlearningTask, method, source
from forget_lib.unlearning.common import epochs_of, frozen_copy, learn, sgd
from forget_lib.unlearning.parts.adversarial import fast_gradient_sign


def nearest_labels(model: nn.Module, samples: Samples, reach: float) -> Tensor:
    """The class that a frozen model sees in each sample's adversarial neighbour, never the true one; int64 [N]."""
    found = []
    for images, labels in samples.batches(batch_size=256, shuffle=False, augment=False):
        moved = fast_gradient_sign(model, images, labels, reach)
        with torch.no_grad():
            found.append(model(moved).scatter(1, labels[:, None], -torch.inf).argmax(1))
    return torch.cat(found)


@method("boundary_shrink", title="Boundary Shrink", uses="forget", family="relabelling")
@source("Chen et al., CVPR 2023", arxiv="2303.11570", status="V")
def boundary_shrink(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 1e-3, epochs: Count = 5, reach: Share = 0.1
) -> nn.Module:
    r"""Learn, for each forget sample, the class that its adversarial neighbour falls into.

    :math:`x' = x + \epsilon\, sign \nabla_x \mathcal{L}_{CE}(f_{\theta_0}(x), y)`,
    :math:`y' = \arg\max_{k \ne y} f_{\theta_0}(x')_k`, once, without augmentation; then
    :math:`\min_\theta \mathcal{L}_{CE}(f_\theta(x_f), y')`. Batch-norm statistics stay. Made for classes.
    Settings: reach is ε in pixel range 0 to 1.
    """
    neighbours = task.forget.with_labels(nearest_labels(frozen_copy(model), task.forget, reach))
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs, batch_norm=False):
        learn(model, neighbours, optimizer)
    return model
