"""Classifiers by name: `build("mlp", (1, 28, 28), 10, seed=0)`."""

import math
from collections.abc import Callable
from functools import partial, update_wrapper
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from forget_lib.core.cell_code import is_of_a_cell
from forget_lib.core.names import is_own
from forget_lib.core.registry import Registry
from forget_lib.datasets.samples import Samples, normalise
from forget_lib.models.own import OwnModel, Spec, adapted, build_own

NETS_VERSION = 1
"""Raised when a net has other layers or starts from other weights; records of before are then made again."""

WHITENING_SAMPLES = 5000
WHITENING_FLOOR = 5e-4


class Classifier(nn.Module):
    """Features [B, D], then a linear head: logits [B, K] = head(features(x)).

    Input: float32 [B, C, H, W] as `Samples.batches` gives it.
    """

    def __init__(self, body: nn.Module, width: int, number_of_classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, number_of_classes)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate activations, float32 [B, D]."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


Builder = Callable[[tuple[int, int, int], int], Classifier]
FACE_NETS = ["face_embedding", "face_embedding_head"]
FACE_NETS += [f"face_embedding_{blocks}" for blocks in (1, 2, 3, *range(5, 15))]
MODELS: Registry[Builder] = Registry("model", files=dict.fromkeys(FACE_NETS, f"{__package__}.face_net"))


def model(name: str) -> Callable[[Builder], Builder]:
    """Registers `function(input_shape, number_of_classes) -> Classifier` under `name`."""

    def register(function: Builder) -> Builder:
        # A net of a notebook's cell is a user's, as one of a file is.
        builder: Callable[..., Any] = function
        if is_of_a_cell(function):
            builder = update_wrapper(partial(adapted, Spec(name), function), function)
        MODELS.register(name, builder, function)
        return function

    return register


def list_models() -> list[str]:
    """Names of the registered models, sorted."""
    return sorted(MODELS.names)


def build(name: str, input_shape: tuple[int, int, int], number_of_classes: int, seed: int = 0) -> Classifier:
    """A new, untrained classifier for images (C, H, W); the global random state is left as it was.

    Args: name: a registered name, or `package.module:function` or `file.py:function` (see `own`).
    Raises: UnknownNameError for a name that is not registered; ForgetError for a function that gives no classifier.
    """
    make: Callable[..., Any] = partial(build_own, name) if is_own(name) and name not in MODELS else MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = make(input_shape, number_of_classes)
    # Faster for colour images; a user's net may view what a convolution gives, which takes the usual layout.
    ours = input_shape[0] == 3 and not isinstance(built, OwnModel)
    return built.to(memory_format=torch.channels_last) if ours else built


@model("mlp")
def mlp(input_shape: tuple[int, int, int], number_of_classes: int) -> Classifier:
    """One hidden layer of 128 units: 784-128-10 on MNIST."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), 128), nn.ReLU())
    return Classifier(body, 128, number_of_classes)


def _normalised(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3×3 convolution and batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs))


def _pool() -> nn.Sequential:
    """2×2 max-pooling, then ReLU: the same values and gradients as the other way round, at a quarter of the cost."""
    return nn.Sequential(nn.MaxPool2d(2), nn.ReLU())


@model("small_cnn")
def small_cnn(input_shape: tuple[int, int, int], number_of_classes: int) -> Classifier:
    """Three 3×3 convolutions with batch norm (16, 32, 64 channels), each followed by 2×2 max-pooling."""
    layers: list[nn.Module] = []
    widths = (input_shape[0], 16, 32, 64)
    for inputs, outputs in pairwise(widths):
        layers += [_normalised(inputs, outputs), _pool()]
    return Classifier(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten()), 64 * 4, number_of_classes)


class Residual(nn.Module):
    """x + block(x), the block of 3×3 convolutions with batch norm and ReLU."""

    def __init__(self, width: int, convolutions: int) -> None:
        super().__init__()
        blocks = [_normalised(width, width).append(nn.ReLU()) for _ in range(convolutions)]
        self.block = blocks[0] if convolutions == 1 else nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        return images + self.block(images)


@model("small_resnet")
def small_resnet(input_shape: tuple[int, int, int], number_of_classes: int) -> Classifier:
    """A ResNet for faces: a stem of stride 2 (24 channels), then 48 and 96 channels, each with a residual block."""
    layers: list[nn.Module] = [_normalised(input_shape[0], 24, stride=2), _pool()]
    for inputs, outputs in ((24, 48), (48, 96)):
        layers += [_normalised(inputs, outputs), _pool(), Residual(outputs, 1)]
    return Classifier(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten()), 96 * 4, number_of_classes)


@model("resnet9")
def resnet9(input_shape: tuple[int, int, int], number_of_classes: int) -> Classifier:
    """ResNet-9 at half width (32, 64, 128, 256 channels): a stem, three stages, two of them with a residual pair."""

    def stage(inputs: int, outputs: int, residual: bool) -> list[nn.Module]:
        pair = [Residual(outputs, 2)] if residual else []
        return [_normalised(inputs, outputs), _pool(), *pair]

    stem = _normalised(input_shape[0], 32).append(nn.ReLU())
    layers = [stem, *stage(32, 64, True), *stage(64, 128, False), *stage(128, 256, True)]
    return Classifier(nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten()), 256, number_of_classes)


class Whitening(nn.Conv2d):
    """2×2 patches in the directions in which they vary, each at unit variance, and with both signs: 24 channels.

    The weights come from the images that the net is trained on, once, and are not trained.
    """

    ready: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 * 4 * channels, 2)
        self.weight.requires_grad = False
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Computes the weights from normalised images, float32 [N, C, H, W]."""
        size = 4 * images.shape[1]
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, size)
        variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (directions / (variances + WHITENING_FLOOR).sqrt()).T.reshape(size, images.shape[1], 2, 2)
        self.weight.copy_(torch.cat([filters, -filters]))
        assert self.bias is not None
        self.bias.zero_()
        self.ready.fill_(True)


