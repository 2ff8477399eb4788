"""Tiny data, nets and tasks for the tests of methods; in double precision where a formula is checked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.datasets.requests import parse_request
from forget_lib.datasets.samples import Samples
from forget_lib.models.nets import Classifier
from forget_lib.models.recipe import Recipe
from forget_lib.unlearning import UnlearningTask
from forget_lib.unlearning.random_label import random_labels

CLASSES = 3


class DoubleSamples(Samples):
    """Samples in double precision."""

    def batches(self, *arguments: Any, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in super().batches(*arguments, **options):
            yield images.double(), labels


class OrderedSamples(DoubleSamples):
    """Samples in double precision, in order whatever is asked."""

    def batches(self, *arguments: Any, **options: Any) -> Iterator[tuple[Tensor, Tensor]]:
        yield from super().batches(*arguments, **(options | {"shuffle": False}))


def tiny_net(seed: int = 0) -> Classifier:
    """4-5-3 with a smooth activation, double precision: 43 weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh()), 5, CLASSES).double()


def tiny_conv_net(seed: int = 0) -> Classifier:
    """Two convolutions with batch norm and biases, and a head; double precision; statistics that are not 0 and 1."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU()]
        layers += [nn.Conv2d(2, 3, 2, stride=2, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()]
        net = Classifier(nn.Sequential(*layers), 3, CLASSES).double()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                nn.init.normal_(module.weight)
    return net


def tiny_frozen_net(seed: int = 0) -> Classifier:
    """`tiny_conv_net` with its first convolution and that one's batch norm frozen."""
    net = tiny_conv_net(seed)
    net.get_submodule("body.0").requires_grad_(False)
    net.get_submodule("body.1").requires_grad_(False)
    return net


def tiny_samples(
    size: int, seed: int, *, kind: type[Samples] = DoubleSamples, side: int = 2, **options: Any
) -> Samples:
    """Random images uint8 [size, 1, side, side] with labels 0, 1, 2, 0, …"""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (size, 1, side, side), generator=generator, dtype=torch.uint8)
    return kind(images, torch.arange(size) % CLASSES, generator=generator, **options)


def tiny_task(*, classes: tuple[int, ...] = (), net: Any = tiny_net, seed: int = 7, **options: Any) -> UnlearningTask:
    """7 forget, 11 retain and 9 validation samples, each set one batch; `classes` makes it a class request."""
    forget, retain, validation = (tiny_samples(n, n, batch_size=50) for n in (7, 11, 9))
    if classes:
        forget = forget.with_labels(torch.full_like(forget.labels, classes[0]))
        retain = retain.with_labels((retain.labels % 2 + classes[0] + 1) % CLASSES)
    request = parse_request("class:" + ",".join(map(str, classes))) if classes else parse_request("random:0.4")
    generator = torch.Generator().manual_seed(seed)
    settings = {
        "recipe": Recipe(epochs=2, batch_size=4, learning_rate=0.05),
        "forget": forget,
        "retain": retain,
        "validation": validation,
    } | options
    return UnlearningTask(
        request, classes=classes, number_of_classes=CLASSES, fresh_model=net, seed=seed, generator=generator, **settings
    )


def batched_task(*, classes: tuple[int, ...] = (), net: Any = tiny_frozen_net, **options: Any) -> UnlearningTask:
    """As `tiny_task`, but in batches of 4 and 3 (forget), 4, 4 and 3 (retain) that come in order."""
    task = tiny_task(classes=classes, net=net, **options)
    sets = {name: getattr(task, name) for name in ("forget", "retain")}
    return replace(task, **{name: OrderedSamples(each.images, each.labels, 4) for name, each in sets.items()})


