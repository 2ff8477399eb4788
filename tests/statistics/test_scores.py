"""Numbers read off logits against hand values."""

import math

import numpy as np
import pytest
from scipy.special import softmax

from forget_lib.statistics import scores

LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.5], [0.0, 0.0, 2.0]])
LABELS = np.array([0, 1, 1, 2])
THIRDS = np.log([[0.5, 0.25, 0.25], [0.2, 0.7, 0.1]])
"""Logits whose probabilities can be read."""


def test_loss_and_entropy_by_hand():
    assert scores.cross_entropy(THIRDS, np.array([1, 1])) == pytest.approx([math.log(4), -math.log(0.7)])
    assert scores.entropy(THIRDS)[0] == pytest.approx(1.5 * math.log(2))
    assert scores.entropy(THIRDS)[1] == pytest.approx(-sum(p * math.log(p) for p in (0.2, 0.7, 0.1)))


def test_scores_of_several_models_are_those_of_each():
    """A family [models, samples, classes] gives [models, samples]."""
    family = np.stack([THIRDS, THIRDS[::-1] + 3])
    for score in (scores.cross_entropy, scores.phi, scores.modified_entropy):
        each = np.stack([score(model, np.array([0, 2])) for model in family])
        assert score(family, np.array([0, 2])) == pytest.approx(each)
    assert scores.entropy(family) == pytest.approx(np.stack([scores.entropy(model) for model in family]))
    assert scores.true_class(family, np.array([0, 2])).tolist() == family[:, [0, 1], [0, 2]].tolist()


def test_phi_leaves_its_logits_as_they_are():
    logits = THIRDS.copy()
    scores.phi(logits, np.array([0, 1]))
    assert (logits == THIRDS).all()


def test_phi_is_the_log_odds_and_stable():
    p = softmax(LOGITS, axis=1)[np.arange(4), LABELS]
    assert scores.phi(LOGITS, LABELS) == pytest.approx(np.log(p / (1 - p)))
    assert scores.phi(np.array([[40.0, 0.0], [0.0, 90.0]]), np.array([0, 0])).tolist() == [40.0, -50.0]


def test_modified_entropy_by_hand():
    p = softmax(LOGITS[:1], axis=1)[0]
    for label in range(3):
        others = sum(p[j] * math.log(1 - p[j]) for j in range(3) if j != label)
        expected = -(1 - p[label]) * math.log(p[label]) - others
        assert scores.modified_entropy(LOGITS[:1], np.array([label]))[0] == pytest.approx(expected)
    assert np.isfinite(scores.modified_entropy(np.array([[900.0, 0.0]]), np.array([1]))).all()


def test_modified_entropy_stays_exact_where_one_class_takes_all():
    """With p_y = 1 - q, q = exp(-40): the label alone is (nearly) 0, another label pays the whole loss."""
    found = scores.modified_entropy(np.array([[40.0, 0.0], [40.0, 0.0]]), np.array([0, 1]))
    q = math.exp(-40)
    # Right: -(q) log(1 - q) - q log(1 - q) = 2 q². Wrong: -(1 - q) log q - (1 - q) log q = 80.
    assert found[0] == pytest.approx(2 * q**2, abs=1e-30)
    assert found[1] == pytest.approx(80.0)
