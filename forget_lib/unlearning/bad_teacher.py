"""Bad Teacher."""

from torch import nn

from forget_lib.unlearning.common import (
    adam,
    check_range,
    divergence,
    epochs_of,
    frozen_copy,
    log_probabilities,
    random_part,
    step,
    taught,
)
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method(
    "bad_teacher",
    title="Bad Teacher",
    paper="Chundawat et al., AAAI 2023",
    uses="forget, retain (a share, no labels)",
    family="distillation",
)
def bad_teacher(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 1e-3,
    epochs: int = 1,
    temperature: float = 1.0,
    retain_share: float = 0.3,
    batch_size: int = 32,
) -> nn.Module:
    r"""Imitate an untrained teacher on the forget set and the original on a share of the retain set, mixed.

    Minimises :math:`KL(\ell\, p_{bad}(x) + (1 - \ell)\, p_{\theta_0}(x) \,\|\, p_\theta(x))`, :math:`\ell = 1` on
    the forget set, mean over the batch, all three at one temperature T and without the factor T². Neither teacher
    sees labels.
    Status V (paper: Adam 1e-4, batches of 256, one epoch). The public code averages over classes too (`kl_div`
    reduction "mean"), a loss K times smaller, and never sets the student's mode; LoTUS's copy does not shuffle.
    Args: learning_rate: of Adam (> 0). epochs (>= 1). temperature (> 0). retain_share in (0, 1]. batch_size (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("temperature", temperature, 0, open_low=True)
    check_range("batch_size", batch_size, 1)
    good, bad = frozen_copy(model), frozen_copy(task.meter.attach(task.fresh_model(task.seed).to(task.device)))
    parts = (bad, task.forget), (good, random_part(task, task.retain, retain_share))
    batches = taught(*parts, target=log_probabilities(temperature))
    optimizer = adam(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for images, _, target in batches(batch_size=batch_size):
            step(optimizer, divergence(target, model(images), temperature))
    return model
