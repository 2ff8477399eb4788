"""Attack-and-Reset. The steps are the paper's, whose code is not public; score, share and noise are ours, and so is the
limit on the samples attacked, each of which costs all steps of PGD. torchunlearn's "ARU" is another method."""

import torch
from torch import Tensor, nn

from forget_lib.datasets.samples import Samples
from forget_lib.unlearning import Count, Rate, Share, UnlearningTask, method, source
from forget_lib.unlearning.common import frozen_copy, kernels, mean_gradient, random_part
from forget_lib.unlearning.finetune import finetune
from forget_lib.unlearning.parts.adversarial import harmful_noise

REACH, STEPS = 0.03, 3  # of the noise in pixel range 0 to 1, and of PGD
SAMPLES = 150  # attacked of each set, at most


def filter_scores(model: nn.Module, samples: Samples) -> dict[str, Tensor]:
    """‖∇ mean CE under harmful noise‖ of each filter of each trained convolution, by name of weight: [outputs]."""
    frozen = frozen_copy(model)

    def moved(images: Tensor, labels: Tensor) -> Tensor:
        return harmful_noise(frozen, images, labels, REACH, STEPS)

    gradients = mean_gradient(model, (1, samples), batch_size=256, moved=moved)
    return {name: gradients[name].flatten(1).norm(dim=1) for name in kernels(model, (nn.Conv2d,))}


@method(
    "attack_and_reset", title="Attack-and-Reset", uses="forget, retain", family="noise", needs=("trained convolution",)
)
@source("Jung et al., arXiv 2401.08998", arxiv="2401.08998", status="P")
def attack_and_reset(
    model: nn.Module, task: UnlearningTask, *, learning_rate: Rate = 0.02, epochs: Count = 1, share: Share = 0.2
) -> nn.Module:
    r"""Find the filters that an attack on the forget set works through, reset them, and repair on the retain set.

    :math:`x' = x + \delta`, :math:`\delta` by PGD on :math:`\max \mathcal{L}_{CE}`; filters are ranked by
    :math:`\|\nabla_{filter} \mathcal{L}_{CE}(x'_f)\| / \|\nabla_{filter} \mathcal{L}_{CE}(x'_r)\|` on as many retain as
    forget samples; the top share is drawn anew; then :math:`\min \mathcal{L}_{CE}(D_r)`.
    """
    count = min(SAMPLES, len(task.forget), len(task.retain))
    parts = (random_part(task, whole, count / len(whole)) for whole in (task.forget, task.retain))
    forget, retain = (filter_scores(model, part) for part in parts)
    ratios = {name: forget[name] / (retain[name] + 1e-8) for name in forget}
    flat = torch.cat(list(ratios.values()))
    limit = flat.topk(max(1, round(share * len(flat)))).values[-1]
    fresh = task.fresh_model(task.seed).to(task.device)
    with torch.no_grad():
        for name, ratio in ratios.items():
            weight = model.get_parameter(name)
            weight[ratio >= limit] = fresh.get_parameter(name).to(weight)[ratio >= limit]
    return finetune(model, task, learning_rate=learning_rate, epochs=epochs)
