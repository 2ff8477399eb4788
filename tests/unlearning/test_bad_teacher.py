"""bad_teacher against its definition, on tiny nets and data."""

import torch

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    adam_by_hand,
    batch_norm_modes,
    close,
    tiny_conv_net,
    tiny_net,
    tiny_samples,
    tiny_task,
    whole,
)


def kl(target, logits):
    """KL(target ‖ softmax(logits)), mean over the batch, written out."""
    logs = logits.log_softmax(1)
    return torch.where(target > 0, target * (target.clamp(min=1e-300).log() - logs), 0.0).sum(1).mean()


def test_bad_teacher_follows_the_untrained_net_on_forget_and_the_original_on_retain():
    task, original, expected = tiny_task(), tiny_net(), tiny_net()
    temperature, bad = 2.0, tiny_net(task.seed)
    forget, retain = whole(task.forget)[0], whole(task.retain)[0]
    with torch.no_grad():
        target = torch.cat([(bad(forget) / temperature).softmax(1), (original(retain) / temperature).softmax(1)])
    images = torch.cat([forget, retain])
    adam_by_hand(expected, [lambda m: kl(target, m(images) / temperature)] * 2, rate=0.1)
    settings = {"learning_rate": 0.1, "epochs": 2, "temperature": temperature, "retain_share": 1.0, "batch_size": 50}
    assert close(unlearn("bad_teacher", original, task, **settings), expected, 1e-6)


def test_bad_teacher_takes_only_a_share_of_the_retain_set():
    task = tiny_task(retain=tiny_samples(100, 5, batch_size=50))
    unlearn("bad_teacher", tiny_net(), task, retain_share=0.3, epochs=1)
    assert task.meter.passes == (7 + 30) * (1 + 3)  # each sample has one teacher


def test_the_student_of_bad_teacher_trains_its_batch_norm_and_the_teachers_do_not():
    with batch_norm_modes() as seen:
        unlearn("bad_teacher", tiny_conv_net(), tiny_task(net=tiny_conv_net), retain_share=1.0, batch_size=18)
    assert {training for size, training in seen if size == 18} == {True}
    assert {training for size, training in seen if size < 18} == {False}
