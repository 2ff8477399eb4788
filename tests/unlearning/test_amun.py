"""amun against its definition, on tiny nets and data."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from forget_lib.unlearning import amun, unlearn
from forget_lib.unlearning.common import frozen_copy
from tests.tiny_tasks import (
    by_hand,
    close,
    tiny_net,
    tiny_task,
    whole,
)

RATE = 0.3


def test_nearest_wrong_crosses_the_boundary_of_a_linear_net_by_the_shortest_way():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double()
    images, labels = 0.05 * torch.randn(6, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double(), None
    labels = model(images).argmax(1)
    moved, said = amun.nearest_wrong(frozen_copy(model), images, labels, 10)
    assert torch.equal(model(moved).argmax(1), said)
    assert not (said == labels).any()
    logits, weight = model(images).detach(), model[1].weight.detach()
    for row in range(6):
        other = logits[row].clone()
        other[labels[row]] = -torch.inf
        k = int(other.argmax())
        distance = (logits[row, labels[row]] - logits[row, k]) / (weight[labels[row]] - weight[k]).norm()
        assert float((moved[row] - images[row]).norm()) == pytest.approx(float(distance), rel=0.05, abs=1e-3)


@pytest.mark.parametrize("keep_forget", [True, False])
def test_amun_learns_the_neighbours_beside_all_samples_and_its_ablation_beside_those_that_stay(keep_forget):
    task, model, expected = tiny_task(), tiny_net(), tiny_net()
    images, labels = whole(task.forget)
    moved, said = amun.nearest_wrong(frozen_copy(model), images, labels, 5)
    retain, targets = whole(task.retain)
    mixture, wanted = torch.cat([moved, retain]), torch.cat([said, targets])
    if keep_forget:
        mixture, wanted = torch.cat([mixture, images]), torch.cat([wanted, labels])
    by_hand(expected, [lambda m: cross_entropy(m(mixture), wanted)] * 2, rate=RATE)
    settings = {"learning_rate": RATE, "epochs": 2, "keep_forget": keep_forget}
    assert close(unlearn("amun", model, task, **settings), expected)
