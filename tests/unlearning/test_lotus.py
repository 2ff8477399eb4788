"""lotus against its definition, on tiny nets and data."""

import copy
from dataclasses import replace

import torch
from torch.nn.functional import cross_entropy, softmax

from forget_lib.datasets.samples import concatenate
from forget_lib.unlearning import lotus, unlearn
from tests.tiny_tasks import (
    adam_by_hand,
    close,
    tiny_net,
    tiny_samples,
    tiny_task,
    whole,
)


def test_lotus_draws_its_targets_by_gumbel_softmax():
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([[2.0, 0.0, -1.0]], dtype=torch.float64).expand(20000, 3)
    hard = lotus.gumbel_softmax(logits, torch.zeros(20000).double(), generator)
    assert torch.equal(hard.sum(1), torch.ones(20000).double())
    assert torch.allclose(hard.mean(0), softmax(logits[0], 0), atol=0.015)  # Gumbel's trick draws from the softmax
    flat = lotus.gumbel_softmax(logits, torch.full((20000,), 50.0).double(), generator)
    assert float((flat - 1 / 3).abs().max()) < 0.12


def test_lotus_flattens_only_the_forget_set_and_stops_once_it_is_as_unsure():
    task = tiny_task(classes=(1,))
    model = tiny_net()
    with torch.no_grad():
        model.head.bias[1] = -50  # never right on the forget set: nothing is left to do (δ = 0 is not ≤ -0.01)
    reached = []
    unlearn("lotus", model, replace(task, on_epoch=lambda e, m: reached.append(e)), epochs=2)
    assert reached == [0, 1, 2]
    with torch.no_grad():
        model.head.bias[1] = 0
        model.head.bias[0] = 50
    validation = tiny_samples(9, 9, batch_size=50)
    validation = validation.with_labels(torch.zeros(9, dtype=torch.int64))  # right on all of it, not on the forget set
    reached.clear()
    task = tiny_task(validation=validation, on_epoch=lambda e, m: reached.append(e))
    assert close(unlearn("lotus", model, task), model, 0)
    assert reached == [0]


def test_lotus_moves_by_adamw_on_soft_targets(monkeypatch):
    """With α = 0 and one class of overwhelming logits every target is that class: one step is then Adam's."""
    monkeypatch.setattr(lotus, "RETAIN_SHARE", 1.0)
    monkeypatch.setattr(lotus, "BATCH", 50)
    task, model = tiny_task(classes=(1,)), tiny_net()
    with torch.no_grad():
        model.head.bias[0] = 200.0
    images, _ = whole(concatenate(task.forget, task.retain))
    expected = copy.deepcopy(model)
    target = torch.zeros(18, dtype=torch.int64)
    adam_by_hand(expected, [lambda m: cross_entropy(m(images), target)], rate=1e-3)
    found = unlearn("lotus", model, task, epochs=1, alpha=0.0)
    assert close(found, expected, 1e-2)


def test_lotus_takes_its_temperature_from_the_student_before_each_epoch(monkeypatch):
    task, asked, flat = tiny_task(classes=(1,)), [], []
    answers = iter([0.5, 0.25])

    def accuracy(model, _samples):
        asked.append(all(p.requires_grad for p in model.parameters()))
        return next(answers)

    drawn = lotus.gumbel_softmax
    monkeypatch.setattr(lotus, "accuracy_of", accuracy)
    monkeypatch.setattr(
        lotus, "gumbel_softmax", lambda logits, t, g: flat.append(float(t.max())) or drawn(logits, t, g)
    )
    unlearn("lotus", tiny_net(), task, epochs=2, alpha=2.0)
    assert asked == [True, True]
    assert torch.allclose(torch.tensor(flat), torch.tensor([0.5, 0.25]).mul(2).exp())


def test_lotus_draws_soft_targets_for_the_forget_set_and_hard_ones_for_the_rest(monkeypatch):
    monkeypatch.setattr(lotus, "RETAIN_SHARE", 1.0)
    given, drawn, task = [], lotus.gumbel_softmax, tiny_task(classes=(1,))
    monkeypatch.setattr(lotus, "gumbel_softmax", lambda *inputs: given.append(inputs[:2]) or drawn(*inputs))
    model = tiny_net()
    unlearn("lotus", model, task, epochs=1)
    logits, temperatures = given[0]
    for samples, soft in ((task.forget, True), (task.retain, False)):
        of_set = logits[(temperatures > 0) == soft]
        assert torch.allclose(of_set.sort(0).values, model(whole(samples)[0]).sort(0).values)
