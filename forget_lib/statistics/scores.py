"""Numbers that attacks read off logits; all in float64, never through float32 probabilities."""

import numpy as np
from scipy.special import log_softmax, logsumexp

PHI_LIMIT = 50.0


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Loss -log p_y of each sample, nats, >= 0. logits [..., n, C], labels int [n] -> [..., n]."""
    return -true_class(log_softmax(np.asarray(logits, dtype=np.float64), axis=-1), labels)


def true_class(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The entry of each sample's own label. values [..., n, C], labels int [n] -> [..., n]."""
    return values[..., np.arange(len(labels)), labels]


def phi(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    r"""Logit margin :math:`\phi = \log(p_y / (1 - p_y)) = z_y - \mathrm{logsumexp}_{j \ne y} z_j`, clipped to +-50.

    Stable: 1 - p_y is never formed. Roughly normal over models, which is why LiRA uses it.
    logits [..., n, C], labels int [n] -> float64 [..., n].
    """
    others = np.array(logits, dtype=np.float64)
    own = true_class(others, labels).copy()
    others[..., np.arange(len(labels)), labels] = -np.inf
    return np.clip(own - logsumexp(others, axis=-1), -PHI_LIMIT, PHI_LIMIT)


def entropy(logits: np.ndarray) -> np.ndarray:
    """Entropy of the prediction, nats, in [0, ln C]. logits [..., n, C] -> [..., n]."""
    log_p = log_softmax(np.asarray(logits, dtype=np.float64), axis=-1)
    return -(np.exp(log_p) * log_p).sum(axis=-1)


def modified_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    r"""Modified entropy of Song & Mittal, nats, >= 0; 0 when all mass is on the label.

    .. math:: -(1-p_y) \log p_y - \sum_{j \ne y} p_j \log(1 - p_j)

    Each row uses its *own* label only, and log(1 - p), two things that some public code gets wrong.
    """
    log_p = log_softmax(np.asarray(logits, dtype=np.float64), axis=-1)
    p = np.exp(log_p)
    own = true_class(p, labels)
    # Where one class takes all, log(1 - p) is summed from the others so as not to underflow.
    rest = p * np.log(np.maximum(_complement(log_p), 1e-300))
    return -(1 - own) * true_class(log_p, labels) - (rest.sum(axis=-1) - true_class(rest, labels))


def _complement(log_p: np.ndarray) -> np.ndarray:
    """1 - p_j as the sum over the other classes, exact near p_j = 1. Shape as given."""
    p = np.exp(log_p)
    classes = p.shape[-1]
    return np.stack([np.delete(p, j, axis=-1).sum(axis=-1) for j in range(classes)], axis=-1)
