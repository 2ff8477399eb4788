"""scrub against its definition, on tiny nets and data."""

import torch

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    by_hand,
    ce,
    close,
    tiny_net,
    tiny_task,
    weights,
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


def test_scrub_lowers_its_rate_after_the_third_epoch():
    settings = {"learning_rate": RATE, "max_epochs": 0}
    three, four = (unlearn("scrub", tiny_net(), tiny_task(), epochs=e, **settings) for e in (3, 4))
    five = unlearn("scrub", tiny_net(), tiny_task(), epochs=2, **settings)
    late = sum(float((a - b).norm()) for a, b in zip(weights(three), weights(four), strict=True))
    early = sum(float((a - b).norm()) for a, b in zip(weights(five), weights(three), strict=True))
    assert late < 0.4 * early
