"""SalUn: random labels, learned only by the weights that matter for the forget set."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import concatenate
from forget_lib.unlearning.common import WeightMask, check_range, epochs_of, gradients_of, sgd, step, train_mode
from forget_lib.unlearning.random_label import check_convention, random_labels
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


def forget_gradient(model: nn.Module, task: UnlearningTask) -> dict[str, Tensor]:
    """|∇ mean CE over the whole forget set|, in eval mode, by name of trained parameter."""
    model.eval()
    model.zero_grad()
    for images, labels in task.forget.batches(shuffle=False, augment=False):
        (functional.cross_entropy(model(images), labels, reduction="sum") / len(task.forget)).backward()
    found = {name: gradient.abs() for name, gradient in gradients_of(model).items()}
    model.zero_grad()
    return found


def top_share(scores: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """True at the round(share · n) largest of all n scores taken together."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    chosen = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    chosen[flat.topk(round(share * len(flat))).indices] = True
    parts = chosen.split([score.numel() for score in scores.values()])
    return {name: part.view_as(score) for (name, score), part in zip(scores.items(), parts, strict=True)}


@method("salun", title="SalUn", paper="Fan et al., ICLR 2024", uses="forget, retain", family="relabelling")
def salun(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.01,
    epochs: int = 2,
    share: float = 0.5,
    labels: str = "any",
    mixed: bool = False,
) -> nn.Module:
    r"""Random label on the weights with the largest gradient on the forget set; all others do not move.

    :math:`m = 1` for the top `share` of :math:`|\nabla_\theta \mathcal{L}_{CE}(D_f; \theta_0)|`, all parameters
    ranked together; then each epoch learns random labels on the forget set and true ones on the retain set,
    :math:`\theta \leftarrow m\,\theta + (1 - m)\,\theta_0` after every step. Running statistics of batch norm are
    not masked, but stay in a pass over the forget set alone. Status V. Until February 2026 the public code masked
    gradients only, so weight decay and momentum moved "frozen" weights; LoTUS's copy leaves the retain pass unmasked.
    Args: learning_rate: of SGD (> 0). epochs (>= 1). share of weights that may move, in (0, 1]. labels: "any" or
        "other", see random_label. mixed: both sets in one shuffled pass (the authors' CIFAR-100) or forget before
        retain (their CIFAR-10).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("share", share, 0, 1, open_low=True)
    check_convention(labels)
    mask = WeightMask(model, top_share(forget_gradient(model, task), share))
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        relabelled = task.forget.with_labels(random_labels(task, allow_true=labels == "any"))
        for samples in [concatenate(task.retain, relabelled)] if mixed else [relabelled, task.retain]:
            train_mode(model, batch_norm=samples is not relabelled)
            for images, targets in samples.batches():
                step(optimizer, functional.cross_entropy(model(images), targets))
                mask.hold()
    return model
