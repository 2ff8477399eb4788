"""LoTUS: soften what the teacher says of the forget set until the student is as unsure as on unseen data."""

import math

import torch
from torch import Tensor, nn

from forget_lib.datasets.samples import Samples, concatenate
from forget_lib.models.optimizers import trainable
from forget_lib.unlearning.common import (
    check_range,
    epochs_of,
    frozen_copy,
    logits_of,
    random_part,
    step,
    train_mode,
)
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask

ENOUGH = -0.01  # the student may be this much less accurate on the forget set than the reference before it stops


def gumbel_softmax(logits: Tensor, temperature: Tensor, generator: torch.Generator) -> Tensor:
    """softmax((z + g) / τ), g standard Gumbel noise, by row: [B, K] for τ [B]; τ = 0 is the one-hot arg max."""
    uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    noisy = logits + (-(-uniform.log()).log()).to(logits)
    hard = nn.functional.one_hot(noisy.argmax(1), logits.shape[1]).to(logits)
    soft = (noisy / temperature.clamp(min=1e-6)[:, None]).softmax(1)
    return torch.where((temperature == 0)[:, None], hard, soft)


def temperature_of(student_accuracy: float, reference: float, alpha: float) -> float:
    """τ = exp(α δ), δ = accuracy of the student on the forget set - that of the teacher on data it never saw."""
    return math.exp(alpha * (student_accuracy - reference))


def _accuracy(model: nn.Module, samples: Samples) -> float:
    """In eval mode; counted as part of the method's cost."""
    return float((logits_of(model.eval(), samples).argmax(1) == samples.labels).double().mean())


@method(
    "lotus",
    title="LoTUS",
    paper="Spartalis et al., CVPR 2025",
    uses="forget, retain (a share), validation",
    family="distillation",
    needs=("validation",),
)
def lotus(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 1e-3,
    epochs: int = 3,
    alpha: float = 8.0,
    retain_share: float = 0.3,
    batch_size: int = 32,
) -> nn.Module:
    r"""Learn the original's outputs again, flattened on the forget set by a temperature that follows the student.

    Minimises :math:`-\sum_k t_k \log p_\theta(x)_k`; t is a Gumbel-softmax of the original's logits at temperature
    :math:`\tau` on the forget set and a one-hot Gumbel sample on a share of the retain set, mixed. Before each epoch
    :math:`\tau = \exp(\alpha \delta)`, :math:`\delta = acc_\theta(D_f) - acc_{\theta_0}(D_v)`, without the second term
    for a class request; it ends once :math:`\delta \le -0.01`. AdamW, weight decay 5e-4. Status V (paper: 1e-4, 10
    epochs, α = 8 on CIFAR-10, 32 for classes). One-hot samples are label noise where the original is unsure.
    Args: learning_rate of AdamW (> 0). epochs: at most (>= 1). alpha (>= 0). retain_share in (0, 1]. batch_size
        (>= 1).
    Raises: NotApplicableError without validation samples; ForgetError for settings out of range; DivergedError.
    """
    check_range("learning_rate", learning_rate, 0, open_low=True)
    check_range("alpha", alpha, 0)
    check_range("batch_size", batch_size, 1)
    teacher = frozen_copy(model)
    reference = 0.0 if task.classes else _accuracy(teacher, task.validation)
    part = random_part(task, task.retain, retain_share)
    forget, retain = (s.with_labels(torch.full_like(s.labels, flag)) for s, flag in ((task.forget, 1), (part, 0)))
    optimizer = torch.optim.AdamW(trainable(model), learning_rate, weight_decay=5e-4)
    for _ in epochs_of(task, model, epochs):
        reached = _accuracy(model, task.forget)
        if reached - reference <= ENOUGH:
            break
        train_mode(model)
        flat = temperature_of(reached, reference, alpha)
        for images, is_forget in concatenate(forget, retain).batches(batch_size=batch_size):
            target = gumbel_softmax(teacher(images), flat * is_forget.to(images), task.generator)
            step(optimizer, -(target * model(images).log_softmax(1)).sum(1).mean())
    return model
