"""Methods of unlearning by name: `unlearn("scrub", model, task)`; each is in the file of its name.

Left out, since what is known of them does not settle how to write them, or their cost is not within a fifth of a
retraining: COLA, REM, PURGE, DAMP, CMF, CoUn, NatMU, LoReUn, PIU-FR and UAM (known from abstracts or from a part of
their code), MU-Mis (a second derivative a sample, stopped early by a rule that is not specified), SCAR (needs surrogate
images from elsewhere), L2UL (a hundred attack steps for each of many copies of each forget sample), the NTK variant of
Fisher forgetting (an inverse as large as data times classes), KDE and RNI of the
NeurIPS 2023 challenge (see `parts/winners`).
"""

from forget_lib.core.registry import source
from forget_lib.unlearning.registry import (
    METHODS,
    Method,
    get_method,
    list_methods,
    method,
    unlearn,
    why_not_applicable,
)
from forget_lib.unlearning.task import UnlearningTask

__all__ = [
    "METHODS",
    "Method",
    "UnlearningTask",
    "get_method",
    "list_methods",
    "method",
    "source",
    "unlearn",
    "why_not_applicable",
]
