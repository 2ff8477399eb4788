"""negmerge against its definition, on tiny nets and data."""

import torch

from forget_lib.unlearning import negmerge


def test_negmerge_keeps_only_what_all_agree_on():
    parts = [torch.tensor(v) for v in ([1.0, -2.0, 3.0, 0.0], [3.0, 2.0, 1.0, 1.0])]
    assert torch.equal(negmerge.agreed([{"w": p} for p in parts])["w"], torch.tensor([2.0, 0.0, 2.0, 0.0]))
