"""A public face embedding with a linear head over identities: dlib's face ResNet, ported from face-api's weights.

The network was trained by its author (D. King, dlib, 2017) on about three million faces of 7,485 people, celebrities
among them, so nothing here shows what it would be never to have seen a person: results are kept apart from nets trained
from scratch. Weights: npm package @vladmandic/face-api 1.7.15 (MIT), 6 MB, 8-bit, fetched by checksum.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache, partial, update_wrapper
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import data_folder
from forget_lib.datasets.sources import check_file, npm_package
from forget_lib.models.nets import Classifier, model

NPM_PACKAGE = "@vladmandic/face-api@1.7.15"
NPM_SHA256 = "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031"
FILES = {
    "face_recognition_model-weights_manifest.json": "cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b",
    "face_recognition_model.bin": "b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
}
INPUT_SIZE = (150, 150)
INPUT_MEAN = (122.782, 117.001, 104.298)  # RGB, of 0..255; the rest is divided by 256
BLOCKS = (
    *(("conv32_1", 32, 32), ("conv32_2", 32, 32), ("conv32_3", 32, 32), ("conv64_down", 32, 64)),
    *(("conv64_1", 64, 64), ("conv64_2", 64, 64), ("conv64_3", 64, 64), ("conv128_down", 64, 128)),
    *(("conv128_1", 128, 128), ("conv128_2", 128, 128), ("conv256_down", 128, 256), ("conv256_1", 256, 256)),
    *(("conv256_2", 256, 256), ("conv256_down_out", 256, 256)),
)
STAGES = len(BLOCKS)
TRAINABLE = 4  # conv256_down and all above it
WIDTH = 128
FEATURE_SCALE = 8.0  # embeddings have a norm of about 1.4; a linear head learns faster on larger numbers
CACHED_IMAGES = 4096


class Block(nn.Module):
    """ReLU(x + conv2(ReLU(conv1(x)))); one that goes down halves the map, its shortcut is a 2×2 mean.

    The smaller map is padded with zeros at the bottom and right, missing channels are zeros.
    """

    def __init__(self, name: str, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = "down" in name
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2 if self.down else 1, padding=0 if self.down else 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        out = self.conv2(functional.relu(self.conv1(images)))
        shortcut = functional.avg_pool2d(images, 2) if self.down else images
        height, width = (max(a, b) for a, b in zip(out.shape[2:], shortcut.shape[2:], strict=True))
        out, shortcut = (functional.pad(x, (0, width - x.shape[3], 0, height - x.shape[2])) for x in (out, shortcut))
        missing = out.shape[1] - shortcut.shape[1]
        return functional.relu(out + functional.pad(shortcut, (0, 0, 0, 0, 0, missing)))


class Stem(nn.Module):
    """Normalised images [B, 1 or 3, H, W] (see `samples.normalise`) to the first feature maps, [B, 32, 35, 35]."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 7, stride=2)
        self.register_buffer("mean", torch.tensor(INPUT_MEAN)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        pixels = ((images / 4 + 0.5) * 255).expand(-1, 3, -1, -1)
        if pixels.shape[2:] != INPUT_SIZE:
            pixels = functional.interpolate(pixels, INPUT_SIZE, mode="bilinear", align_corners=False, antialias=True)
        return functional.max_pool2d(functional.relu(self.conv((pixels - self.mean) / 256)), 3, 2)


class Embed(nn.Module):
    """Mean over space, then 256 to 128 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(256, WIDTH, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        return self.fc(maps.mean((2, 3)))


def weights_folder() -> Path:
    """Where the two weight files lie once they were fetched."""
    return data_folder() / "packages" / "face-api-1.7.15"


def have_weights() -> bool:
    """Whether the weights have been fetched."""
    return all((weights_folder() / "package" / "model" / name).is_file() for name in FILES)


def fetch_weights() -> Path:
    """Folder of the weights, fetched from npm if need be. Raises: DataError if npm fails or a checksum differs."""
    folder = weights_folder() / "package" / "model"
    if not have_weights():
        members = [f"package/model/{name}" for name in FILES]
        npm_package(NPM_PACKAGE, NPM_SHA256, *members, folder=weights_folder(), size="13 MB")
    for name, sha256 in FILES.items():
        check_file(folder / name, sha256)
    return folder


@cache
def published_tensors() -> dict[str, np.ndarray]:
    """The 117 tensors by name, float32; 8-bit ones are value · scale + min. Kernels are height × width × in × out."""
    folder = fetch_weights()
    manifest, binary = (folder / name for name in FILES)
    content, place, tensors = binary.read_bytes(), 0, {}
    for entry in json.loads(manifest.read_text(encoding="utf-8"))[0]["weights"]:
        small = entry.get("quantization")
        kind = np.dtype("uint8" if small else "<f4")
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(content, kind, count, place).astype(np.float32)
        place += count * kind.itemsize
        values = values * np.float32(small["scale"]) + np.float32(small["min"]) if small else values
        tensors[entry["name"]] = values.reshape(entry["shape"])
    return tensors


def _fill(layer: nn.Conv2d, tensors: Mapping[str, np.ndarray], name: str) -> None:
    """Convolution, factor and offset of each channel become one convolution.

    The factors are large (3 to 8): as parameters of their own they would make every step of training that much longer.
    """
    parts = ("conv/filters", "conv/bias", "scale/weights", "scale/biases")
    kernel, bias, factor, offset = (torch.from_numpy(np.ascontiguousarray(tensors[f"{name}/{part}"])) for part in parts)
    with torch.no_grad():
        layer.weight.copy_(kernel.permute(3, 2, 0, 1) * factor[:, None, None, None])
        assert layer.bias is not None
        layer.bias.copy_(bias * factor + offset)


def pretrained_layers(tensors: Mapping[str, np.ndarray] | None = None) -> list[nn.Module]:
    """Stem, the 14 blocks and the embedding layer, with the published weights (or with `tensors`, for tests)."""
    tensors = published_tensors() if tensors is None else tensors
    stem, embed = Stem(), Embed()
    _fill(stem.conv, tensors, "conv32_down")
    layers: list[nn.Module] = [stem]
    for name, inputs, outputs in BLOCKS:
        block = Block(name, inputs, outputs)
        for part in ("conv1", "conv2"):
            _fill(getattr(block, part), tensors, f"{name}/{part}")
        layers.append(block)
    with torch.no_grad():
        embed.fc.weight.copy_(torch.from_numpy(tensors["fc"].T.copy()))
    return [*layers, embed]


class Frozen:
    """The lower layers, which never change, and what they gave for each image so far.

    It is no module of its model: no optimiser or method can reach it, it is not stored with the model, and copies share
    it. An image is known by its bytes and computed on its own, so that its batch does not matter.
    """

    def __init__(self, layers: nn.Module) -> None:
        self.layers = layers.eval().requires_grad_(False)
        self.known: dict[bytes, Tensor] = {}

    def __deepcopy__(self, memo: Any) -> "Frozen":
        return self

    def __call__(self, images: Tensor) -> Tensor:
        if next(self.layers.parameters()).device != images.device:
            self.layers.to(images.device)
        if images.requires_grad:  # attacks and methods that look for images by their gradient
            return self.layers(images)
        return torch.stack([self._one(image) for image in images.detach()])

    def _one(self, image: Tensor) -> Tensor:
        key = hashlib.blake2b(image.contiguous().cpu().numpy().tobytes(), digest_size=16).digest()
        maps = self.known.get(key)
        if maps is None:
            with torch.inference_mode(False), torch.no_grad():  # what is kept must serve in training too
                maps = self.layers(image[None].clone())[0]
            if len(self.known) < CACHED_IMAGES:
                self.known[key] = maps
        return maps.to(image.device)


class Embedding(nn.Module):
    """The network with its lower part frozen, or one to share: features [B, 128] of normalised images."""

    def __init__(self, layers: list[nn.Module], trainable: int, frozen: Frozen | None = None) -> None:
        super().__init__()
        cut = cut_of(trainable)
        self.frozen = frozen or Frozen(nn.Sequential(*layers[:cut]))
        self.upper = nn.Sequential(*layers[cut:])

    def forward(self, images: Tensor) -> Tensor:
        return self.upper(self.frozen(images)) * FEATURE_SCALE


def cut_of(trainable: int) -> int:
    """How many of the 16 layers are frozen when `trainable` blocks are trained."""
    return STAGES + 1 - trainable if trainable else STAGES + 2


@cache
def published_frozen(trainable: int) -> Frozen:
    """The frozen part of the published network: one for all models of a process, so that each image is seen once."""
    return Frozen(nn.Sequential(*pretrained_layers()[: cut_of(trainable)]))


def face_embedding(
    input_shape: tuple[int, int, int],
    number_of_classes: int,
    trainable: int = TRAINABLE,
    tensors: Mapping[str, np.ndarray] | None = None,
) -> Classifier:
    """The pre-trained embedding and a new linear head over identities; images are scaled to 150×150.

    Args: trainable: how many of the 14 blocks, from the top, are trained, with the last layer; 0 is head-only
        forgetting. tensors: other weights than the published ones.
    Raises: ForgetError for a number out of range; DataError if the weights are not available.
    """
    if input_shape[0] not in (1, 3) or not 0 <= trainable <= STAGES:
        raise ForgetError(
            f"face_embedding takes 1 or 3 channels and trains 0 to {STAGES} blocks; got {input_shape}, {trainable}."
        )
    shared = published_frozen(trainable) if tensors is None else None
    return Classifier(Embedding(pretrained_layers(tensors), trainable, shared), WIDTH, number_of_classes)


def kind_of(name: str) -> str:
    """What the model of that name is, in words for titles: of which kind, and how much of it is trained."""
    if name not in PRETRAINED:
        return "trained from scratch on these people only"
    trained = PRETRAINED[name]
    return f"pre-trained, {trained} of {STAGES} blocks and the head trained" if trained else HEAD_ONLY


HEAD_ONLY = "pre-trained and frozen: head-only forgetting"
# face_embedding_head trains the head alone, face_embedding_2 the upper two blocks too, face_embedding four.
PRETRAINED = {"face_embedding": TRAINABLE, "face_embedding_head": 0}
PRETRAINED |= {f"face_embedding_{blocks}": blocks for blocks in range(1, STAGES + 1) if blocks != TRAINABLE}
for _name, _blocks in PRETRAINED.items():
    model(_name)(update_wrapper(partial(face_embedding, trainable=_blocks), face_embedding))
