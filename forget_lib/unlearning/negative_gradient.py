"""NegGrad. Public code does not clip gradients; its loss reaches -10 on MUFAC and the utility is gone."""

from torch import nn

from forget_lib.unlearning import Count, Positive, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import cross_entropy, epochs_of, sgd, step


@method("negative_gradient", title="NegGrad", uses="forget", family="gradient ascent")
@source("Golatkar et al., CVPR 2020", arxiv="1911.04933", status="V")
def negative_gradient(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 5e-3, epochs: Count = 2, clip_norm: Positive = 1.0
) -> nn.Module:
    r"""Climb the loss on the forget set: :math:`\max_\theta \mathcal{L}_{CE}(D_f)`. The loss has no upper bound.

    Gradients are clipped. Batch-norm statistics stay: batches of the forget set alone would shift them.
    """
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs, batch_norm=False):
        for images, labels in task.forget.batches():
            step(optimizer, -cross_entropy(model(images), labels), clip_norm=clip_norm)
    return model
