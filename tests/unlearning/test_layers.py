"""layers against its definition, on tiny nets and data."""

from forget_lib.unlearning.parts import layers as layers_module
from tests.tiny_tasks import (
    tiny_conv_net,
    tiny_task,
)


def test_last_layers_are_counted_from_the_head():
    assert layers_module.last_layers(tiny_conv_net(), tiny_task(), 1) == ["head"]
    assert layers_module.last_layers(tiny_conv_net(), tiny_task(), 2) == ["body.3", "body.4", "head"]
