"""regun against its definition, on tiny nets and data."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import kl_div, log_softmax, softmax

from forget_lib.core.errors import NotApplicableError
from forget_lib.unlearning import regun, unlearn
from tests.tiny_tasks import (
    CLASSES,
    by_hand,
    ce,
    close,
    tiny_net,
    tiny_task,
    whole,
)

RATE = 0.3


@pytest.mark.parametrize("classes", [(), (1,)])
def test_regun_teaches_the_mean_output_of_held_out_samples_of_the_class(classes):
    task, expected = tiny_task(classes=classes), tiny_net()
    (images, labels), (held, held_labels) = whole(task.forget), whole(task.validation)
    p = softmax(tiny_net()(held), 1).detach()
    q = torch.stack([p[held_labels == label].mean(0) for label in range(CLASSES)])
    if classes:
        q = (q - torch.diag(torch.diag(q))) / (1 - torch.diag(q))[:, None]
    far = lambda m: kl_div(log_softmax(m(images), 1), q[labels], reduction="batchmean")  # noqa: E731
    by_hand(expected, [lambda m: ce(task.retain)(m) + 2 * far(m)], rate=RATE)
    assert close(unlearn("regun", tiny_net(), task, learning_rate=RATE, weight=2.0), expected, 1e-8)
    few = replace(task, validation=task.validation.subset(held_labels == 2))
    with pytest.raises(NotApplicableError, match="validation samples of classes"):
        unlearn("regun", tiny_net(), few)


def test_outputs_by_class_are_means_of_probabilities():
    logits, labels = torch.randn(6, 3).double(), torch.tensor([0, 0, 2, 2, 2, 0])
    q, there = regun.outputs_by_class(logits, labels, 3)
    assert there.tolist() == [True, False, True]
    assert torch.allclose(q[2], softmax(logits[2:5], 1).mean(0))
