"""l1_sparse against its definition, on tiny nets and data."""

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    by_hand,
    ce,
    close,
    tiny_net,
    tiny_task,
)

RATE = 0.3


def test_l1_sparse_adds_a_fading_penalty_on_all_weights():
    task, expected = tiny_task(), tiny_net()

    def loss(weight):
        return lambda m: ce(task.retain)(m) + weight * sum(p.abs().sum() for p in m.parameters())

    by_hand(expected, [loss(0.1), loss(0.05)], rate=RATE)
    assert close(unlearn("l1_sparse", tiny_net(), task, learning_rate=RATE, epochs=2, alpha=0.1), expected)
