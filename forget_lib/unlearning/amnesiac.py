"""Amnesiac. The name also stands for relabelling in the literature: see random_label."""

import torch
from torch import nn

from forget_lib.unlearning import CountOrNone, Rate, UnlearningTask, method, source
from forget_lib.unlearning.common import trained_weights
from forget_lib.unlearning.finetune import finetune


@method("amnesiac", title="Amnesiac", uses="training log, retain", family="recorded updates", needs=("training log",))
@source("Graves et al., AAAI 2021", arxiv="2010.10981", status="V")
def amnesiac(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.01, epochs: CountOrNone = 2
) -> nn.Module:
    r"""Subtract the recorded updates of all batches that held a forget sample, then repair on the retain set.

    :math:`\theta \leftarrow \theta_0 - \sum_{b \ni D_f} \Delta_b`, :math:`\Delta_b = \theta_{after} - \theta_{before}`
    of batch b in the original training; then :math:`\min_\theta \mathcal{L}_{CE}(D_r)`, for `epochs`. Batch-norm
    statistics are not recorded, the repair renews them. Where nearly every batch held a forget sample, as for a class,
    this undoes nearly all training. Needs a log of this very request (`models.log.logged_training`).
    Raises: ForgetError for a log that is cut short, of another model or of other samples.
    """
    log = task.training_log
    assert log is not None  # see `needs`
    log.check(model, task.forget)
    with torch.no_grad():  # in double precision, rounded once
        for name, parameter in trained_weights(model).items():
            parameter.copy_((parameter.double() - log.update[name].to(parameter.device)).to(parameter.dtype))
    return finetune(model, task, learning_rate=learning_rate, epochs=epochs) if epochs else model
