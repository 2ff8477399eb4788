"""Data sets by name: `load("mnist", start="sample")` gives an `ImageData`."""

import importlib
import pkgutil

from forget_lib.datasets.image_data import ImageData
from forget_lib.datasets.registry import dataset, list_datasets, load
from forget_lib.datasets.samples import Samples
from forget_lib.datasets.sources import START_STEPS

# Each module registers its data sets when it is imported; a new file is enough to add one.
for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["START_STEPS", "ImageData", "Samples", "dataset", "list_datasets", "load"]
