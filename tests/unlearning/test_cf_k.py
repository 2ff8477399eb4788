"""cf_k against its definition, on tiny nets and data."""

from forget_lib.unlearning import unlearn
from tests.tiny_tasks import (
    changed_tensors,
    close,
    tiny_conv_net,
    tiny_net,
    tiny_task,
)

RATE = 0.3


LAST_TWO = {"body.3.weight", "body.4.weight", "body.4.bias", "head.weight", "head.bias"}


LAST_TWO_STATISTICS = {"body.4.running_mean", "body.4.running_var", "body.4.num_batches_tracked"}


def test_cf_k_changes_the_last_k_layers_and_no_other_tensor():
    task, original = tiny_task(net=tiny_conv_net), tiny_conv_net()
    assert changed_tensors(original, unlearn("cf_k", original, task, k=1)) == {"head.weight", "head.bias"}
    assert changed_tensors(original, unlearn("cf_k", original, task, k=2)) == LAST_TWO | LAST_TWO_STATISTICS
    everything = changed_tensors(original, unlearn("cf_k", original, task, k=3))
    assert everything == set(original.state_dict())


def test_cf_k_of_all_layers_is_fine_tuning():
    settings = {"learning_rate": RATE, "epochs": 2}
    assert close(
        unlearn("cf_k", tiny_net(), tiny_task(), k=2, **settings),
        unlearn("finetune", tiny_net(), tiny_task(), **settings),
    )
