"""CMF, with random labels as the method beneath. Read in a fork of the authors' code at 83485e9 (random_label.py,
unlearn/cmf_weights.py): temperature 1, gradients clipped at 1, 4 epochs, SGD with Nesterov's momentum, 1e-4 to 0.01.
They first train the whole net for this classifier; here it starts from the original. They leave the linear head out;
here the classifier is written into it, so that the net keeps its form: weights s W_c and bias -s l W_c·μ, l the mean
length of the features and s such that the largest logits have the mean that T times the cosines have. Momentum here is
plain, and labels are drawn once an epoch, among all other classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.samples import concatenate
from forget_lib.models.nets import Classifier
from forget_lib.unlearning import Count, Positive, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import epochs_of, features_of, sgd, step, with_features
from forget_lib.unlearning.random_label import random_labels

CLIP = 1.0


def class_means(features: Tensor, labels: Tensor, number_of_classes: int) -> tuple[Tensor, Tensor]:
    """Directions [K, D] from the mean of all features of length 1, [D], to each class's mean; 0 without a sample."""
    directions = functional.normalize(features, dim=1)
    member = functional.one_hot(labels, number_of_classes).to(directions)
    means = (member.T @ directions) / member.sum(0).clamp(min=1)[:, None]
    centre = directions.mean(0)
    return functional.normalize(means - centre, dim=1) * (member.sum(0) > 0)[:, None], centre


def cosines(features: Tensor, means: Tensor, centre: Tensor) -> Tensor:
    """Cosine of each feature vector with each class's direction, both seen from the centre; [B, K]."""
    return functional.normalize(functional.normalize(features, dim=1) - centre, dim=1) @ means.T


@method("cmf", title="CMF", uses="forget, retain", family="relabelling", needs=("trained linear head",))
@source("Gao et al., arXiv 2604.08271", arxiv="2604.08271", status="V")
def cmf(
    model: Classifier,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 1e-3,
    epochs: Count = 2,
    temperature: Positive = 1.0,
) -> nn.Module:
    r"""Learn random labels with the classes' mean features as the classifier, so that the features must change.

    :math:`W_c = (m_c - \mu) / \|m_c - \mu\|`, :math:`m_c` and :math:`\mu` the means over the class and over all of
    :math:`z = \phi / \|\phi\|`, forget samples with their true labels among them; minimises
    :math:`\mathcal{L}_{CE}(T\, W (z - \mu) / \|z - \mu\|)` over the shuffled union of the retain set and the forget set
    under random labels, W and μ taken anew after each epoch. No head can hide what the features still tell apart.
    Settings: temperature is T.
    """
    everything, optimizer = concatenate(task.retain, task.forget), sgd(model, learning_rate)

    def renewed() -> tuple[Tensor, Tensor, Tensor]:
        model.eval()
        features = features_of(model, everything, task.meter)
        return features, *class_means(features, everything.labels, task.number_of_classes)

    features, means, centre = renewed()
    for _ in epochs_of(task, model, epochs):
        wrong = task.forget.with_labels(random_labels(task, allow_true=False))
        for images, labels in concatenate(task.retain, wrong).batches():
            seen, _ = with_features(model, task, images)
            step(
                optimizer, functional.cross_entropy(temperature * cosines(seen, means, centre), labels), clip_norm=CLIP
            )
        features, means, centre = renewed()
    with torch.no_grad():
        length = features.norm(dim=1).mean()
        logits = (features - length * centre) @ means.T
        largest = temperature * cosines(features, means, centre).max(1).values.mean()
        scale = largest / logits.max(1).values.mean().clamp(min=1e-12)
        model.head.weight.copy_(scale * means)
        model.head.bias.copy_(-scale * length * means @ centre)
    return model
