"""Do nothing."""

from torch import nn

from forget_lib.unlearning import UnlearningTask, method


@method("do_nothing", title="Do nothing", uses="nothing", family="control", paper="control")
def do_nothing(model: nn.Module, task: UnlearningTask) -> nn.Module:
    r"""Keep the original model, :math:`\theta_u = \theta_0`: a measure content with it does not see forgetting."""
    return model
