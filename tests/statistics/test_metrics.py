"""Metrics against hand values, scipy and torchmetrics, and within their stated ranges."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from torchmetrics.functional.classification import multiclass_accuracy

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.samples import normalise
from forget_lib.models.nets import build
from forget_lib.statistics import metrics, scores

LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 0.5], [0.0, 0.0, 2.0]])
LABELS = np.array([0, 1, 1, 2])


def random_logits(seed, samples=20, classes=4):
    return np.random.default_rng(seed).normal(0, 3, (samples, classes))


def test_accuracy_and_accuracy_per_class():
    assert metrics.accuracy(LOGITS, LABELS) == 0.75
    assert metrics.accuracy(torch.tensor(LOGITS), torch.tensor(LABELS)) == 0.75
    assert metrics.per_class_accuracy(LOGITS, LABELS).tolist() == [1.0, 0.5, 1.0]
    logits, labels = random_logits(0, 200), np.random.default_rng(1).integers(0, 4, 200)
    expected = multiclass_accuracy(torch.tensor(logits), torch.tensor(labels), 4, average=None)
    assert metrics.per_class_accuracy(logits, labels) == pytest.approx(expected.numpy())


def test_a_class_without_samples_is_not_a_number():
    assert math.isnan(metrics.per_class_accuracy(LOGITS[:1], LABELS[:1])[2])
    with pytest.raises(ForgetError, match="empty"):
        metrics.accuracy(LOGITS[:0], LABELS[:0])
    with pytest.raises(ForgetError, match="labels"):
        metrics.accuracy(LOGITS, LABELS[:2])


def test_gaps_and_scores_by_hand():
    values, oracle = {"forget": 0.9, "retain": 1.0, "test": 0.8}, {"forget": 0.7, "retain": 0.9, "test": 0.9}
    assert metrics.tug_of_war(values, oracle) == pytest.approx(0.8 * 0.9 * 0.9)
    assert metrics.tug_of_war(oracle, oracle) == 1
    assert metrics.average_gap(values, oracle) == pytest.approx(0.4 / 3)
    assert metrics.nomus(0.5951, 0.7136) == pytest.approx(0.5839, abs=1e-4)  # MUFAC's published original model
    assert metrics.nomus(0.488, 0.5445) == pytest.approx(0.6995, abs=1e-4)  # and its retrained one
    with pytest.raises(ForgetError, match="test"):
        metrics.average_gap(values, {"forget": 1.0, "retain": 1.0})


def test_distances_between_predictions():
    one, two = random_logits(2), random_logits(3)
    p, q = softmax(one, axis=1), softmax(two, axis=1)
    assert metrics.js_divergence(one, two) == pytest.approx(np.mean(jensenshannon(p, q, axis=1) ** 2))
    assert metrics.activation_distance(one, two) == pytest.approx(np.mean(np.sqrt(((p - q) ** 2).sum(1))))
    assert metrics.completeness(one, two) == np.mean(one.argmax(1) == two.argmax(1))
    with pytest.raises(ForgetError, match="same samples"):
        metrics.js_divergence(one, two[:3])


def test_js_divergence_reaches_its_bounds():
    sure = np.array([[500.0, 0.0], [0.0, 500.0]])
    assert metrics.js_divergence(sure, sure) == 0
    assert metrics.js_divergence(sure, sure[::-1]) == pytest.approx(math.log(2))
    assert metrics.activation_distance(sure, sure[::-1]) == pytest.approx(math.sqrt(2))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 50))
def test_metrics_stay_within_range_and_ignore_order(seed, scale):
    generator = np.random.default_rng(seed)
    one, two = generator.normal(0, scale, (2, 12, 5))
    labels, order = generator.integers(0, 5, 12), generator.permutation(12)
    assert 0 <= metrics.js_divergence(one, two) <= math.log(2)
    assert metrics.js_divergence(one, two) == pytest.approx(metrics.js_divergence(two, one), abs=1e-12)
    assert 0 <= metrics.activation_distance(one, two) <= math.sqrt(2)
    assert (scores.entropy(one) >= -1e-12).all()
    assert (scores.entropy(one) <= math.log(5) + 1e-9).all()
    assert (scores.modified_entropy(one, labels) >= -1e-12).all()
    assert (np.abs(scores.phi(one, labels)) <= 50).all()
    assert metrics.activation_distance(one[order], two[order]) == pytest.approx(metrics.activation_distance(one, two))
    assert 0 <= metrics.linear_cka(one, two) <= 1 + 1e-12


def test_cka_is_invariant_to_rotation_and_the_two_forms_agree():
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(50, 8)), generator.normal(size=(50, 6))
    rotation = np.linalg.qr(generator.normal(size=(8, 8)))[0]
    assert metrics.linear_cka(x, 3 * x @ rotation + 1) == pytest.approx(1)
    wide_x, wide_y = generator.normal(size=(2, 10, 30))
    centred = [part - part.mean(0) for part in (wide_x, wide_y)]
    gram = [part @ part.T for part in centred]
    expected = (gram[0] * gram[1]).sum() / np.linalg.norm(gram[0]) / np.linalg.norm(gram[1])
    assert metrics.linear_cka(wide_x, wide_y) == pytest.approx(expected)
    assert 0 < metrics.linear_cka(x, y) < 0.6
    with pytest.raises(ForgetError, match="constant"):
        metrics.linear_cka(np.ones((5, 2)), y[:5])


def test_cka_by_layer_of_a_model_with_itself_is_one():
    images = torch.randint(0, 256, (12, 1, 6, 6), dtype=torch.uint8)
    model, other = build("mlp", (1, 6, 6), 3, seed=0), build("mlp", (1, 6, 6), 3, seed=1)
    model.train()
    same = metrics.cka_by_layer(model, model, images)
    assert list(same) == ["body.1", "head"]
    assert list(same.values()) == pytest.approx([1, 1])
    assert all(value < 1 for value in metrics.cka_by_layer(model, other, images).values())
    assert model.training
    assert not model.body[1]._forward_hooks


def test_activations_of_convolutions_are_their_means_over_space():
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    model = build("small_cnn", (1, 8, 8), 3, seed=0).eval()
    found = metrics.layer_activations(model, images)
    first = next(name for name, part in model.named_modules() if isinstance(part, torch.nn.Conv2d))
    by_hand = model.get_submodule(first)(normalise(images)).mean((2, 3)).detach().numpy()
    assert next(iter(found)) == first
    assert found[first] == pytest.approx(by_hand, abs=1e-6)
    assert all(values.shape == (5, len(model.get_submodule(name).weight)) for name, values in found.items())


def test_anamnesis_index_needs_a_retrained_model_that_relearns():
    assert metrics.anamnesis_index(5, 150) == pytest.approx(1 / 30)
    assert metrics.anamnesis_index(5, 1) == 5
    with pytest.raises(ForgetError):
        metrics.anamnesis_index(5, 0)


def test_margin_divergence_against_the_closed_form():
    generator = np.random.default_rng(0)
    one, two = generator.normal(1, 2, (20_000, 1)), generator.normal(0, 1, (20_000, 1))
    assert metrics.margin_divergence(one, two)[0] == pytest.approx(math.log(0.5) + (4 + 1) / 2 - 0.5, rel=0.05)
    assert (metrics.margin_divergence(one[:50], two[:50]) >= 0).all()
    with pytest.raises(ForgetError, match="4 models"):
        metrics.margin_divergence(one[:3], two[:3])


def test_a_row_that_another_beats_everywhere_is_dominated():
    assert metrics.dominated(np.array([[0, 0, 1.0], [1, 0, 0.5], [1, 1, 1.0]])).tolist() == [False, False, True]
    assert metrics.dominated(np.array([[0, 1], [1, 0], [1, 1], [0, 1]])).tolist() == [False, False, True, False]
