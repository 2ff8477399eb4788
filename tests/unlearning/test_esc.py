"""esc against its definition, on tiny nets and data."""

import torch

from forget_lib.unlearning import esc, unlearn
from tests.tiny_tasks import changed_tensors, tiny_conv_net, tiny_frozen_net, tiny_net, tiny_samples, tiny_task, whole


def test_the_main_direction_of_features_along_one_axis_is_that_axis():
    features = torch.tensor([[3.0, 0.0, 0.0], [5.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert torch.allclose(esc.directions(features, 2).abs(), torch.eye(3)[:, :2], atol=1e-6)


def test_esc_gives_the_logits_of_features_without_their_main_directions():
    """As the authors write it: f → U' U'ᵀ f, U' all left singular vectors but the first k; 40 % of 5 is 2."""
    task, net = tiny_task(), tiny_net()
    images, _ = whole(task.forget)
    with torch.no_grad():
        u = torch.linalg.svd(net.features(images).T)[0][:, 2:]
        others, _ = whole(task.retain)
        expected = net.head(net.features(others) @ u @ u.T)
        found = unlearn("esc", net, task, share=0.41)(others)
    assert torch.allclose(found, expected, atol=1e-10)


def test_esc_keeps_what_fewer_samples_than_features_do_not_span():
    """One forget sample with feature f: w·v stays for every v orthogonal to f, and w·f goes to 0."""
    task, net = tiny_task(forget=tiny_samples(1, 3)), tiny_net()
    feature = net.features(whole(task.forget)[0])[0].detach()
    found = unlearn("esc", net, task, share=0.01).head.weight
    assert torch.allclose(found @ feature, torch.zeros(3, dtype=feature.dtype), atol=1e-10)
    across = torch.linalg.svd(feature[None])[2][1:].T
    assert torch.allclose(found @ across, net.head.weight @ across, atol=1e-10)


def test_esc_moves_the_weights_of_the_head_alone_and_reads_features_in_eval_mode():
    net = tiny_frozen_net().train()
    found = unlearn("esc", net, tiny_task(net=tiny_frozen_net))
    assert changed_tensors(net, found) == {"head.weight"}
    direction = esc.directions(net.eval().features(whole(tiny_task().forget)[0]).detach(), 1)
    expected = net.head.weight - net.head.weight @ direction @ direction.T
    assert torch.allclose(found.head.weight, expected, atol=1e-8)


def test_a_class_s_logit_falls_and_the_others_hardly_move_where_features_are_orthogonal():
    """Features of three classes on three axes: without the first axis class 0 has its bias alone."""
    net = tiny_conv_net()
    net.body = torch.nn.Flatten()
    net.head = torch.nn.Linear(4, 3).double()
    with torch.no_grad():
        net.head.weight.copy_(torch.eye(4)[:3])
        net.head.bias.zero_()
    gray = torch.full((6, 1, 2, 2), 128, dtype=torch.uint8)
    gray[:, 0, 0, 0] = 255
    task = tiny_task(classes=(0,), net=lambda seed: net)
    task = tiny_task(classes=(0,), forget=task.forget.__class__(gray, torch.zeros(6, dtype=torch.int64)))
    found = unlearn("esc", net, task, share=0.25)
    images = torch.eye(4, dtype=torch.float64).view(4, 1, 2, 2)
    logits = found(images)
    assert abs(logits[0, 0]) < 1e-3
    assert torch.allclose(logits[1:3].diagonal(1), torch.ones(2, dtype=torch.float64), atol=1e-2)