class FastNet(Classifier):
    """A whitening layer, three pairs of 3×3 convolutions, and a head: the shape of the fastest nets for CIFAR-10.

    Source: Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498, 2024.
    """

    def __init__(self, input_shape: tuple[int, int, int], widths: tuple[int, int, int], classes: int) -> None:
        whitening = Whitening(input_shape[0])
        layers: list[nn.Module] = [whitening, nn.GELU("tanh")]
        for inputs, outputs in pairwise((whitening.out_channels, *widths)):
            for source, pool in ((inputs, True), (outputs, False)):
                convolution = nn.Conv2d(source, outputs, 3, padding=1, bias=False)
                nn.init.dirac_(convolution.weight.data[:source])  # starts as one that hands its input on
                norm = nn.BatchNorm2d(outputs, momentum=0.4)
                norm.weight.requires_grad = False
                layers += [convolution, *([nn.MaxPool2d(2)] if pool else []), norm, nn.GELU("tanh")]
        super().__init__(nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten()), widths[-1], classes)
        self.scale = widths[-1] ** -0.5

    def features(self, images: Tensor) -> Tensor:
        return self.body(images) * self.scale

    def prepare(self, samples: Samples) -> None:
        """Fits the whitening to the images that the net is about to be trained on, unless it was trained before.

        It looks at nothing else: a retrained net must not carry a trace of the forget set.
        """
        whitening = cast(Whitening, self.body.get_submodule("0"))
        if not whitening.ready:
            whitening.fit(normalise(samples.images[:WHITENING_SAMPLES]))


@model("fast_net")
def fast_net(input_shape: tuple[int, int, int], number_of_classes: int) -> Classifier:
    """`FastNet` of 48, 128 and 128 channels: CIFAR-10 in minutes on two cores."""
    return FastNet(input_shape, (48, 128, 128), number_of_classes)


@model("fast_net_wide")
def fast_net_wide(input_shape: tuple[int, int, int], number_of_classes: int) -> Classifier:
    """`FastNet` of 64, 256 and 256 channels, the widths of the source."""
    return FastNet(input_shape, (64, 256, 256), number_of_classes)


@model("resnet18")
def resnet18(input_shape: tuple[int, int, int], number_of_classes: int) -> Classifier:
    """torchvision's ResNet-18 with the usual stem for small images: 3×3, stride 1, no max-pooling (He et al., 2016)."""
    from torchvision.models import resnet18 as torchvision_resnet18

    body = torchvision_resnet18(num_classes=number_of_classes)
    body.conv1 = nn.Conv2d(input_shape[0], 64, 3, padding=1, bias=False)
    body.maxpool = nn.Identity()
    body.fc = nn.Identity()
    return Classifier(body, 512, number_of_classes)


def count_parameters(net: nn.Module) -> int:
    """Number of trainable numbers in `net`."""
    return sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
