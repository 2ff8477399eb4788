"""Contrastive unlearning. Read in the authors' code at 33ce9a6 (core/trainer/unlearn/unlearn.py): λ 3 and 1, τ 0.7, 4
retain batches to a forget batch, SGD 1e-3 without decay. There the net's embedding is normalised and feeds the head;
here the penultimate features are normalised for the loss alone. Their code adds the second term once for each retain
sample, not for each of another label; a forget sample without a retain sample of its label has no second term (theirs:
for classes; else the logarithm of 0). They stop by accuracy on the test set; here the epochs are fixed."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.models.nets import Classifier
from forget_lib.unlearning import Count, Factor, Positive, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import epochs_of, sgd, step, with_features


def contrast(anchors: Tensor, others: Tensor, same: Tensor, temperature: float) -> Tensor:
    """Mean over anchors [A, D] of log Σ exp(s / τ) over the `others` [B, D] of the same label less the mean of s / τ
    over the rest; s: cosine, same: bool [A, B].
    """
    similarity = functional.normalize(anchors, dim=1) @ functional.normalize(others, dim=1).T / temperature
    some = same.any(1, keepdim=True)
    own = similarity.masked_fill(some & ~same, -torch.inf).logsumexp(1) * some[:, 0]
    rest = similarity.masked_fill(same, 0).sum(1) / (~same).sum(1).clamp(min=1)
    return (own - rest).mean()


@method("contrastive", title="Contrastive", uses="forget, retain", family="outputs", needs=("linear head",))
@source("Lee et al., IJCAI 2025", arxiv="2401.10458", status="V")
def contrastive(
    model: Classifier,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 1e-3,
    epochs: Count = 3,
    weight: Factor = 3.0,
    temperature: Positive = 0.7,
    draws: Count = 4,
) -> nn.Module:
    r"""Push a forget sample's features away from its own class and towards the others.

    For each forget batch, `draws` steps, each with another retain batch of the same size in one forward pass, on
    :math:`\lambda \overline{\log \sum_{p: y_p = y_i} e^{z_i \cdot z_p / \tau} - \overline{z_i \cdot z_n / \tau}} +
    \mathcal{L}_{CE}(D_r)`, z the features of length 1, p and n retain samples of the same and of another label. Both
    parts of the batch renew batch norm's statistics.
    Settings: weight is λ, temperature τ.
    """
    optimizer = sgd(model, learning_rate, weight_decay=0)
    retain = task.retain.forever(batch_size=task.forget.batch_size)
    for _ in epochs_of(task, model, epochs):
        for images, labels in task.forget.batches():
            for _draw in range(draws):
                others, other_labels = (part[: len(images)] for part in next(retain))
                features, logits = with_features(model, task, torch.cat([images, others]))
                anchors, rest = features.split([len(images), len(others)])
                apart = contrast(anchors, rest, labels[:, None] == other_labels, temperature)
                step(optimizer, weight * apart + functional.cross_entropy(logits[len(images) :], other_labels))
    return model
