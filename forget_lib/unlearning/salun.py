"""SalUn. Until February 2026 the public code masked gradients only, so weight decay and momentum moved "frozen"
weights; LoTUS's copy leaves the retain pass unmasked."""

from torch import Tensor, nn

from forget_lib.datasets.samples import concatenate
from forget_lib.unlearning import Count, Rate, Share, UnlearningTask, method, source
from forget_lib.unlearning.common import WeightMask, epochs_of, mean_gradient, sgd, step, top_share, train_mode
from forget_lib.unlearning.random_label import Labels, random_labels


def forget_gradient(model: nn.Module, task: UnlearningTask) -> dict[str, Tensor]:
    """|∇ mean CE over the whole forget set|, in eval mode, by name of trained parameter."""
    return {name: gradient.abs() for name, gradient in mean_gradient(model, (1, task.forget)).items()}


@method("salun", title="SalUn", uses="forget, retain", family="relabelling")
@source("Fan et al., ICLR 2024", arxiv="2310.12508", status="V")
def salun(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 0.01,
    epochs: Count = 2,
    share: Share = 0.5,
    labels: Labels = "any",
    mixed: bool = False,
) -> nn.Module:
    r"""Random label on the weights with the largest gradient on the forget set; all others do not move.

    :math:`m = 1` for the top `share` of :math:`|\nabla_\theta \mathcal{L}_{CE}(D_f; \theta_0)|`, all parameters ranked
    together; then each epoch learns random labels on the forget set and true ones on the retain set,
    :math:`\theta \leftarrow m\,\theta + (1 - m)\,\theta_0` after every step. Running statistics of batch norm are not
    masked, but stay in a pass over the forget set alone.
    Settings: labels as for random_label. mixed: both sets in one shuffled pass (the authors' CIFAR-100) or forget
    before retain (their CIFAR-10).
    """
    mask = WeightMask(model, top_share(forget_gradient(model, task), share))
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        relabelled = task.forget.with_labels(random_labels(task, allow_true=labels == "any"))
        for samples in [concatenate(task.retain, relabelled)] if mixed else [relabelled, task.retain]:
            train_mode(model, batch_norm=samples is not relabelled)
            for images, targets in samples.batches():
                step(optimizer, nn.functional.cross_entropy(model(images), targets))
                mask.hold()
    return model
