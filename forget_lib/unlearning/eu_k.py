"""EU-k. Public copies do not reset batch norm (Goel et al.), leave a re-initialised head frozen (SCRUB), or reset
nothing (DLFD's baseline)."""

from dataclasses import replace

from torch import nn

from forget_lib.models.optimizers import make_optimizer
from forget_lib.models.recipe import rate_at
from forget_lib.unlearning import Count, CountOrNone, UnlearningTask, method, source
from forget_lib.unlearning.common import cross_entropy, epochs_of, step
from forget_lib.unlearning.parts.layers import freeze_all_but, last_layers, start_anew


@method("eu_k", title="EU-k", uses="retain", family="last layers")
@source("Goel et al., arXiv 2201.06640", arxiv="2201.06640", status="V")
def eu_k(model: nn.Module, task: UnlearningTask, *, k: Count = 1, epochs: CountOrNone = 0) -> nn.Module:
    r"""Train the last k layers from scratch on the retain set, by the original's recipe; the layers before stay.

    :math:`\min_{\theta_{last\ k}} \mathcal{L}_{CE}(D_r)` from :math:`\theta_{last\ k}` of a fresh model, batch norm's
    affine part and statistics included. With k = all it is retraining.
    Settings: epochs: length of the recipe's schedule, 0 for the recipe's own.
    Raises: ForgetError for more layers than there are.
    """
    names = last_layers(model, task, k)
    start_anew(model, task, names)
    freeze_all_but(model, names)
    recipe = replace(task.recipe, epochs=epochs or task.recipe.epochs)
    samples = replace(task.retain, batch_size=recipe.batch_size, augmentation=recipe.augmentation)
    optimizer = make_optimizer(model, recipe)
    steps, done = recipe.epochs * -(-len(samples) // recipe.batch_size), 0
    for _ in epochs_of(task, model, recipe.epochs):
        for images, labels in samples.batches():
            optimizer.param_groups[0]["lr"] = rate_at(recipe, min(done / steps, 1.0))
            step(optimizer, cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing))
            done += 1
    return model
