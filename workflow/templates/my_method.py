"""A method of unlearning: copy this file, change the loss, run ./run_all.sh submit my_method.py --trust-code"""

from torch import nn
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import UnlearningTask, method
from forget_lib.unlearning.common import both, epochs_of, pairs, sgd, step

TRIALS = [{"learning_rate": rate, "weight": weight} for rate in (0.003, 0.01, 0.03) for weight in (0.3, 1.0)]
"""The settings to try, at most 13, as many as every other method gets; `submit` takes the best on data of its own."""


@method("my_method", title="My method", paper="this file", uses="forget, retain", family="mine")
def my_method(
    model: nn.Module, task: UnlearningTask, *, learning_rate: float = 0.01, epochs: int = 1, weight: float = 1.0
) -> nn.Module:
    r"""Keep the retain set and be undecided on the forget set: :math:`L_{CE}(D_r) + w\, KL(u \| p(x_f))`.

    Args: learning_rate: of SGD (> 0). epochs: passes over the retain set (>= 1). weight: w (>= 0).
    """
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for (images, labels), (forget_images, _) in pairs(task.retain, task.forget, second_size=16):
            retain_logits, forget_logits = both(model, images, forget_images)
            undecided = -forget_logits.log_softmax(1).mean()
            step(optimizer, cross_entropy(retain_logits, labels) + weight * undecided)
    return model
