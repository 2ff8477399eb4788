"""opc against its definition, on tiny nets and data."""

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    by_hand,
    ce,
    close,
    tiny_net,
    tiny_task,
    whole,
)

RATE = 0.3


def test_opc_contracts_the_logits_to_the_origin():
    task, expected = tiny_task(), tiny_net()
    images, _ = whole(task.forget)
    by_hand(expected, [lambda m: ce(task.retain)(m) + 0.5 * m(images).norm(dim=1).mean()], rate=RATE)
    assert close(unlearn("opc", tiny_net(), task, learning_rate=RATE, weight=0.5), expected, 1e-8)


def test_opc_takes_both_sets_in_one_pass():
    sizes, task = [], tiny_task()
    model = tiny_net()
    model.head.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    unlearn("opc", model, task, epochs=2)
    assert sizes == [18, 18]
