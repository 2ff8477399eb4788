"""REM. Written from the abstract and a port (torchunlearn at 405bab1, nontrainers/rem.py, itself from a description);
the authors' code was not read. The port: AdamW 5e-4, decay 1e-4, 5 epochs, γ 0.2, barrier 1, a fifth of the outputs
active. It climbs the cross-entropy, which has no upper bound; here forgetting is NPO with β = 1, which summaries of the
paper name. 64 masks are ours. Made for corrupted samples: the task is to lose what their labels taught."""

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import concatenate
from forget_lib.models.train import train_mode
from forget_lib.unlearning import Count, Factor, Rate, Share, UnlearningTask, Weight, method, source
from forget_lib.unlearning.common import accuracy_of, epochs_of, frozen_copy, kernels, step

MASKS, DECAY, BETA = 64, 1e-4, 1.0


class Branches:
    """A second branch beside each trained convolution and linear layer: its outputs, masked by sample, are added.

    Attributes: ids: each sample's mask, int64 [B], for the next pass; None leaves the branches out. The first mask is
        the forget set's.
    """

    def __init__(self, model: nn.Module, share: float) -> None:
        self.ids: Tensor | None = None
        self.layers = [model.get_submodule(name.rpartition(".")[0]) for name in kernels(model)]
        self.branches = [self._branch(layer) for layer in self.layers]
        sizes = [len(cast(Tensor, layer.weight)) for layer in self.layers]
        self.masks = [(torch.rand(MASKS, size) < share).to(cast(Tensor, self.layers[0].weight)) for size in sizes]
        self.hooks = [layer.register_forward_hook(self._adding(n)) for n, layer in enumerate(self.layers)]

    def parameters(self) -> list[nn.Parameter]:
        return [parameter for branch in self.branches for parameter in branch.parameters()]

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()

    @staticmethod
    def _branch(layer: nn.Module) -> nn.Module:
        branch = copy.deepcopy(layer)
        branch.reset_parameters()  # type: ignore[operator]
        branch.bias = None  # type: ignore[assignment]
        return branch

    def _adding(self, number: int):
        def after(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if self.ids is None:
                return output
            mask = self.masks[number][self.ids]
            return output + self.branches[number](inputs[0]) * mask.view(*mask.shape, *[1] * (output.dim() - 2))

        return after


def preference(logits: Tensor, before: Tensor, labels: Tensor) -> Tensor:
    """NPO: 2 / β · mean log(1 + (p / p_0)^β), p the probability of the label, p_0 that of the original; >= 0."""
    ratio = functional.cross_entropy(before, labels, reduction="none")
    ratio = ratio - functional.cross_entropy(logits, labels, reduction="none")
    return 2 / BETA * functional.softplus(BETA * ratio).mean()


@method("rem", title="REM", uses="forget, retain", family="relabelling")
@source("Schoepf et al., arXiv 2505.17730", arxiv="2505.17730", status="P")
def rem(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 5e-4,
    epochs: Count = 5,
    accuracy: Weight = 0.2,
    barrier: Factor = 1.0,
    share: Share = 0.2,
) -> nn.Module:
    r"""Give the forget set neurons of its own to be remembered by, and throw these away.

    Each trained convolution and linear layer gets a second branch without bias, of which each sample uses a random
    `share` of the outputs; the forget set has one mask together. In each epoch: a pass that lowers the forget samples'
    probability (NPO) in the net without branches, where its accuracy on them is above γ; then a pass over all training
    data on :math:`\mathcal{L}_{CE}(f_{\theta_1 + \theta_2}) + \lambda\, NPO(f_{\theta_1}(x_f))`. Last,
    :math:`\theta_2`, the branches, is dropped.
    All passes renew batch norm's statistics.
    Settings: accuracy is γ, barrier λ.
    """
    teacher, branches, retain, forget = frozen_copy(model), Branches(model, share), task.retain, task.forget
    ids = torch.randint(1, MASKS, (len(retain),), generator=task.generator).to(retain.labels.device)
    ids = torch.cat([ids, torch.zeros_like(forget.labels)])
    labels = torch.cat([retain.labels, forget.labels])
    numbered = concatenate(retain, forget).with_labels(torch.arange(len(labels), device=labels.device))
    weights = [*(p for p in model.parameters() if p.requires_grad), *branches.parameters()]
    optimizer, partner = torch.optim.AdamW(weights, learning_rate, weight_decay=DECAY), forget.forever()

    def forgotten(images: Tensor, true: Tensor) -> Tensor:
        branches.ids = None
        with torch.no_grad():
            before = teacher(images)
        return preference(model(images), before, true)

    for _ in epochs_of(task, model, epochs):
        branches.ids = None
        if accuracy_of(model, forget) > accuracy:
            train_mode(model)
            for images, true in forget.batches():
                step(optimizer, forgotten(images, true))
        train_mode(model)
        for images, numbers in numbered.batches():
            branches.ids = ids[numbers]
            loss = functional.cross_entropy(model(images), labels[numbers])
            step(optimizer, loss + barrier * forgotten(*next(partner)))
        branches.ids = None
    branches.remove()
    return model
