"""Methods that teach a student with one or more frozen teachers."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import Samples
from forget_lib.errors import NotApplicableError
from forget_lib.unlearning.common import (
    adam,
    check_range,
    divergence,
    epochs_of,
    frozen_copy,
    log_probabilities,
    logits_of,
    random_part,
    sgd,
    step,
    taught,
    train_mode,
)
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask

DECAY_AFTER = 3  # SCRUB's rate is a tenth from the epoch after this one on


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


def _scrub(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float,
    epochs: int,
    max_epochs: int,
    alpha: float,
    gamma: float,
    temperature: float,
    forget_batch_size: int,
) -> Iterator[int]:
    """Runs SCRUB's epochs on `model` in place and yields after each one."""
    for name, value in (("max_epochs", max_epochs), ("alpha", alpha), ("gamma", gamma)):
        check_range(name, value, 0)
    check_range("temperature", temperature, 0, open_low=True)
    check_range("forget_batch_size", forget_batch_size, 1)
    teacher, optimizer = frozen_copy(model), sgd(model, learning_rate)
    logs, weight = log_probabilities(temperature), temperature**2
    forget, retain = (taught((teacher, samples), target=logs) for samples in (task.forget, task.retain))
    for epoch in epochs_of(task, model, epochs):
        if epoch == DECAY_AFTER:
            optimizer.param_groups[0]["lr"] = 0.1 * learning_rate
        if epoch < max_epochs:
            train_mode(model, batch_norm=False)
            for images, _, before in forget(batch_size=forget_batch_size):
                step(optimizer, -weight * divergence(before, model(images), temperature))
            train_mode(model)
        for images, labels, before in retain():
            logits = model(images)
            near = divergence(before, logits, temperature)
            step(optimizer, gamma * functional.cross_entropy(logits, labels) + alpha * weight * near)
        yield epoch


@method("scrub", title="SCRUB", paper="Kurmanji et al., NeurIPS 2023", uses="forget, retain", family="distillation")
def scrub(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 5e-4,
    epochs: int = 3,
    max_epochs: int = 2,
    alpha: float = 0.5,
    gamma: float = 1.0,
    temperature: float = 4.0,
    forget_batch_size: int = 32,
) -> nn.Module:
    r"""Move away from the original on the forget set and stay near it on the retain set, in turns.

    With :math:`d(x) = T^2 KL(p_{\theta_0}(x; T) \| p_\theta(x; T))`: in each of the first `max_epochs` epochs one
    pass over the forget set that minimises :math:`-d(x_f)`; in every epoch one pass over the retain set that
    minimises :math:`\gamma \mathcal{L}_{CE}(x_r) + \alpha d(x_r)`. The rate is a tenth after the third epoch.
    Status V. LoTUS's SCRUB trains a copy and returns the original; torchunlearn's README row is a diverged run.
    Neither is an anchor.
    Args: learning_rate: of SGD (> 0). epochs (>= 1). max_epochs: epochs with a forget pass (>= 0). alpha, gamma:
        weights (>= 0). temperature (> 0). forget_batch_size: smaller batches, more steps away (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    settings = {"learning_rate": learning_rate, "epochs": epochs, "max_epochs": max_epochs, "alpha": alpha}
    settings |= {"gamma": gamma, "temperature": temperature, "forget_batch_size": forget_batch_size}
    for _ in _scrub(model, task, **settings):
        pass
    return model


@method(
    "scrub_rewind",
    title="SCRUB+R",
    paper="Kurmanji et al., NeurIPS 2023",
    uses="forget, retain, validation",
    family="distillation",
    needs=("validation",),
)
def scrub_rewind(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 2e-4,
    epochs: int = 5,
    max_epochs: int = 3,
    alpha: float = 0.5,
    gamma: float = 1.0,
    temperature: float = 4.0,
    forget_batch_size: int = 16,
) -> nn.Module:
    r"""SCRUB, then back to the epoch whose forget error is what a model should have on samples it never saw.

    The reference :math:`\epsilon` is the error of the last model on validation samples of the classes in the forget
    set; the checkpoint returned is :math:`i^* = \arg\min_i |err_f(i) - \epsilon|`, i = 1 … epochs, the earliest of
    equals. Status V. The public notebook also lets i = 0, the original, win, and then stops, because it has no such
    file.
    Args: as for SCRUB.
    Raises: ForgetError for settings out of range; NotApplicableError if no validation sample is of these classes;
    DivergedError.
    """
    alike = torch.isin(task.validation.labels, task.forget.labels.unique())
    if not alike.any():
        raise NotApplicableError("scrub_rewind needs: validation samples of the classes in the forget set")
    settings = {"learning_rate": learning_rate, "epochs": epochs, "max_epochs": max_epochs, "alpha": alpha}
    settings |= {"gamma": gamma, "temperature": temperature, "forget_batch_size": forget_batch_size}
    states, errors = [], []
    for _ in _scrub(model, task, **settings):
        states.append(copy.deepcopy(model.state_dict()))
        errors.append(_error(model, task.forget))
    reference = _error(model, task.validation.subset(alike))
    model.load_state_dict(states[closest(errors, reference)])
    return model


def closest(errors: list[float], reference: float) -> int:
    """Position of the first error that is nearest to the reference."""
    return min(range(len(errors)), key=lambda position: abs(errors[position] - reference))


def _error(model: nn.Module, samples: Samples) -> float:
    """Share of samples got wrong in eval mode; counted as part of the method's cost."""
    return float((logits_of(model.eval(), samples).argmax(1) != samples.labels).double().mean())


def without_true_class(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits [B, K] with the true class at minus infinity: its probability is 0, the others keep their
    proportions.
    """
    return logits.scatter(1, labels[:, None], -torch.inf)


@method("delete_distillation", title="DELETE", paper="Zhou et al., CVPR 2025", uses="forget", family="distillation")
def delete_distillation(
    model: nn.Module, task: UnlearningTask, *, learning_rate: float = 5e-4, epochs: int = 5
) -> nn.Module:
    r"""Imitate the original on the forget set as if the true class did not exist.

    Minimises :math:`KL(q \| p_\theta(x_f))`, :math:`q = softmax(z_{\theta_0}(x_f), z_y := -\infty)`, over the forget
    set alone, by SGD without weight decay. Batch-norm statistics stay (the authors' `disable_bn`). Drives the true
    class to 0, which suits classes and over-forgets random samples. Status V (paper: 20 epochs at 1e-4 after 150 of
    training).
    Args: learning_rate: of SGD (> 0). epochs: passes over the forget set (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """

    def target(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.softmax(without_true_class(logits, labels), 1)

    batches = taught((frozen_copy(model), task.forget), target=target)
    optimizer = sgd(model, learning_rate, weight_decay=0)
    for _ in epochs_of(task, model, epochs, batch_norm=False):
        for images, _, without in batches():
            logs = functional.log_softmax(model(images), 1)
            step(optimizer, functional.kl_div(logs, without, reduction="batchmean"))
    return model
