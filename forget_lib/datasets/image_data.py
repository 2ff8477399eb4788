"""The one form that every data set takes: uint8 tensors in memory, with their origin and checksum."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from forget_lib.core.errors import DataError, first_few
from forget_lib.core.names import composed

DEFAULT_HELD_OUT = MappingProxyType({"validation": 0.1, "unseen": 0.1, "population": 0.05})


class Trait(NamedTuple):
    """Names of the values, and the value of each image, int64 [N], of the pool and of the test set."""

    names: tuple[str, ...]
    pool: Tensor
    test: Tensor


@dataclass(frozen=True)
class ImageData:
    """Images and labels of one data set.

    Attributes:
        name, title: the registered name and the name for people.
        images: uint8 [N, C, H, W], the training pool; forget, retain, validation, unseen and population come from it.
        labels: int64 [N], class indices.
        test_images, test_labels: the same for the test set, which only the final evaluation sees.
        classes: name of each class, in Unicode's composed form, as all names here are.
        source: which step of the data chain the bytes came from.
        checksum: SHA-256 (hex) over all arrays, see `checksum_of`.
        synthetic, sampled: rendered images; an embedded sample and not the whole set. Shown wherever the data are.
        public: people are known but not seen (who wrote a digit): pages may show the images, and only requests for a
            person go by people.
        people, families: int64 [N] ids into `person_names` and `family_names`, or None; the same for the test set. Who
            shares an image is one, see `linked`. aliases: for person and family, each name that went and the one that
            it goes by.
        traits: what else is known of each image, such as the ethnic group, by what it is called.
        sexes: int64 [N], 0 female, 1 male, 2 not known, or None. official: int64 indices into the pool that a published
            benchmark forgets, or None.
        drawn_as: name by which random sets are drawn, if not `name`: a user's data keep their sets when they are moved.
        held_out: share of the pool that goes to validation, unseen and population (EVALUATION.md 0).
        notes: what a reader of results must know of the images, such as copies in training and test set; for records.
        files, test_files: path of each image within `folder`, or its row; empty where the images are no user's own.
        caches: what the names of all caches of a user's own images begin with; empty where none are made.
    """

    name: str
    title: str
    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    source: str
    checksum: str
    synthetic: bool = False
    sampled: bool = False
    public: bool = False
    people: Tensor | None = None
    families: Tensor | None = None
    test_people: Tensor | None = None
    test_families: Tensor | None = None
    person_names: tuple[str, ...] = ()
    family_names: tuple[str, ...] = ()
    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sexes: Tensor | None = None
    traits: Mapping[str, Trait] = field(default_factory=dict)
    official: Tensor | None = None
    drawn_as: str = ""
    held_out: Mapping[str, float] = field(default_factory=lambda: DEFAULT_HELD_OUT)
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()
    folder: str = ""
    caches: str = ""

    def __post_init__(self) -> None:
        for attribute in ("classes", "person_names", "family_names"):
            given = getattr(self, attribute)
            names = tuple(map(composed, given))
            if len(set(names)) < len(set(given)):
                twice = [name for name, number in Counter(names).items() if number > 1]
                raise DataError(f"{self.name}: {first_few(twice)} stands there twice, in two spellings of Unicode.")
            object.__setattr__(self, attribute, names)
        pairs = {"training": (self.images, self.labels), "test": (self.test_images, self.test_labels)}
        for part, (images, labels) in pairs.items():
            if images.ndim != 4 or str(images.dtype) != "torch.uint8" or len(images) != len(labels):
                raise DataError(
                    f"{self.name}: the {part} images must be uint8 [N, C, H, W] with one label each; got "
                    f"{images.dtype} {tuple(images.shape)} and {len(labels)} labels."
                )
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(self.classes):
                raise DataError(f"{self.name}: the {part} labels must lie in 0..{len(self.classes) - 1}.")

    @classmethod
    def split(cls, is_test: Tensor, rows: Mapping[str, Tensor | None], **about: Any) -> "ImageData":
        """The rows for which `is_test` (bool [N]) is true become the test set, all others the pool.

        Args: rows: images and labels, and where they are known people and families, each [N, …]. about: all else.
        """
        for name, values in rows.items():
            if values is not None:
                about |= {name: values[~is_test], f"test_{name}": values[is_test]}
        return cls(**about)

    @property
    def private(self) -> bool:
        """Whether the images show real people, or are a user's own: no page shows them."""
        of_people = self.people is not None or bool(self.traits)
        return not self.synthetic and not self.public and (of_people or bool(self.files))

    @property
    def label(self) -> str:
        """Title with what a reader must know about the data, for figures and tables."""
        marks = [word for word, true in (("synthetic", self.synthetic), ("sample", self.sampled)) if true]
        return f"{self.title} ({', '.join(marks)})" if marks else self.title


def checksum_of(*tensors: Tensor) -> str:
    """SHA-256 (hex) over dtype, shape and bytes of the tensors, in order."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()
