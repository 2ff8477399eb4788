"""over_forget against its definition, on tiny nets and data."""

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    by_hand,
    ce,
    close,
    drawn_labels,
    tiny_net,
    tiny_task,
)

RATE = 0.3


def test_over_forget_learns_one_wrong_label_a_sample():
    task, expected = tiny_task(), tiny_net()
    wrong = task.forget.with_labels(drawn_labels(task, allow_true=False))
    by_hand(expected, [lambda m: ce(task.retain)(m) + ce(wrong)(m)] * 2, rate=RATE)
    assert close(unlearn("over_forget", tiny_net(), task, learning_rate=RATE, epochs=2), expected)
