"""negative_gradient_plus against its definition, on tiny nets and data."""

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    by_hand,
    ce,
    close,
    tiny_net,
    tiny_samples,
    tiny_task,
)

RATE = 0.3


def test_negative_gradient_plus_weighs_descent_and_ascent():
    task, expected = tiny_task(), tiny_net()
    by_hand(expected, [lambda m: 0.8 * ce(task.retain)(m) - 0.2 * ce(task.forget)(m)] * 2, rate=RATE)
    found = unlearn("negative_gradient_plus", tiny_net(), task, learning_rate=RATE, epochs=2, alpha=0.8)
    assert close(found, expected)


def test_negative_gradient_plus_may_take_fewer_forget_samples_a_step():
    task = tiny_task(retain=tiny_samples(40, 5, batch_size=10))
    unlearn("negative_gradient_plus", tiny_net(), task, epochs=1, forget_batch_size=3)
    sizes = [3, 4, 3, 4]  # seven samples in batches of three; a last batch of one joins the one before
    assert task.meter.passes == 3 * (40 + sum(sizes))
