"""RUM. Paper: nothing, fine-tuning, SalUn, all of D_r."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from forget_lib.core.errors import ForgetError
from forget_lib.unlearning import Count, Share, UnlearningTask, get_method, method, source, unlearn
from forget_lib.unlearning.common import logits_of, random_part

NOTHING = "nothing"


def memorisation_of(model: nn.Module, task: UnlearningTask) -> tuple[Tensor, str]:
    """Scores of the forget samples, higher is more memorised, float [n], and where they are from.

    The task's scores; else 1 - mean confidence over the epochs of training from the log; else 1 - confidence of the
    original, the cheapest proxy (ours): what a model learns late or hardly has to be memorised.
    Raises: ForgetError for scores of another length.
    """
    if task.memorisation is not None:
        if task.memorisation.shape != (len(task.forget),):
            raise ForgetError(
                f"There are {tuple(task.memorisation.shape)} memorisation scores for {len(task.forget)} forget samples."
            )
        return task.memorisation.cpu(), "scores"
    if task.training_log is not None:
        return 1 - task.training_log.confidence_of(task.forget), "training log"
    probabilities = logits_of(model.eval(), task.forget).softmax(1)
    return 1 - probabilities.gather(1, task.forget.labels[:, None]).flatten().cpu(), "confidence"


def split_by(scores: Tensor, parts: int = 3) -> list[Tensor]:
    """Positions from the least to the most memorised in parts of equal size, each in the order of the samples."""
    return [part.sort().values for part in torch.tensor_split(scores.argsort(stable=True), parts)]


@method("rum", title="RUM", uses="forget, retain", family="meta-method")
@source("Zhao et al., NeurIPS 2024", arxiv="2406.01257", status="V")
def rum(
    model: nn.Module,
    task: UnlearningTask,
    *,
    low: str = NOTHING,
    middle: str = "finetune",
    high: str = "salun",
    epochs: Count = 1,
    retain_share: Share = 0.75,
) -> nn.Module:
    r"""Unlearn the least memorised third first, then the middle, then the most memorised, each by its own method.

    :math:`D_f = D_{low} \cup D_{mid} \cup D_{high}` by memorisation; step j starts from the model of step j - 1, and
    each has :math:`D_r = D \setminus D_f`, without any part of the forget set, or a random share of it.
    Settings: low, middle, high: methods by name, or "nothing". epochs of each that has such a setting.
    Raises: UnknownNameError; ForgetError for "rum" inside itself; NotApplicableError as the parts.
    """
    names = (low, middle, high)
    if "rum" in names:
        raise ForgetError("rum cannot be a part of itself; name another method.")
    settings = {name: get_method(name).settings.keys() & {"epochs"} for name in names if name != NOTHING}
    scores, _source = memorisation_of(model, task)
    for name, positions in zip(names, split_by(scores), strict=True):
        if name == NOTHING or len(positions) == 0:
            continue
        part = task.forget.subset(positions.to(task.forget.labels.device))
        kept = task.retain if retain_share == 1 else random_part(task, task.retain, retain_share)
        # Scores and log belong to the whole forget set and the original.
        own = replace(task, forget=part, retain=kept, memorisation=None, training_log=None)
        model = unlearn(name, model, own, **dict.fromkeys(settings[name], epochs))
    return model
