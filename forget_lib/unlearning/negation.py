"""Task arithmetic: learn the forget set even better, and go the other way."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import Samples
from forget_lib.errors import NotApplicableError
from forget_lib.unlearning.common import check_range, frozen_copy, logits_of, sgd, step, train_mode
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask

SCALES = tuple(tenth / 10 for tenth in range(10, 0, -1))
CLIP = 1.0  # largest norm of a gradient: with fixed batch-norm statistics larger steps diverge
Vector = dict[str, Tensor]


def task_vector(model: nn.Module, task: UnlearningTask, learning_rate: float, epochs: int) -> Vector:
    """θ_ft - θ_0 after fine-tuning a copy on the forget set by cross-entropy; batch-norm statistics stay."""
    check_range("epochs", epochs, 1)
    tuned = copy.deepcopy(model)
    optimizer = sgd(tuned, learning_rate, weight_decay=0)
    train_mode(tuned, batch_norm=False)
    for images, labels in task.forget.batches(epochs):
        step(optimizer, functional.cross_entropy(tuned(images), labels), clip_norm=CLIP)
    start = dict(model.named_parameters())
    return {name: (p - start[name]).detach() for name, p in tuned.named_parameters()}


@torch.no_grad()
def move(model: nn.Module, vector: Vector, scale: float) -> None:
    """θ ← θ - scale · vector, in place."""
    for name, parameter in model.named_parameters():
        parameter.sub_(scale * vector[name])


def agreed(vectors: list[Vector]) -> Vector:
    """The mean of the vectors where all have the same sign, else 0."""
    found = {}
    for name in vectors[0]:
        parts = torch.stack([vector[name] for vector in vectors])
        found[name] = parts.mean(0) * (parts.sign().sum(0).abs() == len(vectors))
    return found


@torch.no_grad()
def renew_statistics(model: nn.Module, samples: Samples) -> None:
    """Running statistics of batch norm as the plain mean over one pass; nothing to do without trained batch norm."""
    modules = train_mode(model).modules()
    norms = [each for each in modules if isinstance(each, nn.modules.batchnorm._BatchNorm) and each.training]
    momenta = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None
    for images, _ in samples.batches(augment=False) if norms else ():
        model(images)
    for module, momentum in zip(norms, momenta, strict=True):
        module.momentum = momentum
    model.eval()


def largest_scale(model: nn.Module, task: UnlearningTask, vector: Vector, kept: float) -> float:
    """The largest of `SCALES` at which validation accuracy, without the classes to forget, is `kept` of the original's.

    The smallest one if none is.
    Raises: NotApplicableError if no validation sample is of another class.
    """
    staying = ~torch.isin(task.validation.labels, torch.tensor(task.classes, dtype=torch.int64).to(task.device))
    if not staying.any():
        raise NotApplicableError("task negation needs: validation samples of the classes that stay")
    samples = task.validation.subset(staying)

    def accuracy(net: nn.Module) -> float:
        return float((logits_of(net.eval(), samples).argmax(1) == samples.labels).double().mean())

    wanted = kept * accuracy(model)
    for scale in SCALES:
        moved = frozen_copy(model)
        move(moved, vector, scale)
        if accuracy(moved) >= wanted:
            return scale
    return SCALES[-1]


def _negate(model: nn.Module, task: UnlearningTask, vector: Vector, scale: float, kept: float) -> nn.Module:
    """The end of both methods: chooses the scale if it is 0, moves, renews the statistics."""
    check_range("scale", scale, 0)
    check_range("kept", kept, 0, 1, open_low=True)
    task.epoch_done(0, model)
    move(model, vector, scale or largest_scale(model, task, vector, kept))
    renew_statistics(model, task.retain)
    task.epoch_done(1, model)
    return model


@method(
    "task_negation",
    title="Task negation",
    paper="Ilharco et al., ICLR 2023",
    uses="forget, validation (retain for batch norm)",
    family="task arithmetic",
    needs=("validation",),
)
def task_negation(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.02,
    epochs: int = 3,
    scale: float = 0.0,
    kept: float = 0.95,
) -> nn.Module:
    r"""Fine-tune a copy on the forget set and move the model by the same way backwards.

    :math:`\tau = \theta_{ft} - \theta_0`, :math:`\theta_{ft} = \arg\min \mathcal{L}_{CE}(D_f)` from :math:`\theta_0`;
    :math:`\theta_u = \theta_0 - \lambda \tau`. λ is the largest of 1.0, 0.9 … 0.1 that keeps 95 % of the validation
    accuracy on the classes that stay. Statistics of batch norm, which cannot be negated, are taken anew on the retain
    set. Status V. The original already fits the forget set, so τ is nearly 0 at a low rate.
    Args: learning_rate of SGD (> 0). epochs: passes over the forget set (>= 1). scale: λ (> 0), or 0 to choose it.
        kept: share of the accuracy in (0, 1].
    Raises: NotApplicableError without validation samples; ForgetError for settings out of range; DivergedError.
    """
    return _negate(model, task, task_vector(model, task, learning_rate, epochs), scale, kept)


@method(
    "negmerge",
    title="NegMerge",
    paper="Kim et al., ICML 2025",
    uses="forget, validation (retain for batch norm)",
    family="task arithmetic",
    needs=("validation",),
)
def negmerge(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 0.02,
    epochs: int = 2,
    repeats: int = 2,
    scale: float = 0.0,
    kept: float = 0.95,
) -> nn.Module:
    r"""Task negation along what several fine-tuned copies agree on.

    :math:`\tau_j` from fine-tuning at 0.5, 1 and 2 times the rate, each `repeats` times in another order;
    :math:`\tau = \overline{\tau_j}` where all signs agree, else 0; :math:`\theta_u = \theta_0 - \lambda \tau`, λ as in
    task_negation. Status: idea V (README), P else; the authors' code is not public. torchunlearn's port takes λ = 1 and
    chooses settings by accuracy on retain minus forget, a criterion for classes only.
    Args: learning_rate of SGD (> 0). epochs (>= 1). repeats (>= 1). scale: λ (> 0), or 0 to choose it. kept: share of
        the accuracy in (0, 1].
    Raises: NotApplicableError without validation samples; ForgetError for settings out of range; DivergedError.
    """
    check_range("repeats", repeats, 1)
    rates = [factor * learning_rate for factor in (0.5, 1.0, 2.0) for _ in range(int(repeats))]
    vectors = [task_vector(model, task, rate, epochs) for rate in rates]
    return _negate(model, task, agreed(vectors), scale, kept)
