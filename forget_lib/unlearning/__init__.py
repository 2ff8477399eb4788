"""Methods of unlearning by name: `unlearn("scrub", model, task)`; each is in the file of its name.

Left out, since what is known does not settle how to write them: COLA, PURGE, DAMP, CoUn, NatMU, LoReUn, PIU-FR. Left
out for their cost or needs: SCAR (surrogate images), L2UL (attacks on many copies of each sample), the NTK variant of
Fisher forgetting (an inverse as large as data times classes), KDE and RNI (see `parts/winners`), ESC-T (learns a mask
for ESC).
"""

# ruff: noqa: F401 (what a method and its caller import from here)
from forget_lib.core.registry import source
from forget_lib.unlearning.registry import METHODS, get_method, list_methods, method, unlearn, why_not_applicable
from forget_lib.unlearning.task import Count, CountOrNone, Factor, Positive, Rate, Share, UnlearningTask, Weight
