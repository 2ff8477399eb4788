"""Methods that keep the first layers and train the last k anew."""

from dataclasses import replace

from torch import nn
from torch.nn import functional

from forget_lib.errors import ForgetError
from forget_lib.optimizers import make_optimizer
from forget_lib.recipes import rate_at
from forget_lib.unlearning.common import COUNTED, check_range, epochs_of, sgd, step, used_weights
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


def last_layers(model: nn.Module, task: UnlearningTask, k: int) -> list[str]:
    """Names of the last k convolutions and linear layers, the head among them, and of what else has weights on the
    way; layers that are frozen, or that no logit depends on, do not count.

    Raises: ForgetError for k < 1 or more layers than there are.
    """
    own = list(dict.fromkeys(name.rpartition(".")[0] for name in used_weights(model, task)))
    counted = [name for name in own if isinstance(model.get_submodule(name), COUNTED)]
    if not 1 <= k <= len(counted):
        raise ForgetError(
            f"k is {k}; this model trains {len(counted)} convolutions and linear layers, so 1 <= k <= {len(counted)}."
        )
    return own[own.index(counted[-k]) :]


def freeze_all_but(model: nn.Module, names: list[str]) -> None:
    """Leaves only the parameters of the named modules as they are, and freezes all others."""
    kept = {id(parameter) for name in names for parameter in model.get_submodule(name).parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad and id(parameter) in kept)


@method("cf_k", title="CF-k", paper="Goel et al., arXiv 2201.06640", uses="retain", family="last layers")
def cf_k(
    model: nn.Module, task: UnlearningTask, *, k: int = 1, learning_rate: float = 0.05, epochs: int = 2
) -> nn.Module:
    r"""Fine-tune only the last k layers on the retain set: :math:`\min_{\theta_{last\ k}} \mathcal{L}_{CE}(D_r)`.

    Convolutions and linear layers count, batch norm on the way is trained too; the statistics of frozen batch norm
    stay. Status V. SCRUB's copy leaves the head frozen on ResNets, which makes it another method.
    Args: k: number of layers in [1, all]. learning_rate: of SGD, constant (> 0). epochs (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    freeze_all_but(model, last_layers(model, task, k))
    optimizer = sgd(model, learning_rate)
    for _ in epochs_of(task, model, epochs):
        for images, labels in task.retain.batches():
            step(optimizer, functional.cross_entropy(model(images), labels))
    return model


@method("eu_k", title="EU-k", paper="Goel et al., arXiv 2201.06640", uses="retain", family="last layers")
def eu_k(model: nn.Module, task: UnlearningTask, *, k: int = 1, epochs: int = 0) -> nn.Module:
    r"""Train the last k layers from scratch on the retain set, by the original's recipe; the layers before stay.

    :math:`\min_{\theta_{last\ k}} \mathcal{L}_{CE}(D_r)` from :math:`\theta_{last\ k}` of a fresh model, batch
    norm's affine part and statistics included. With k = all it is retraining.
    Status V. Public copies do not reset batch norm (Goel et al.), leave a re-initialised head frozen (SCRUB), or
    reset nothing (DLFD's baseline).
    Args: k: number of layers in [1, all]. epochs (>= 0): length of the recipe's schedule, 0 for the recipe's own.
    Raises: ForgetError for settings out of range; DivergedError.
    """
    check_range("epochs", epochs, 0)
    names = last_layers(model, task, k)
    fresh = task.fresh_model(task.seed).to(task.device)
    for name in names:
        module = model.get_submodule(name)
        frozen = {part for part, parameter in module.named_parameters() if not parameter.requires_grad}
        state = fresh.get_submodule(name).state_dict()
        module.load_state_dict({part: state[part] for part in state.keys() - frozen}, strict=False)
    freeze_all_but(model, names)
    recipe = replace(task.recipe, epochs=int(epochs) or task.recipe.epochs)
    samples = replace(task.retain, batch_size=recipe.batch_size, augmentation=recipe.augmentation)
    optimizer = make_optimizer(model, recipe)
    steps, done = recipe.epochs * -(-len(samples) // recipe.batch_size), 0
    for _ in epochs_of(task, model, recipe.epochs):
        for images, labels in samples.batches():
            optimizer.param_groups[0]["lr"] = rate_at(recipe, min(done / steps, 1.0))
            step(optimizer, functional.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing))
            done += 1
    return model
