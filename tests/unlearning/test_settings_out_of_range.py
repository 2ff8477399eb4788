"""settings_out_of_range against its definition, on tiny nets and data."""

import pytest

from forget_lib.core.errors import ForgetError
from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    tiny_conv_net,
    tiny_task,
)

OUT_OF_RANGE = [
    ("fisher", {"alpha": 0.0}), ("fisher", {"samples": 0}), ("influence", {"damping": 0.0}),
    ("influence", {"samples": 0}), ("jit_lipschitz", {"deviation": 0.0}),
    ("boundary_expand", {"learning_rate": 0.0}), ("lotus", {"alpha": -1.0}),
    ("task_negation", {"scale": -1.0}), ("negmerge", {"repeats": 0}), ("guided_unlearning", {"ascent": 0.0}),
    ("sfron", {"forget_weight": 0.0}), ("dlfd", {"steps": 0}), ("dlfd", {"reach": 2.0}),
    ("certified_removal", {"delta": 2.0}), ("certified_removal", {"regularisation": 0.0}), ("sisa", {"shards": 0}),
    ("rum", {"epochs": 0}), ("fcs", {"weight_decay": -1.0}), ("msg", {"share": 0.0}), ("cfw", {"deviation": -1.0}),
    ("prmq", {"share": 0.0}), ("convolution_transpose", {"epochs": 0}), ("attack_and_reset", {"share": 0.0}),
    ("rum", {"retain_share": 0.0}), ("amun", {"steps": 0}),
    ("opc", {"weight": -1.0}), ("regun", {"weight": -1.0}),
    ("esc", {"share": 0.0}), ("uam", {"reach": 0.0}), ("mu_mis", {"other_weight": -1.0}),
    ("contrastive", {"temperature": 0.0}), ("cmf", {"temperature": 0.0}), ("laf", {"align_rate": 0.0}),
    ("rem", {"accuracy": 1.5}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings"), OUT_OF_RANGE)
def test_settings_out_of_range_are_refused_by_name(name, settings):
    with pytest.raises(ForgetError, match=next(iter(settings))):
        unlearn(name, tiny_conv_net(), tiny_task(classes=(1,), net=tiny_conv_net), **settings)
