"""Bad Teacher. Paper: Adam 1e-4, batches of 256, one epoch. The public code averages over classes too (`kl_div`
reduction "mean"), a loss K times smaller, and never sets the student's mode; LoTUS's copy does not shuffle."""

from torch import nn

from forget_lib.unlearning import Count, Positive, Rate, Share, UnlearningTask, method, source
from forget_lib.unlearning.common import adam, epochs_of, frozen_copy, random_part, step
from forget_lib.unlearning.parts.distillation import divergence, log_probabilities, taught


@method("bad_teacher", title="Bad Teacher", uses="forget, retain (a share, no labels)", family="distillation")
@source("Chundawat et al., AAAI 2023", arxiv="2205.08096", status="V")
def bad_teacher(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 1e-3,
    epochs: Count = 1,
    temperature: Positive = 1.0,
    retain_share: Share = 0.3,
    batch_size: Count = 32,
) -> nn.Module:
    r"""Imitate an untrained teacher on the forget set and the original on a share of the retain set, mixed.

    Minimises :math:`KL(\ell\, p_{bad}(x) + (1 - \ell)\, p_{\theta_0}(x) \,\|\, p_\theta(x))`, :math:`\ell = 1` on the
    forget set, all three at one temperature T and without the factor T², by Adam. Neither teacher sees labels.
    """
    good, bad = frozen_copy(model), frozen_copy(task.meter.attach(task.fresh_model(task.seed).to(task.device)))
    parts = (bad, task.forget), (good, random_part(task, task.retain, retain_share))
    batches = taught(*parts, target=log_probabilities(temperature))
    optimizer = adam(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for images, _, target in batches(batch_size=batch_size):
            step(optimizer, divergence(target, model(images), temperature))
    return model
