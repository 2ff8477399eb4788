"""distillation against its definition, on tiny nets and data."""

from dataclasses import replace

import torch

from forget_lib.models.train import Meter, detach_meters
from forget_lib.unlearning.parts.distillation import taught
from tests.tiny_tasks import (
    tiny_net,
    tiny_samples,
)


def test_a_teacher_sees_each_of_its_samples_once_unless_they_are_augmented():
    first, second = tiny_net(1), tiny_net(2)
    few, many = tiny_samples(7, 7, batch_size=4), tiny_samples(11, 11, batch_size=4)
    few, many = few.with_labels(few.labels), many.with_labels(many.labels)
    for augmentation, passes in (("none", 18), ("shift", 54)):
        meter = Meter()
        teachers = [meter.attach(net) for net in (first, second)]
        parts = [(t, replace(s, augmentation=augmentation)) for t, s in zip(teachers, (few, many), strict=True)]
        batches = taught(*parts, target=lambda logits, labels: logits + labels[:, None])
        seen = [batch for _ in range(3) for batch in batches()]
        assert sum(len(labels) for _, labels, _ in seen) == 3 * 18
        assert meter.passes == passes
        with torch.no_grad():
            for images, labels, found in seen:
                own = [net(images) + labels[:, None] for net in (first, second)]
                near = [(found - logits).abs().amax(1) < 1e-12 for logits in own]
                assert (near[0] | near[1]).all()
        detach_meters(first), detach_meters(second)
