"""negmerge against its definition, on tiny nets and data."""

import torch

from forget_lib.unlearning import negmerge, unlearn
from forget_lib.unlearning.parts.task_vectors import task_vector
from tests.tiny_tasks import tiny_net, tiny_task, weights


def test_negmerge_keeps_only_what_all_agree_on():
    parts = [torch.tensor(v) for v in ([1.0, -2.0, 3.0, 0.0], [3.0, 2.0, 1.0, 1.0])]
    assert torch.equal(negmerge.agreed([{"w": p} for p in parts])["w"], torch.tensor([2.0, 0.0, 2.0, 0.0]))


def test_negmerge_merges_copies_tuned_at_half_once_and_twice_the_rate():
    original, task = tiny_net(), tiny_task()
    vectors = [task_vector(original, task, rate, 2) for rate in (0.1, 0.1, 0.2, 0.2, 0.4, 0.4)]
    merged = negmerge.agreed(vectors).values()
    found = unlearn("negmerge", original, tiny_task(), learning_rate=0.2, epochs=2, repeats=2, scale=0.5)
    for start, way, here in zip(weights(original), merged, weights(found), strict=True):
        assert torch.allclose(here, start - 0.5 * way)
    assert not torch.allclose(vectors[0]["head.weight"], vectors[2]["head.weight"])
