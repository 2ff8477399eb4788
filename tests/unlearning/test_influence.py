"""influence against its definition, on tiny nets and data."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from forget_lib.datasets.samples import Samples
from forget_lib.models.train import Meter
from forget_lib.unlearning import influence, unlearn
from tests.tiny_tasks import tiny_conv_net, tiny_net, tiny_samples, tiny_task, whole


def linear() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double()


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def fitted(samples: Samples, ridge: float) -> nn.Module:
    """Minimiser of CE + ridge / 2 ‖θ‖² by Newton's method with a Hessian from autograd."""
    model, (images, labels) = linear(), whole(samples)

    def loss(vector: Tensor) -> Tensor:
        weight, bias = vector[:12].view(3, 4), vector[12:]
        return cross_entropy(images.flatten(1) @ weight.T + bias, labels) + ridge / 2 * vector @ vector

    vector = flat(model)
    for _ in range(30):
        hessian, (gradient,) = torch.autograd.functional.hessian(loss, vector), torch.autograd.grad(
            loss(vector.requires_grad_()), vector
        )  # fmt: skip
        vector = (vector - torch.linalg.solve(hessian, gradient)).detach()
    nn.utils.vector_to_parameters(vector, model.parameters())
    return model


def test_the_influence_step_is_that_of_the_exactly_inverted_hessian(monkeypatch):
    monkeypatch.setattr(influence, "ITERATIONS", 60)
    model, task = linear(), tiny_task()
    (images, labels), (retain, targets) = whole(task.forget), whole(task.retain)

    def mean(vector: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(x.flatten(1) @ vector[:12].view(3, 4).T + vector[12:], y)

    start = flat(model).requires_grad_()
    (f,) = torch.autograd.grad(mean(start, images, labels), start)
    (r,) = torch.autograd.grad(mean(start, retain, targets), start)
    hessian = torch.autograd.functional.hessian(lambda v: mean(v, retain, targets), start.detach())
    step = torch.linalg.solve(hessian + 0.05 * torch.eye(15).double(), 7 / 18 * (f - r))
    found = unlearn("influence", model, task, damping=0.05, samples=11)
    assert torch.allclose(flat(found) - start.detach(), step, rtol=1e-8, atol=1e-11)
    twice = unlearn("influence", model, task, damping=0.05, samples=11, scale=2.0)
    assert torch.allclose(flat(twice) - start.detach(), 2 * step, rtol=1e-8, atol=1e-11)


def test_influence_equals_retraining_to_first_order(monkeypatch):
    monkeypatch.setattr(influence, "ITERATIONS", 60)
    everything = tiny_samples(300, 1, batch_size=300)
    model, errors = fitted(everything, 0.1), []
    for gone in (2, 100):
        parts = {"forget": everything.subset(torch.arange(gone)), "retain": everything.subset(torch.arange(gone, 300))}
        goal = flat(fitted(parts["retain"], 0.1)) - flat(model)
        # The ridge is part of the objective: its gradient at the optimum is minus that of the loss.
        found = unlearn("influence", model, tiny_task(**parts), damping=0.1, samples=300)
        step = flat(found) - flat(model)
        errors.append(float((step - goal).norm() / goal.norm()))
    assert errors[0] < 0.03
    assert errors[0] < errors[1] / 2


@pytest.mark.parametrize("make", [tiny_net, tiny_conv_net])
def test_the_curvature_is_the_gauss_newton_matrix(make):
    model, samples, meter = make(), tiny_samples(5, 3), Meter()
    model.eval()
    images, _ = whole(samples)
    parameters = list(model.parameters())
    logits = model(images)
    options = {"retain_graph": True, "materialize_grads": True}
    each = [torch.autograd.grad(z, parameters, **options) for z in logits.flatten()]
    rows = [torch.cat([g.flatten() for g in gradients]) for gradients in each]
    jacobian, p = torch.stack(rows).view(5, 3, -1), logits.softmax(1).detach()
    bend = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    matrix = torch.einsum("bkn,bkl,blm->nm", jacobian, bend, jacobian) / 5
    vector = torch.randn(matrix.shape[0], generator=torch.Generator().manual_seed(0)).double()
    found = influence.Curvature(model, samples, meter, batch_size=2).times(vector)
    assert torch.allclose(found, matrix @ vector, rtol=1e-9, atol=1e-12)
    assert meter.passes == 25
