"""finetune against its definition, on tiny nets and data."""

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    by_hand,
    ce,
    close,
    tiny_net,
    tiny_task,
)

RATE = 0.3


def test_finetune_takes_plain_steps_on_the_retain_set():
    task, expected = tiny_task(), tiny_net()
    by_hand(expected, [ce(task.retain)] * 2, rate=RATE)
    assert close(unlearn("finetune", tiny_net(), task, learning_rate=RATE, epochs=2), expected)
