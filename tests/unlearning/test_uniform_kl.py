"""uniform_kl against its definition, on tiny nets and data."""

import math

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    CLASSES,
    batch_norm_modes,
    by_hand,
    ce,
    close,
    tiny_conv_net,
    tiny_net,
    tiny_task,
    whole,
)

RATE = 0.3


def test_uniform_kl_takes_a_forget_and_a_retain_step_with_optimisers_of_their_own():
    task, expected = tiny_task(), tiny_net()
    images, _ = whole(task.forget)

    def divergence(model):
        logs = model(images).log_softmax(1)
        return (1 / CLASSES * (math.log(1 / CLASSES) - logs)).sum(1).mean()

    by_hand(expected, [divergence], rate=RATE, decay=0)
    by_hand(expected, [ce(task.retain)], rate=0.1, decay=0)
    found = unlearn("uniform_kl", tiny_net(), task, forget_rate=RATE, retain_rate=0.1, epochs=1)
    assert close(found, expected)


def test_batch_norm_stays_in_the_pass_over_the_forget_set():
    with batch_norm_modes() as seen:
        unlearn("uniform_kl", tiny_conv_net(), tiny_task(net=tiny_conv_net), epochs=2)
    assert set(seen) == {(7, False), (11, True)}
