"""LoTUS. Paper: 1e-4, 10 epochs, α = 8 on CIFAR-10, 32 for classes. One-hot samples are label noise where the original
is unsure."""

import math

import torch
from torch import Tensor, nn

from forget_lib.datasets.samples import concatenate
from forget_lib.models.optimizers import trainable
from forget_lib.unlearning import Count, Factor, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import accuracy_of, epochs_of, frozen_copy, random_part, step, train_mode

RETAIN_SHARE, BATCH = 0.3, 32
ENOUGH = -0.01  # the student may be this much less accurate on the forget set than the reference before it stops


def gumbel_softmax(logits: Tensor, temperature: Tensor, generator: torch.Generator) -> Tensor:
    """softmax((z + g) / τ), g standard Gumbel noise, by row: [B, K] for τ [B]; τ = 0 is the one-hot arg max."""
    uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    noisy = logits + (-(-uniform.log()).log()).to(logits)
    hard = nn.functional.one_hot(noisy.argmax(1), logits.shape[1]).to(logits)
    soft = (noisy / temperature.clamp(min=1e-6)[:, None]).softmax(1)
    return torch.where((temperature == 0)[:, None], hard, soft)


@method("lotus", title="LoTUS", uses="forget, retain (a share), validation", family="distillation")
@source("Spartalis et al., CVPR 2025", arxiv="2503.18314", status="V")
def lotus(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 1e-3, epochs: Count = 3, alpha: Factor = 8.0
) -> nn.Module:
    r"""Learn the original's outputs again, flattened on the forget set by a temperature that follows the student.

    Minimises :math:`-\sum_k t_k \log p_\theta(x)_k`; t is a Gumbel-softmax of the original's logits at temperature
    :math:`\tau` on the forget set and a one-hot Gumbel sample on a share of the retain set, mixed. Before each epoch
    :math:`\tau = \exp(\alpha \delta)`, :math:`\delta = acc_\theta(D_f) - acc_{\theta_0}(D_v)`, without the second term
    for a class request; it ends once :math:`\delta \le -0.01`. AdamW, weight decay 5e-4.
    """
    teacher = frozen_copy(model)
    reference = 0.0 if task.classes else accuracy_of(teacher, task.validation)
    part = random_part(task, task.retain, RETAIN_SHARE)
    # The label says of which set a sample is: 1 to forget, 0 to keep.
    forget = task.forget.with_labels(torch.ones_like(task.forget.labels))
    mixed = concatenate(forget, part.with_labels(torch.zeros_like(part.labels)))
    optimizer = torch.optim.AdamW(trainable(model), learning_rate, weight_decay=5e-4)
    for _ in epochs_of(task, model, epochs):
        ahead = accuracy_of(model, task.forget) - reference
        if ahead <= ENOUGH:
            break
        train_mode(model)
        temperature = math.exp(alpha * ahead)
        for images, is_forget in mixed.batches(batch_size=BATCH):
            target = gumbel_softmax(teacher(images), temperature * is_forget.to(images), task.generator)
            step(optimizer, -(target * model(images).log_softmax(1)).sum(1).mean())
    return model