def training(net: nn.Module) -> nn.Module:
    """The net in train mode, but for modules whose weights are all frozen."""
    net.train()
    for module in net.modules():
        weights = list(module.parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            module.eval()
    return net


def same_state(model: nn.Module, other: nn.Module, tolerance: float = 1e-9) -> bool:
    """Whether all parameters and buffers agree."""
    second = other.state_dict()
    return all(
        torch.allclose(value.double(), second[name].double(), rtol=tolerance, atol=tolerance)
        for name, value in model.state_dict().items()
    )


class SgdByHand:
    """v ← m v + g + d θ, θ ← θ - r v on the trained weights, for a loss at a time."""

    def __init__(self, model: nn.Module, rate: float, momentum: float = 0.9, decay: float = 5e-4) -> None:
        self.weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.speed = [torch.zeros_like(weight) for weight in self.weights]
        self.rate, self.momentum, self.decay = rate, momentum, decay

    def gradient(self, loss: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(loss, self.weights, materialize_grads=True))

    @torch.no_grad()
    def move(self, gradient: list[Tensor]) -> None:
        for weight, g, v in zip(self.weights, gradient, self.speed, strict=True):
            v.mul_(self.momentum).add_(g + self.decay * weight)
            weight.sub_(self.rate * v)

    def step(self, loss: Tensor) -> None:
        self.move(self.gradient(loss))


def whole(samples: Samples) -> tuple[Tensor, Tensor]:
    """All samples in order as one batch."""
    return next(samples.batches(batch_size=len(samples), shuffle=False, augment=False))


def weights(model: nn.Module) -> list[Tensor]:
    """Copies of the parameters."""
    return [parameter.detach().clone() for parameter in model.parameters()]


def by_hand(model: nn.Module, losses: list, *, rate: float, momentum: float = 0.9, decay: float = 5e-4) -> None:
    """SGD written out: v ← m v + g + d θ, θ ← θ - r v, for each function of `losses` (model to scalar) in turn, in
    place.
    """
    speed = [torch.zeros_like(parameter) for parameter in model.parameters()]
    for loss in losses:
        gradients = torch.autograd.grad(loss(model), list(model.parameters()))
        for parameter, gradient, v in zip(model.parameters(), gradients, speed, strict=True):
            with torch.no_grad():
                v.mul_(momentum).add_(gradient + decay * parameter)
                parameter.sub_(rate * v)


def adam_by_hand(model: nn.Module, losses: list, *, rate: float) -> None:
    """Adam written out (0.9, 0.999, 1e-8), in place."""
    first = [torch.zeros_like(parameter) for parameter in model.parameters()]
    second = [torch.zeros_like(parameter) for parameter in model.parameters()]
    for t, loss in enumerate(losses, 1):
        gradients = torch.autograd.grad(loss(model), list(model.parameters()))
        for parameter, g, m, v in zip(model.parameters(), gradients, first, second, strict=True):
            with torch.no_grad():
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.999).add_(0.001 * g * g)
                parameter.sub_(rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8))


def close(model: nn.Module, other: nn.Module, tolerance: float = 1e-10) -> bool:
    """Whether all parameters agree."""
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return all(torch.allclose(a, b, rtol=tolerance, atol=tolerance) for a, b in pairs)


def ce(samples: Samples) -> Callable[[nn.Module], Tensor]:
    """Mean cross-entropy over all samples as a function of the model."""
    images, labels = whole(samples)
    return lambda model: functional.cross_entropy(model(images), labels)


def one_by_one(samples: Samples) -> list[tuple[Tensor, Tensor]]:
    """Batches of one sample each, in order."""
    return [whole(samples.subset(torch.tensor([index]))) for index in range(len(samples))]


def changed_tensors(before: nn.Module, after: nn.Module) -> set[str]:
    """Names of parameters and buffers whose bits differ."""
    return {name for name, value in after.state_dict().items() if not torch.equal(value, before.state_dict()[name])}


def drawn_labels(task: UnlearningTask, *, allow_true: bool) -> Tensor:
    """The labels that a method draws first from the task's generator, whose state stays."""
    state = task.generator.get_state()
    labels = random_labels(task, allow_true=allow_true)
    task.generator.set_state(state)
    return labels


@contextmanager
def batch_norm_modes() -> Iterator[list[tuple[int, bool]]]:
    """Fills the list that it yields with the batch size and the mode of each pass through a batch-norm layer."""
    seen: list[tuple[int, bool]] = []
    forward = nn.BatchNorm2d.forward

    def spy(self: nn.BatchNorm2d, images: Tensor) -> Tensor:
        seen.append((len(images), self.training))
        return forward(self, images)

    nn.BatchNorm2d.forward = spy
    try:
        yield seen
    finally:
        nn.BatchNorm2d.forward = forward
