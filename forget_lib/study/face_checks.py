"""Are the faces what they claim to be? Age can be told, people look like themselves most of all, no twins."""

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from forget_lib.core.errors import ForgetError
from forget_lib.datasets import ImageData, Samples
from forget_lib.datasets.face_table import RELATIONS, find_duplicates, perceptual_hashes, relations
from forget_lib.datasets.mufac import Table
from forget_lib.models.nets import Classifier, build
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import embed, predict, train
from forget_lib.statistics.intervals import bootstrap_interval, cluster_bootstrap, within

SIZE = 32
RECIPE = Recipe(epochs=6, batch_size=32, learning_rate=0.03)
SHOWN = ("person", "relative", "stranger")
DISTANCES = (0.0, 2.0)
"""What 1 - cosine can be."""


def small(images: Tensor) -> Tensor:
    """uint8 [N, C, H, W] scaled down to 32×32 by averaging, where they are larger."""
    if images.shape[2] <= SIZE:
        return images
    return functional.interpolate(images.float(), size=(SIZE, SIZE), mode="area").round().to(torch.uint8)


def _trained(images: Tensor, labels: Tensor, classes: int, seed: int) -> Classifier:
    net = build("small_cnn", tuple(images.shape[1:]), classes, seed)
    train(net, Samples(images, labels), RECIPE, seed)
    return net


def age_check(data: ImageData, seed: int = 0) -> pd.Series:
    """A small CNN trained on the pool tells the age class of the test set's families, none of which it saw.

    Returns: accuracy with low and high (95 %, families redrawn), the share of the most frequent class (what a constant
    answer reaches), the share within one class, images and families.
    Raises: ForgetError for data without families.
    """
    if data.test_families is None:
        raise ForgetError(f"{data.name} knows no families: there is no family to hold out.")
    net = _trained(small(data.images), data.labels, len(data.classes), seed)
    guess = predict(net, Samples(small(data.test_images), data.test_labels)).argmax(1)
    right = (guess == data.test_labels).double().numpy()
    families = data.test_families.numpy()
    interval = cluster_bootstrap(families, lambda rows: float(right[rows].mean()), seed=seed)
    near = float(((guess - data.test_labels).abs() <= 1).double().mean())
    common = float(data.test_labels.bincount().max() / len(data.test_labels))
    values = {"accuracy": interval.value, "low": interval.low, "high": interval.high, "most frequent class": common}
    counts = {"images": len(right), "families": interval.n}
    return pd.Series(values | {"within one class": near} | counts, name=data.label)


def relation_check(data: ImageData, seed: int = 0) -> pd.DataFrame:
    """Distances between images of a person, of relatives and of strangers, among families that the net never saw.

    The embedding is that of a small CNN trained to name the people of the pool; distance is 1 - cosine, in [0, 2].
    Returns: one row a relation: mean distance with low and high (95 %, over families), pairs, and in how many families
    person < relative < stranger.
    """
    known, people = data.people.unique(return_inverse=True)
    net = _trained(small(data.images), people, len(known), seed)
    features = functional.normalize(embed(net, Samples(small(data.test_images), data.test_labels)), dim=1)
    first, second, relation = relations(data.test_people, data.person_names)
    distance = (1 - (features[first] * features[second]).sum(1)).double().numpy()
    families = data.test_families[first].numpy()
    means = {}
    for name in SHOWN:
        of_relation = (relation == RELATIONS.index(name)).numpy()
        rows = pd.Series(distance[of_relation]).groupby(families[of_relation])
        means[name] = rows.mean()
    table = pd.DataFrame(means).dropna()
    ordered = int(((table["person"] < table["relative"]) & (table["relative"] < table["stranger"])).sum())
    found = []
    for name in SHOWN:
        interval = within(bootstrap_interval(table[name].to_numpy(), seed=seed), DISTANCES)
        pairs = int((relation == RELATIONS.index(name)).sum())
        found.append((interval.value, interval.low, interval.high, pairs, f"{ordered} of {len(table)}"))
    columns = ["mean distance", "low", "high", "pairs", "families in this order"]
    return pd.DataFrame(found, index=list(SHOWN), columns=columns)


def duplicate_check(table: Table, bits: tuple[int, ...] = (0, 4)) -> pd.DataFrame:
    """Near-duplicates by perceptual hash, and what the cleaned split keeps.

    Args: bits: in how many of the 64 bits two images may differ to count as the same.
    Returns: one row for each of `bits`: repeats within each part, matches between parts, images kept by part.
    """
    hashes = {part: perceptual_hashes(faces) for part, faces in table.parts.items()}
    rows = {}
    for allowed in bits:
        found = find_duplicates(table.parts, allowed, hashes)
        row = {f"within {part}": count for part, count in found.within.items()}
        row |= {f"{one} in {other}": count for (one, other), count in found.across.items()}
        rows[allowed] = row | {f"kept of {part}": len(kept) for part, kept in sorted(found.kept.items())}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("bits that may differ")


def sentences(age: pd.Series, near: pd.DataFrame | None, repeats: pd.DataFrame | None) -> list[str]:
    """What the checks say, computed from their tables."""
    chance = "far above" if age["low"] > 1.2 * age["most frequent class"] else "not clearly above"
    text = f"**{age.name}**: a small CNN tells the age class of {age['families']:.0f} families it never saw with"
    text += f" {age['accuracy']:.1%} (95 % interval {age['low']:.1%} to {age['high']:.1%}), {chance} the"
    text += (
        f" {age['most frequent class']:.1%} of a constant answer; {age['within one class']:.1%} are within one class."
    )
    found = [text]
    if near is not None:
        means = near["mean distance"]
        order = bool(np.all(np.diff(means.to_numpy()) > 0))
        shown = ", ".join(f"{name} {value:.2f}" for name, value in means.items())
        word = "grow" if order else "do **not** grow"
        where = near["families in this order"].iloc[0]
        found.append(f"Distances {word} from person to relative to stranger: {shown}; so in {where} families.")
    if repeats is not None:
        kept = [column for column in repeats if column.startswith("kept of")]
        for bits, row in repeats.iterrows():
            pairs = row.drop(kept)
            found.append(
                f"Near-duplicates at {bits} of 64 bits: {int(pairs.sum())}; kept {int(row[kept].sum())} images."
            )
    return found
