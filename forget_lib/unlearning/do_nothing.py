"""Do nothing."""

from torch import nn

from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method("do_nothing", title="Do nothing", paper="control", uses="nothing", family="control", control=True)
def do_nothing(model: nn.Module, task: UnlearningTask) -> nn.Module:
    r"""Keep the original model: :math:`\theta_u = \theta_0`. A measure that this row satisfies does not see
    forgetting.
    """
    return model
