"""Fisher forgetting. The exact diagonal costs K backward passes of each retain sample, more than retraining, so F is
taken on a random part. Unlearn-Sparse's version squares gradients of batches, another quantity, and clears the last
class's row for random requests."""

import torch
from torch import Tensor, nn

from forget_lib.datasets.samples import Samples
from forget_lib.models.nets import Classifier
from forget_lib.models.train import Meter
from forget_lib.unlearning import Count, Positive, UnlearningTask, method, source
from forget_lib.unlearning.common import Importance, random_part, trained_weights
from forget_lib.unlearning.parts.importance import importance_by_sample

LARGEST, LARGEST_OF_HEAD = 1e3, 1e2  # limits on 1 / F


def expected_fisher(model: nn.Module, samples: Samples, number_of_classes: int, meter: Meter) -> Importance:
    """Diagonal of the Fisher information: mean over samples of Σ_y p(y | x) (∂CE(x, y) / ∂θ)², by name of parameter."""

    def losses(logits: Tensor, labels: Tensor) -> Tensor:
        # The square of √p · CE' is p · CE'², so p takes no gradient and stands under the root.
        logs = logits.log_softmax(1).gather(1, labels[:, None]).flatten()
        return -logs.detach().exp().sqrt() * logs

    total: Importance = {}
    for label in range(number_of_classes):
        labelled = samples.with_labels(torch.full_like(samples.labels, label))
        for name, value in importance_by_sample(model, labelled, losses, 2, meter).items():
            total[name] = total[name] + value if name in total else value
    return total


def noise_variance(fisher: Tensor, alpha: float, *, head: bool = False) -> Tensor:
    """Variance of the noise on one parameter: α / F, limited, a mean over the inputs of each unit."""
    variance = alpha * (1 / (fisher + 1e-8)).clamp(max=LARGEST_OF_HEAD if head else LARGEST)
    if fisher.dim() > 1:
        variance = variance.mean(1, keepdim=True).expand_as(fisher).clone()
    return variance * (10 if head or fisher.dim() == 1 else 1)


@method("fisher", title="Fisher forgetting", uses="retain (a few samples)", family="noise", needs=("linear head",))
@source("Golatkar et al., CVPR 2020", arxiv="1911.04933", status="V")
def fisher(model: Classifier, task: UnlearningTask, *, alpha: Positive = 1e-6, samples: Count = 400) -> nn.Module:
    r"""Add noise to each weight, the more the less the retain set cares about it; no training.

    :math:`\theta \sim \mathcal{N}(\theta_0, v)`, :math:`v = \alpha \min(1 / F, 10^3)` with :math:`F_i =
    \overline{\sum_y p(y | x) (\partial \mathcal{L}(x, y) / \partial \theta_i)^2}` over retain samples, in eval mode,
    by sample; 10² instead of 10³ for the head; v is a mean over each unit's inputs; vectors and the head get 10 v.
    For a class request the head's rows of the class are drawn anew: mean 0, variance 10⁻³.
    Settings: samples: retain samples that F is taken on.
    """
    part = random_part(task, task.retain, min(1.0, samples / len(task.retain)))
    information = expected_fisher(model, part, task.number_of_classes, task.meter)
    task.epoch_done(0, model)
    of_head = {id(parameter) for parameter in model.head.parameters()}
    with torch.no_grad():
        for name, parameter in trained_weights(model).items():
            head = id(parameter) in of_head
            variance = noise_variance(information[name], alpha, head=head)
            if head and task.classes:
                parameter[list(task.classes)] = 0
                variance[list(task.classes)] = 1e-3
            noise = torch.randn(parameter.shape, generator=task.generator, dtype=torch.float64).to(parameter)
            parameter.add_(variance.sqrt() * noise)
    task.epoch_done(1, model)
    return model
