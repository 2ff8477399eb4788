"""ReGUn. From summaries of version 1 of the paper, whose target is one mixture over held-out samples matched to the
classes of a forget batch; here it is the mean by class, for each sample that of its own. Weights and rate are ours."""

from torch import Tensor, nn
from torch.nn import functional

from forget_lib.core.errors import NotApplicableError
from forget_lib.unlearning import Count, Factor, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import beside, frozen_copy, logits_of, sgd, step


def outputs_by_class(logits: Tensor, labels: Tensor, number_of_classes: int) -> tuple[Tensor, Tensor]:
    """Mean probabilities of the samples of each class, [K, K], and which classes have a sample, bool [K]."""
    member = functional.one_hot(labels, number_of_classes).to(logits)
    counts = member.sum(0)
    return (member.T @ logits.softmax(1)) / counts.clamp(min=1)[:, None], counts > 0


@method("regun", title="ReGUn", uses="forget, retain, validation", family="outputs")
@source("arXiv 2603.11210", arxiv="2603.11210", status="P")
def regun(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 3e-3, epochs: Count = 1, weight: Factor = 1.0
) -> nn.Module:
    r"""Teach forget samples what the original says on average of held-out samples of the same class.

    :math:`q_y = \overline{p_{\theta_0}(x)}` over validation samples x of class y; minimises
    :math:`\mathcal{L}_{CE}(D_r) + w\, KL(q_y \| p_\theta(x_f))`. For a class request the true class is taken out of
    :math:`q_y` and the rest scaled to 1 (ours: what is left is what the class is confused with).
    Settings: weight is w.
    Raises: NotApplicableError where a class of the forget set has no validation sample.
    """
    logits = logits_of(frozen_copy(model), task.validation)
    targets, there = outputs_by_class(logits, task.validation.labels, task.number_of_classes)
    missing = [int(label) for label in task.forget.labels.unique() if not there[label]]
    if missing:
        raise NotApplicableError(f"regun needs: validation samples of classes {missing}")
    if task.classes:
        targets.fill_diagonal_(0)
        targets = targets.clamp(min=1e-12) / targets.clamp(min=1e-12).sum(1, keepdim=True)
    optimizer = sgd(model, learning_rate)
    batches = beside(model, task, epochs, task.forget, 32)
    for retain_logits, labels, forget_logits, forget_labels in batches:
        logs = forget_logits.log_softmax(1)
        near = functional.kl_div(logs, targets[forget_labels], reduction="batchmean")
        step(optimizer, functional.cross_entropy(retain_logits, labels) + weight * near)
    return model
