"""People and families that share an image are one: of a forgotten person no copy stays behind under another name, and
what is held out as unseen was not trained on under another name."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from forget_lib.datasets.image_data import ImageData

BITS = 2
"""Perceptual hashes (64 bits) that differ in at most so many are of one photograph. At 4, chains join strangers."""
BLOCK = 1024
NO_PAIRS = torch.zeros(0, 2, dtype=torch.int64)


class Linked(NamedTuple):
    """Ids int64 [N] into the `names` that are left, and for each name that went the one that it goes by now."""

    ids: Tensor
    names: tuple[str, ...]
    aliases: dict[str, str]


def link(ids: Tensor, names: Sequence[str], pairs: Tensor) -> Linked:
    """Makes those who share an image one, under the first of their names; sharing is passed on (A with B, B with C).

    Args: ids: int64 [N] into `names`, one an image. pairs: int64 [M, 2], images that show one photograph.
    """
    one, other = ids[pairs].T.numpy()
    links = coo_matrix((np.ones(len(pairs)), (one, other)), shape=(len(names), len(names)))
    groups = connected_components(links, directed=False)[1]
    first = pd.Series(range(len(names))).groupby(groups).transform("min").to_numpy()
    stay, places = np.unique(first, return_inverse=True)
    aliases = {names[index]: names[head] for index, head in enumerate(first) if index != head}
    return Linked(torch.from_numpy(places)[ids], tuple(names[index] for index in stay), aliases)


def link_names(names: Sequence[str] | pd.Series, pairs: Tensor) -> Linked:
    """`link` for one name an image; names are numbered in their order."""
    ids, known = pd.factorize(np.asarray(names), sort=True)
    return link(torch.from_numpy(ids), tuple(map(str, known)), pairs)


def same_pixels(images: Tensor) -> Tensor:
    """int64 [M, 2]: every image (of uint8 [N, C, H, W]) that is the same to the bit as one before it, after the first
    of those."""
    first_of: dict[bytes, int] = {}
    pairs = []
    for index, image in enumerate(images.numpy()):
        first = first_of.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), index)
        if first != index:
            pairs.append((first, index))
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


def alike(hashes: np.ndarray, bits: int = BITS) -> Tensor:
    """int64 [M, 2]: all pairs, the smaller index first, of hashes (bool [N, 64]) that differ in at most `bits` bits."""
    codes = torch.from_numpy(hashes).float()
    ones = codes.sum(1)
    pairs = [NO_PAIRS]
    for start in range(0, len(codes), BLOCK):
        block = slice(start, start + BLOCK)
        distances = ones[block, None] + ones - 2 * codes[block] @ codes.T
        pairs.append((distances <= bits + 0.5).nonzero() + torch.tensor([start, 0]))
    both = torch.cat(pairs)
    return both[both[:, 0] < both[:, 1]]


def one_of_each(pairs: Tensor, order: Sequence[int]) -> Tensor:
    """bool [N]: images of which no two are a pair, taken in this order; each that is left out is like one of them."""
    near: dict[int, list[int]] = {}
    for one, other in pairs.tolist():
        near.setdefault(one, []).append(other)
        near.setdefault(other, []).append(one)
    stays = torch.zeros(len(order), dtype=torch.bool)
    for index in order:
        stays[index] = not any(stays[other] for other in near.get(index, ()))
    return stays


def people_linked(data: ImageData) -> ImageData:
    """The same data with people linked who share an image to the bit, in the pool or the test set."""
    assert data.people is not None
    assert data.test_people is not None
    pairs = same_pixels(torch.cat([data.images, data.test_images]))
    found = link(torch.cat([data.people, data.test_people]), data.person_names, pairs)
    people, test_people = found.ids.split([len(data.people), len(data.test_people)])
    aliases = {**data.aliases, "person": found.aliases}
    return replace(data, people=people, test_people=test_people, person_names=found.names, aliases=aliases)
