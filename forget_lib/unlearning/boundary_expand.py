"""Boundary Expand. Paper: SGD 1e-5, 10 epochs, no weight decay; here 5e-4, as other methods have it, and the statistics
of batch norm stay. SalUn's port never prunes the extra class; here the model that is
returned and each epoch's report have K classes."""

import torch
from torch import nn

from forget_lib.models.nets import Classifier
from forget_lib.unlearning import Count, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import cross_entropy, epochs_of, sgd, step


@method("boundary_expand", title="Boundary Expand", uses="forget", family="relabelling", needs=("linear head",))
@source("Chen et al., CVPR 2023", arxiv="2303.11570", status="V")
def boundary_expand(
    model: Classifier, task: UnlearningTask, *, learning_rate: Rate = 1e-4, epochs: Count = 5
) -> nn.Module:
    r"""Teach the forget set to a new class K + 1, then delete that class.

    :math:`\min_{\theta, w_{K+1}} \mathcal{L}_{CE}(f(x_f), K + 1)` over the forget set alone, with a new output row,
    which is then dropped: what was drawn to it falls to the nearest classes. Batch-norm statistics stay. Made for
    classes.
    """
    extra = nn.Linear(model.head.in_features, 1).to(model.head.weight)
    optimizer = sgd([*model.parameters(), *extra.parameters()], learning_rate)
    for _ in epochs_of(task, model, epochs, batch_norm=False):
        for images, labels in task.forget.batches():
            features = model.features(images)
            task.meter.add(3 * len(images))  # the features alone pass by the meter
            logits = torch.cat([model.head(features), extra(features)], 1)
            step(optimizer, cross_entropy(logits, torch.full_like(labels, task.number_of_classes)))
    return model
