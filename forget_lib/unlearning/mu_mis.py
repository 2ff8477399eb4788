"""MU-Mis. Written from a port (torchunlearn at 405bab1, trainers/mumis.py) and the abstract; the authors' code was not
read. The port: SGD 1e-4 without momentum, one epoch, λ 1, one other class drawn for each sample. The objective has no
lower bound, and the port is stopped by hand once the forget set's accuracy falls; here rate and epochs decide alone.
Weights must be twice differentiable functions of the image, as nets of ReLU are almost everywhere."""

import torch
from torch import Tensor, nn

from forget_lib.unlearning import Count, Factor, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import epochs_of, sgd, step


def sensitivity(logits: Tensor, labels: Tensor, images: Tensor) -> Tensor:
    """‖∇_x f_y(x)‖² of each sample, [B], itself differentiable; logits [B, K] of the images, which take a gradient."""
    chosen = logits.gather(1, labels[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, images, create_graph=True)
    return gradient.flatten(1).square().sum(1)


@method("mu_mis", title="MU-Mis", uses="forget", family="outputs")
@source("Cheng et al., ICLR 2026", arxiv="2402.15109", status="P")
def mu_mis(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.01, epochs: Count = 5, other_weight: Factor = 1.0
) -> nn.Module:
    r"""Make the true class's output no more sensitive to a forget sample than another class's output is.

    Minimises :math:`\overline{\|\nabla_x f_y(x)\|^2 - \lambda \|\nabla_x f_{y'}(x)\|^2}` over the forget set alone, f
    the logits and :math:`y' \ne y` drawn anew for each sample and batch, by SGD without momentum or weight decay.
    Batch-norm statistics stay and normalise.
    Settings: other_weight is λ.
    """
    optimizer = sgd(model, learning_rate, momentum=0, weight_decay=0)
    for _ in epochs_of(task, model, epochs, batch_norm=False):
        for images, labels in task.forget.batches():
            images.requires_grad_()
            logits = model(images)
            offset = torch.randint(1, task.number_of_classes, labels.shape, generator=task.generator)
            others = (labels + offset.to(labels.device)) % task.number_of_classes
            true, other = (sensitivity(logits, classes, images) for classes in (labels, others))
            task.meter.add(4 * len(images))  # the two gradients for the image, which the meter's hook counts once
            step(optimizer, (true - other_weight * other).mean())
    return model
