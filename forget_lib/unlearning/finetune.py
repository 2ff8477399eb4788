"""Fine-tune. Published rates are often too low to forget anything (1e-3 for two epochs on MUFAC), which says nothing
about the method."""

from torch import nn

from forget_lib.unlearning import Count, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import cross_entropy, epochs_of, sgd, step


@method("finetune", title="Fine-tune", uses="retain", family="retain only")
@source("common baseline", status="V")
def finetune(model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.02, epochs: Count = 2) -> nn.Module:
    r"""Go on training on the retain set and rely on catastrophic forgetting:
    :math:`\min_\theta \mathcal{L}_{CE}(D_r)`. The rate is constant.
    """
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for images, labels in task.retain.batches():
            step(optimizer, cross_entropy(model(images), labels))
    return model
