"""prmq against its definition, on tiny nets and data."""

import math

import pytest
import torch

from forget_lib.unlearning import prmq, unlearn
from tests.tiny_tasks import (
    tiny_net,
    tiny_task,
    weights,
)


def test_prmq_keeps_the_largest_weights_compares_entropies_and_rounds():
    model = tiny_net()
    before = torch.cat([m.weight.detach().abs().flatten() for m in (model.body[1], model.head)])
    generator = torch.Generator().manual_seed(1)
    assert prmq.prune_and_renew(model, 0.8, generator) == 28
    after = torch.cat([m.weight.detach().abs().flatten() for m in (model.body[1], model.head)])
    kept = before == after
    assert int(kept.sum()) == 7
    assert before[kept].min() >= before[~kept].max()
    assert after[:20][~kept[:20]].max() <= 4**-0.5
    assert after[20:][~kept[20:]].max() <= 5**-0.5
    p = torch.tensor([0.5, 0.25, 0.25]).double()
    assert prmq.entropy(p.log()[None])[0] == pytest.approx(1.5 * math.log(2))
    found = unlearn("prmq", tiny_net(), tiny_task())
    assert all(torch.equal(w, w.half().double()) for w in weights(found))
