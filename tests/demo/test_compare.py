"""Two models side by side."""

import numpy as np
import pytest
import torch

from forget_lib.demo.compare import EDGE, SIDE, aligned_projection, class_accuracies, prediction_shares


def test_a_turned_copy_has_the_same_layout():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(50, 6)) * [5, 3, 1, 1, 1, 1]
    turn, _ = np.linalg.qr(generator.normal(size=(6, 6)))
    moved, fixed, share = aligned_projection(features @ turn + 7, features)
    assert moved == pytest.approx(fixed)
    assert 0.5 < share < 1


def test_rows_of_the_prediction_matrix_are_shares():
    logits, labels = torch.tensor([[2.0, 0, 0], [0, 2, 0], [2, 0, 0], [0, 0, 2]]), torch.tensor([0, 0, 0, 1])
    found = prediction_shares(logits.numpy(), labels.numpy())
    assert found == pytest.approx(np.array([[2 / 3, 1 / 3, 0], [0, 0, 1], [0, 0, 0]]))
    rates = class_accuracies(logits, labels, 3)
    assert rates[0].value == pytest.approx(2 / 3)
    assert rates[0].low < 2 / 3 < rates[0].high
    assert rates[2] is None


def test_points_are_selected_in_both_maps(demo):
    panel = demo.panels["compare"]
    panel.select.value = 5
    assert panel.chosen.any()
    assert (panel.map.labels[panel.chosen] == 5).all()
    panel.select_frame(0, 0, 320, 320)
    assert panel.chosen.all()
    panel.first.value = panel.second.value
    panel.select.value = "disagree"
    assert not panel.chosen.any()


def test_pointing_at_a_dot_shows_its_picture_and_what_both_models_say(demo):
    panel = demo.panels["compare"]
    assert panel.forgotten == {5}
    assert "digit 5 (forgotten, ringed)" in panel.key.value
    x, y = EDGE + panel.map.places[1][7] * (SIDE - 2 * EDGE)
    panel.hover(1, x, y)
    nearest = panel.bench.words[panel.map.labels[panel.hovered]]
    assert f"Test image labelled {nearest}" in panel.near.value
    assert "Original" in panel.near.value
    before = panel.near.value
    panel.hover(1, -50, -50)
    assert panel.near.value == before, "nothing is near"
