"""Data sets by name: `load("mnist", start="sample")` gives an `ImageData`."""

from forget_lib.datasets.image_data import ImageData
from forget_lib.datasets.registry import START_STEPS, dataset, list_datasets, load
from forget_lib.datasets.samples import Samples

__all__ = ["START_STEPS", "ImageData", "Samples", "dataset", "list_datasets", "load"]
