"""scrub against its definition, on tiny nets and data."""

import pytest
import torch

from forget_lib.unlearning import unlearn
from forget_lib.unlearning.common import sgd, step
from tests.tiny_tasks import (
    by_hand,
    ce,
    close,
    tiny_conv_net,
    tiny_net,
    tiny_task,
    whole,
)

RATE = 0.3


def kl(target, logits):
    """KL(target ‖ softmax(logits)), mean over the batch, written out."""
    logs = logits.log_softmax(1)
    return torch.where(target > 0, target * (target.clamp(min=1e-300).log() - logs), 0.0).sum(1).mean()


def scrub_losses(task, original, temperature, alpha, gamma):
    forget, retain = whole(task.forget)[0], whole(task.retain)[0]
    with torch.no_grad():
        on_forget, on_retain = ((original(x) / temperature).softmax(1) for x in (forget, retain))

    def away(model):
        return -(temperature**2) * kl(on_forget, model(forget) / temperature)

    def stay(model):
        near = temperature**2 * kl(on_retain, model(retain) / temperature)
        return gamma * ce(task.retain)(model) + alpha * near

    return away, stay


def test_scrub_takes_max_steps_first_and_min_steps_in_every_epoch():
    task, expected = tiny_task(), tiny_net(3)
    away, stay = scrub_losses(task, tiny_net(3), 4.0, 0.25, 0.75)
    # At θ0 the distance has no gradient; weight decay moves the first max-step off it.
    by_hand(expected, [away, stay, away, stay, stay], rate=RATE)
    settings = {"learning_rate": RATE, "epochs": 3, "max_epochs": 2, "alpha": 0.25, "gamma": 0.75, "temperature": 4.0}
    assert close(unlearn("scrub", tiny_net(3), task, forget_batch_size=50, **settings), expected, 1e-8)


def test_scrub_lowers_its_rate_to_a_tenth_after_epochs_3_5_and_9():
    task, expected = tiny_task(), tiny_net(3)
    _, stay = scrub_losses(task, tiny_net(3), 4.0, 0.25, 0.75)
    optimizer = sgd(expected, RATE)
    for epoch in range(1, 11):
        optimizer.param_groups[0]["lr"] = RATE * (
            1 if epoch <= 3 else 0.1 if epoch <= 5 else 0.01 if epoch <= 9 else 1e-3
        )
        step(optimizer, stay(expected))
    settings = {"learning_rate": RATE, "epochs": 10, "max_epochs": 0, "alpha": 0.25, "gamma": 0.75}
    assert close(unlearn("scrub", tiny_net(3), task, **settings), expected, 1e-8)


def test_scrub_keeps_batch_norm_in_its_passes_over_the_forget_set():
    """With one pass over each set, the statistics are those of one batch of the retain set alone."""
    task, original = tiny_task(net=tiny_conv_net), tiny_conv_net()
    seen = []
    handle = torch.nn.BatchNorm2d.forward
    modes = lambda self, x: seen.append((len(x), self.training)) or handle(self, x)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.BatchNorm2d, "forward", modes)
        unlearn("scrub", original, task, epochs=2, max_epochs=1, forget_batch_size=50)
    assert {training for size, training in seen if size == 7} == {False}
    assert [training for size, training in seen if size == 11 and training] == [True] * 4
