"""Settings of the demo's page that are code; the others are in voila.json."""

import os


def as_fork(_request, notebook, cwd):  # the names are Voila's
    """Kernels are forks of a process that has imported the libraries, where there is one: see workflow.pages.warm."""
    if "FORGET_WARM" in os.environ:
        notebook.metadata.kernelspec["name"] = "warm"


c.VoilaConfiguration.prelaunch_hook = as_fork  # noqa: F821
