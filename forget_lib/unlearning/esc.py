"""ESC. Read in the authors' code at 29c66b8 (unlearn.py, models.py): p 1.5 %, rounded down; at least one direction
here. They put the projection between features and head; here it is folded into the head's weights, which gives the same
logits and keeps the net's form, so that the features stay as they were. They take features in the mode that the loaded
model happens to be in, here in eval mode. ESC-T, which learns a mask on the directions, is left out."""

from typing import cast

import torch
from torch import Tensor, nn

from forget_lib.models.nets import Classifier
from forget_lib.unlearning import Share, UnlearningTask, method, source
from forget_lib.unlearning.common import features_of


def directions(features: Tensor, count: int) -> Tensor:
    """The left singular vectors of the features, taken as columns, with the `count` largest values: [D, count]."""
    return torch.linalg.svd(features.T.double(), full_matrices=False).U[:, :count].to(features.dtype)


@method("esc", title="ESC", uses="forget (no labels)", family="projection", needs=("trained linear head",))
@source("Lee et al., CVPR 2025", arxiv="2504.02199", status="V")
def esc(model: Classifier, task: UnlearningTask, *, share: Share = 0.015) -> nn.Module:
    r"""Take the main directions of the forget set's features out of what the head sees.

    :math:`\Phi_f^\top = U S V^\top` over penultimate features; :math:`W \leftarrow W (I - U_k U_k^\top)`, U_k the
    k largest singular vectors, k = share of the features' number. No training, and no mean is taken off: the first
    direction is close to the mean feature of the class. The logits of a class that is not requested lose what they had
    in that direction too. Made for classes.
    Settings: share is p / 100.
    """
    features = features_of(cast(Classifier, model.eval()), task.forget, task.meter)
    main = directions(features, max(1, int(share * features.shape[1])))
    with torch.no_grad():
        weight = model.head.weight
        weight -= (weight @ main) @ main.T
    return model
