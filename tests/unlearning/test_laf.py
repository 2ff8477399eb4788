"""laf against its definition, on tiny nets and data."""

import math

import torch
from torch import nn

from forget_lib.unlearning import laf, unlearn
from tests.tiny_tasks import (
    batched_task,
    changed_tensors,
    same_state,
    tiny_frozen_net,
    tiny_net,
    tiny_samples,
    tiny_task,
    whole,
)


class Doubling(nn.Module):
    """Stands for a VAE: its reconstruction is twice the features, so that their error is their squared length."""

    def forward(self, features):
        return 2 * features, features, features


def test_the_misfit_of_errors_0_and_1_is_1_and_the_root_of_e():
    features = torch.tensor([[0.0, 0.0], [0.6, 0.8]])
    assert torch.allclose(laf.misfit(Doubling(), features), torch.tensor(1 + math.exp(0.5)))


def test_the_alignment_of_right_angles_and_equal_features_is_worked_out_by_hand():
    """Retain: d = 0 and 1. Forget: d = 0 and 2. log Σ e^{d / 2} = log(1 + e), taken off for each retain sample."""
    axis, other = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    against = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    found = laf.alignment(axis, other, axis, against, 2.0)
    assert torch.allclose(found, torch.tensor(1 - 2 * math.log(1 + math.e)))


def test_a_fitted_vae_reconstructs_its_features_better_than_before_and_takes_no_gradient():
    task, net = tiny_task(forget=tiny_samples(60, 3, batch_size=10)), tiny_net()
    features = net.features(whole(task.forget)[0]).detach()
    torch.manual_seed(0)
    before = laf.misfit(laf.Autoencoder(5).double(), features)
    torch.manual_seed(0)
    vae = laf.fitted(net, task, task.forget)
    assert laf.misfit(vae, features) < before
    assert not any(parameter.requires_grad for parameter in vae.parameters())


def adam_step(weights, state, loss, rate):
    """One step of Adam (0.9, 0.999, 1e-8) written out, with the state of this optimiser."""
    state["t"] = state.get("t", 0) + 1
    gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    for index, (weight, g) in enumerate(zip(weights, gradients, strict=True)):
        if g is not None:
            first, second = state.get(index, (torch.zeros_like(g), torch.zeros_like(g)))
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            state[index] = first, second
            hat, root = first / (1 - 0.9 ** state["t"]), (second / (1 - 0.999 ** state["t"])).sqrt()
            with torch.no_grad():
                weight.sub_(rate * hat / (root + 1e-8))


def test_laf_leaves_the_forget_distribution_and_then_aligns_the_rest(monkeypatch):
    """Two epochs of two forget batches with the first two retain batches, two optimisers with states of their own."""
    monkeypatch.setattr(laf, "fitted", lambda *_: Doubling())
    task, net, before = batched_task(), tiny_frozen_net().eval(), tiny_frozen_net().eval()
    weights = [parameter for parameter in net.parameters() if parameter.requires_grad]
    leave, align, retain = {}, {}, list(task.retain.batches())
    for number, (gone, _) in enumerate(task.forget.batches(2)):
        kept = retain[number % 2][0]
        loss = laf.misfit(Doubling(), net.features(kept)) - laf.misfit(Doubling(), net.features(gone))
        adam_step(weights, leave, loss, 0.01)
        pairs = [net.features(kept), before.features(kept), net.features(gone), before.features(gone)]
        adam_step(weights, align, laf.alignment(*pairs, 5.0), 0.02)
    settings = {"learning_rate": 0.01, "align_rate": 0.02, "epochs": 2, "temperature": 5.0}
    found = unlearn("laf", tiny_frozen_net(), batched_task(), **settings)
    assert same_state(found, net, 1e-6)
    assert changed_tensors(tiny_frozen_net(), found) == {"body.3.weight", "body.4.weight", "body.4.bias"}


def test_laf_reads_no_label():
    def moved(shift: int) -> nn.Module:
        task = batched_task(net=tiny_net)
        parts = {n: getattr(task, n).with_labels((getattr(task, n).labels + shift) % 3) for n in ("forget", "retain")}
        return unlearn("laf", tiny_net(), batched_task(net=tiny_net, **parts), epochs=2)

    assert same_state(moved(0), moved(1), 0)
