"""SCRUB."""

from torch import nn

from forget_lib.unlearning.parts.distillation import _scrub
from forget_lib.unlearning.registry import method
from forget_lib.unlearning.task import UnlearningTask


@method("scrub", title="SCRUB", paper="Kurmanji et al., NeurIPS 2023", uses="forget, retain", family="distillation")
def scrub(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: float = 5e-4,
    epochs: int = 3,
    max_epochs: int = 2,
    alpha: float = 0.5,
    gamma: float = 1.0,
    temperature: float = 4.0,
    forget_batch_size: int = 32,
) -> nn.Module:
    r"""Move away from the original on the forget set and stay near it on the retain set, in turns.

    With :math:`d(x) = T^2 KL(p_{\theta_0}(x; T) \| p_\theta(x; T))`: in each of the first `max_epochs` epochs one
    pass over the forget set that minimises :math:`-d(x_f)`; in every epoch one pass over the retain set that
    minimises :math:`\gamma \mathcal{L}_{CE}(x_r) + \alpha d(x_r)`. The rate is a tenth after the third epoch.
    Status V. LoTUS's SCRUB trains a copy and returns the original; torchunlearn's README row is a diverged run.
    Neither is an anchor.
    Args: learning_rate: of SGD (> 0). epochs (>= 1). max_epochs: epochs with a forget pass (>= 0). alpha, gamma:
        weights (>= 0). temperature (> 0). forget_batch_size: smaller batches, more steps away (>= 1).
    Raises: ForgetError for settings out of range; DivergedError.
    """
    settings = {"learning_rate": learning_rate, "epochs": epochs, "max_epochs": max_epochs, "alpha": alpha}
    settings |= {"gamma": gamma, "temperature": temperature, "forget_batch_size": forget_batch_size}
    for _ in _scrub(model, task, **settings):
        pass
    return model
