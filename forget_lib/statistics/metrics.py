"""What is measured on a model: pure functions of logits and labels, and a few of models.

Logits are float [N, C] (tensor or array), labels int [N]. Ideal is the retrained model's value, unless said otherwise;
the floor is what a second retrained model scores; it is rarely 0 or 1, so it belongs beside every value.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.samples import normalise

Array = Tensor | np.ndarray


def _numpy(values: Array, what: str = "logits") -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if len(array) == 0:
        raise ForgetError(f"There are no {what} to measure: the set of samples is empty.")
    return array


def _pair(first: Array, second: Array) -> tuple[np.ndarray, np.ndarray]:
    one, two = (_numpy(part).astype(np.float64) for part in (first, second))
    if one.shape != two.shape:
        raise ForgetError(
            f"Two models must be compared on the same samples and classes; got {one.shape} and {two.shape}."
        )
    return one, two


def accuracy(logits: Array, labels: Array) -> float:
    """Share of samples whose largest logit is at the label, in [0, 1]; for random samples ideal near test accuracy.

    Weakness: says nothing of confidence; a masked logit gives 0 on a forgotten class and forgets nothing.
    """
    logits, labels = _numpy(logits), _numpy(labels)
    if len(logits) != len(labels):
        raise ForgetError(f"{len(logits)} rows of logits but {len(labels)} labels.")
    return float((logits.argmax(1) == labels).mean())


def per_class_accuracy(logits: Array, labels: Array) -> np.ndarray:
    """Accuracy of each class, float [C] in [0, 1]; NaN for a class without samples. Weakness: noisy for small ones."""
    logits, labels = _numpy(logits), _numpy(labels)
    right = (logits.argmax(1) == labels).astype(np.float64)
    classes = logits.shape[1]
    total = np.bincount(labels, minlength=classes).astype(np.float64)
    hits = np.bincount(labels, weights=right, minlength=classes)
    return np.divide(hits, total, out=np.full(classes, np.nan), where=total > 0)


def average_gap(values: dict[str, float], retrained: dict[str, float]) -> float:
    """Mean absolute gap over metrics (often forget, retain, test accuracy and an attack), in [0, 1]; ideal: the floor.

    Weakness: mixes scales, and ranks a method that does nothing high when the retain and test sets weigh two thirds.
    """
    if set(values) != set(retrained):
        raise ForgetError(f"Both models need the same metrics; differing: {sorted(set(values) ^ set(retrained))}.")
    return float(np.mean([abs(values[name] - retrained[name]) for name in values]))


def tug_of_war(values: dict[str, float], retrained: dict[str, float]) -> float:
    """ToW: product of 1 - |gap| of accuracy on "forget", "retain" and "test", in [0, 1]; ideal: the floor.

    Weakness: absolute gaps, so a second retrain is below 1. Source: Zhao et al., NeurIPS 2024.
    """
    return float(np.prod([1 - abs(values[part] - retrained[part]) for part in ("forget", "retain", "test")]))


def nomus(test_accuracy: float, attack_accuracy: float) -> float:
    """NoMUS: (P + 1 - 2 |mu - 0.5|) / 2 in [0, 1], P test accuracy, mu accuracy of the loss attack; ideal 1.

    Weakness: P is not compared with the retrained model's, so a method that does nothing can win. Source: MUFAC.
    """
    return (test_accuracy + 1 - 2 * abs(attack_accuracy - 0.5)) / 2


def completeness(logits: Array, reference_logits: Array) -> float:
    """Share of samples on which two models predict the same class, in [0, 1]; ideal: that of two retrained models,
    which is not 1. Source: Cao & Yang, S&P 2015."""
    one, two = _pair(logits, reference_logits)
    return float((one.argmax(1) == two.argmax(1)).mean())


def activation_distance(logits: Array, reference_logits: Array) -> float:
    """Mean over samples of the L2 distance of the two predictions, in [0, sqrt 2]; ideal: that of two retrained models.

    The mean of norms, not the root of the mean squared norm that some code reports. Source: Golatkar et al. 2021;
    Chundawat et al., AAAI 2023.
    """
    one, two = _pair(logits, reference_logits)
    return float(np.linalg.norm(softmax(one, axis=1) - softmax(two, axis=1), axis=1).mean())


def js_divergence(logits: Array, reference_logits: Array) -> float:
    r"""Mean Jensen-Shannon divergence in nats, in [0, ln 2]; ideal: that of two retrained models.

    :math:`\tfrac12 KL(p \| m) + \tfrac12 KL(q \| m),\ m = (p + q) / 2`, averaged over samples only. Some public code
    computes KL(m‖p) averaged over classes too: C times smaller and reversed, not comparable. Weakness: blind to rank.
    """
    one, two = _pair(logits, reference_logits)
    log_p, log_q = log_softmax(one, axis=1), log_softmax(two, axis=1)
    log_m = np.logaddexp(log_p, log_q) - math.log(2)
    each = (np.exp(log_p) * (log_p - log_m) + np.exp(log_q) * (log_q - log_m)).sum(axis=1) / 2
    return float(np.clip(each, 0, math.log(2)).mean())


def linear_cka(features: Array, reference_features: Array) -> float:
    r"""Linear CKA of two feature matrices [N, D1], [N, D2] on the same samples, in [0, 1]; 1: equal up to rotation.

    :math:`\|Y^\top X\|_F^2 / (\|X^\top X\|_F \|Y^\top Y\|_F)` with centred columns. Ideal: that of two retrained
    models. Weakness: biased upwards when N is not much larger than D, and ruled by the leading components.
    Source: Kornblith et al., ICML 2019.
    """
    x, y = (_numpy(part, "features").astype(np.float64) for part in (features, reference_features))
    if len(x) != len(y):
        raise ForgetError(f"CKA needs the same samples on both sides; got {len(x)} and {len(y)}.")
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    if len(x) < min(x.shape[1], y.shape[1]):  # the same number from [N, N] matrices, which are smaller here
        gram_x, gram_y = x @ x.T, y @ y.T
        shared, own = (gram_x * gram_y).sum(), np.linalg.norm(gram_x) * np.linalg.norm(gram_y)
    else:
        shared, own = np.linalg.norm(y.T @ x) ** 2, np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    if own == 0:
        raise ForgetError("CKA is not defined for constant features.")
    return float(shared / own)


@torch.inference_mode()
def layer_activations(model: nn.Module, images: Tensor) -> dict[str, np.ndarray]:
    """Output of every leaf layer with weights, by name, [N, D]; maps [N, C, H, W] are averaged over space.

    images: uint8 [N, C, H, W]. The model is used in eval mode and its mode put back.
    """
    outputs: dict[str, np.ndarray] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            pooled = output.mean(dim=(2, 3)) if output.ndim == 4 else output.flatten(1)
            outputs[name] = pooled.float().cpu().numpy()

        return hook

    layers = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    hooks = [part.register_forward_hook(keep(name)) for name, part in layers]
    mode = model.training
    try:
        model.eval()(normalise(images.to(next(model.parameters()).device)))
    finally:
        model.train(mode)
        for hook in hooks:
            hook.remove()
    return outputs


def cka_by_layer(model: nn.Module, reference: nn.Module, images: Tensor) -> dict[str, float]:
    """Linear CKA between the same layers of two models of one architecture, in order."""
    one, two = layer_activations(model, images), layer_activations(reference, images)
    if list(one) != list(two):
        raise ForgetError("CKA by layer compares two models of the same architecture; their layers differ.")
    return {name: linear_cka(one[name], two[name]) for name in one}


def anamnesis_index(steps: float, retrained_steps: float) -> float:
    """AIN: relearning steps relative to the retrained model's, >= 0; ideal 1; far less: residual knowledge, far more:
    over-forgetting. Weakness: a ratio of small counts. Source: Chundawat et al. 2023."""
    if retrained_steps <= 0:
        raise ForgetError("AIN needs a retrained model that has to relearn; it reached the target without a step.")
    return steps / retrained_steps


def margin_divergence(family: Array, reference_family: Array) -> np.ndarray:
    r"""KLoM with normal margins: per sample, KL of :math:`\phi` under N unlearned and M retrained models, nats >= 0.

    family: margins [N, n] of models of one method, reference_family [M, n] of retrained ones -> [n]. Report quantiles.
    Weakness: needs families, and assumes normal margins. Source: Georgiev et al. 2024.
    """
    one, two = np.asarray(family, dtype=np.float64), np.asarray(reference_family, dtype=np.float64)
    if min(len(one), len(two)) < 4:
        raise ForgetError(f"KLoM needs at least 4 models a side, got {len(one)} and {len(two)}.")
    spread_one, spread_two = (np.maximum(part.std(axis=0, ddof=1), 1e-3) for part in (one, two))
    shift = one.mean(axis=0) - two.mean(axis=0)
    return np.log(spread_two / spread_one) + (spread_one**2 + shift**2) / (2 * spread_two**2) - 0.5


def dominated(values: np.ndarray) -> np.ndarray:
    """Rows (float [n, d], small is good) that another row beats: as good everywhere and better somewhere; bool [n]."""
    no_worse = (values[:, None, :] >= values[None, :, :]).all(axis=2)
    beaten = no_worse & (values[:, None, :] > values[None, :, :]).any(axis=2)
    return np.any(beaten, axis=1)
