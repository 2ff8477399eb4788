"""Labeled Faces in the Wild: press photographs, by scikit-learn's fetcher; never part of the repository."""

import numpy as np
import pandas as pd
import torch

from forget_lib.core.errors import DataError
from forget_lib.core.paths import data_folder, one_line
from forget_lib.datasets.image_data import ImageData, checksum_of
from forget_lib.datasets.linked import people_linked
from forget_lib.datasets.registry import dataset
from forget_lib.datasets.sources import first_that_works, impatient
from forget_lib.datasets.stored import LOCAL_TITLE

MIN_IMAGES = 20  # of a person
SIZE = 64
TEST_EVERY = 4  # every fourth image of a person is a test image
FACE = (slice(70, 195), slice(62, 187))  # a square around the face in the funnelled images of 250×250


@dataset("lfw")
def lfw(start: str = "local") -> ImageData:
    """People with at least 20 images (62 people, about 3,000 images), uint8 [N, 3, 64, 64], class = person.

    Source: G. Huang, M. Ramesh, T. Berg, E. Learned-Miller, "Labeled faces in the wild", 2007.
    Raises: DataError where the files are not there and the host of scikit-learn's fetcher is out of reach.
    """
    steps = [
        ("local", LOCAL_TITLE, lambda: _people(download=False)),
        ("official", "scikit-learn's LFW fetcher", lambda: _people(download=True)),
    ]
    (images, people, names), source = first_that_works("lfw", steps, start)
    number = torch.from_numpy(
        pd.Series(people.numpy()).groupby(people.numpy()).cumcount().to_numpy()
    )  # within a person
    data = ImageData.split(
        number % TEST_EVERY == TEST_EVERY - 1,
        {"images": images, "labels": people, "people": people},
        name="lfw",
        title="LFW",
        classes=names,
        person_names=names,
        source=source,
        checksum=checksum_of(images, people),
    )
    return people_linked(data)


def _people(*, download: bool) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    from sklearn.datasets import fetch_lfw_people

    try:
        with impatient():
            found = fetch_lfw_people(
                data_home=str(data_folder() / "lfw"),
                min_faces_per_person=MIN_IMAGES,
                color=True,
                slice_=FACE,
                resize=SIZE / 125,
                download_if_missing=download,
                n_retries=1,
                delay=0,
            )
    except OSError as error:
        if not download:
            raise DataError("nothing in data/lfw") from error
        raise DataError(f"its host is out of reach ({one_line(error)})") from error
    images = np.asarray(found.images)
    images = images * 255 if images.max() <= 1 else images  # older versions of scikit-learn give 0..255
    pixels = torch.from_numpy(np.round(images).astype(np.uint8)).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.from_numpy(found.target.astype(np.int64)), tuple(str(name) for name in found.target_names)
