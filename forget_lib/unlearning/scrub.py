"""SCRUB. As in meghdadk/SCRUB, but the statistics of batch norm stay in passes over the forget set (there train mode),
and the defaults are of several of its rows. LoTUS's SCRUB trains a copy and returns the original; torchunlearn's README
row is a diverged run. Neither is an anchor."""

from torch import nn

from forget_lib.unlearning import Count, CountOrNone, Factor, Positive, Rate, UnlearningTask, method, source
from forget_lib.unlearning.parts.distillation import scrub_epochs


@method("scrub", title="SCRUB", uses="forget, retain", family="distillation", version=2)
@source("Kurmanji et al., NeurIPS 2023", arxiv="2302.09880", status="V")
def scrub(
    model: nn.Module,
    task: UnlearningTask,
    *,
    learning_rate: Rate = 5e-4,
    epochs: Count = 3,
    max_epochs: CountOrNone = 2,
    alpha: Factor = 0.5,
    gamma: Factor = 1.0,
    temperature: Positive = 4.0,
    forget_batch_size: Count = 32,
) -> nn.Module:
    r"""Move away from the original on the forget set and stay near it on the retain set, in turns.

    With :math:`d(x) = T^2 KL(p_{\theta_0}(x; T) \| p_\theta(x; T))`: in each of the first `max_epochs` epochs one pass
    over the forget set that minimises :math:`-d(x_f)`; in every epoch one pass over the retain set that minimises
    :math:`\gamma \mathcal{L}_{CE}(x_r) + \alpha d(x_r)`. The rate falls to a tenth after epochs 3, 5 and
    9.
    """
    rates = (learning_rate, alpha, gamma, temperature)
    for _ in scrub_epochs(model, task, epochs, max_epochs, *rates, forget_batch_size):
        pass
    return model
