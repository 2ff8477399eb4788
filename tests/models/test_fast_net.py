"""The fast net: whitening from what is trained on, Muon for kernels, flips in turn, bfloat16."""

from pathlib import Path

import pytest
import torch
from torch import nn

from forget_lib.core.errors import ForgetError
from forget_lib.datasets.samples import Samples, normalise
from forget_lib.models.nets import FastNet, Whitening, build
from forget_lib.models.optimizers import Muon, orthogonalised
from forget_lib.models.recipe import Recipe, make_recipe
from forget_lib.models.train import fast_precision, train

RECIPE = Recipe(epochs=2, batch_size=8, optimizer="muon", augmentation="alternating", momentum=0.6)


def images(count: int = 16, seed: int = 0) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    return Samples(
        torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator), torch.arange(count) % 2
    )


def small_net(seed: int = 0) -> FastNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FastNet((3, 16, 16), (8, 16, 16), 2).to(memory_format=torch.channels_last)


def test_whitened_patches_have_unit_variance_in_every_direction_and_no_correlation():
    layer = Whitening(3)
    batch = normalise(images(64).images)
    layer.fit(batch)
    outputs = layer(batch)[:, :12].permute(1, 0, 2, 3).flatten(1)
    assert torch.allclose(outputs @ outputs.T / outputs.shape[1], torch.eye(12), atol=2e-3)
    assert torch.equal(layer.weight[12:], -layer.weight[:12])


def test_whitening_comes_from_the_samples_trained_on_and_from_nothing_else():
    retain, everything = images(), images(24)
    nets = [small_net(1) for _ in range(2)]
    for net, samples in zip(nets, (retain, everything), strict=True):
        train(net, samples, RECIPE, seed=0)
    expected = Whitening(3)
    expected.fit(normalise(retain.images))
    assert torch.equal(nets[0].body[0].weight, expected.weight)
    assert not torch.equal(nets[1].body[0].weight, expected.weight)


def test_a_net_that_was_trained_keeps_its_whitening_when_it_is_trained_on():
    net = small_net()
    train(net, images(seed=1), RECIPE, seed=0)
    before = net.body[0].weight.clone()
    train(net, images(seed=2), RECIPE, seed=0)
    assert torch.equal(net.body[0].weight, before)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_moves_a_kernel_along_an_orthogonal_matrix_and_the_rest_by_sgd(layout):
    net = nn.Sequential(nn.Conv2d(3, 6, 3)).to(memory_format=layout)
    optimizer = Muon(net, Recipe(optimizer="muon", learning_rate=0.1, momentum=0.0, weight_decay=0.0))
    kernel, bias = net[0].weight, net[0].bias
    start = kernel.detach().flatten(1).clone()
    start *= 6**0.5 / start.norm()
    bias_before = bias.detach().clone()
    kernel.grad = torch.randn(6, 3, 3, 3).to(memory_format=layout)
    bias.grad = torch.ones(6)
    optimizer.step()
    moved = (start - kernel.detach().flatten(1)) / 0.1
    singular = torch.linalg.svdvals(moved)
    assert singular.min() > 0.5
    assert singular.max() < 1.4
    assert torch.all(bias < bias_before)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 4)])
def test_each_singular_value_goes_through_the_quintic(shape):
    left, singular, right = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    expected = singular / singular.norm()
    for _ in range(3):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    assert torch.allclose(orthogonalised(left * singular @ right), left * expected @ right)
    assert not orthogonalised(torch.zeros(shape)).any()


def test_muon_steps_as_the_one_of_pytorch_does_in_bfloat16():
    theirs = nn.Parameter(torch.randn(6, 12))
    kernel = nn.Parameter(theirs.detach().clone().reshape(6, 3, 2, 2))
    bias = nn.Parameter(torch.zeros(6))
    ours = Muon([kernel, bias], Recipe(optimizer="muon", learning_rate=0.1, momentum=0.6))
    reference = torch.optim.Muon([theirs], 0.1, weight_decay=0.0, momentum=0.6, ns_steps=3)
    for _ in range(3):
        gradient = torch.randn(6, 12)
        with torch.no_grad():
            theirs.mul_(6**0.5 / theirs.norm())
        theirs.grad, kernel.grad = gradient.clone(), gradient.clone().reshape(6, 3, 2, 2)
        reference.step()
        ours.step()
    assert torch.allclose(kernel.flatten(1), theirs, atol=5e-3)  # bfloat16 has three digits


def test_flips_show_both_sides_of_every_image_in_two_epochs():
    picture = torch.zeros(10, 1, 16, 16, dtype=torch.uint8)
    picture[..., 8:] = 255
    samples = Samples(picture, torch.arange(10), batch_size=4, augmentation="alternating")
    sides = []
    for epoch in (0, 1):
        batches = samples.batches(shuffle=False, first_epoch=epoch)
        sides.append(torch.cat([batch[..., :4].mean((1, 2, 3)) > 0 for batch, _ in batches]))
    assert torch.equal(sides[0], ~sides[1])
    assert 0 < int(sides[0].sum()) < 10


def test_bfloat16_is_for_the_products_only_and_gives_the_same_bits_again():
    recipe = Recipe(**{**vars(RECIPE), "precision": "bfloat16"})
    nets = [small_net(1) for _ in range(2)]
    tables = [train(net, images(), recipe, seed=0) for net in nets]
    assert {parameter.dtype for parameter in nets[0].parameters()} == {torch.float32}
    assert tables[0]["loss"].equals(tables[1]["loss"])
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


@pytest.mark.parametrize(
    ("processor", "expected"),
    [({"avx2": True}, "float32"), ({"avx512_bf16": True}, "bfloat16"), ({"bf16": True}, "bfloat16"), ({}, "float32")],
)
def test_bfloat16_is_fast_only_on_a_processor_that_has_it_and_a_training_says_so(
    processor, expected, monkeypatch, capsys
):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: processor)
    assert fast_precision(torch.device("cpu")) == expected
    train(small_net(), images(), Recipe(**{**vars(RECIPE), "precision": "bfloat16"}), seed=0, title="original")
    assert ("float32 is faster here" in capsys.readouterr().out) == (expected == "float32")
    train(small_net(), images(), RECIPE, seed=0, title="original")
    assert "faster here" not in capsys.readouterr().out


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkpoint of a training that was stopped after its first epoch."""
    monkeypatch.setattr("forget_lib.models.train.CHECKPOINT_SECONDS", -1.0)

    def stop(epoch: int, _model: nn.Module) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small_net(), images(), RECIPE, seed=3, checkpoint=folder / "state.pt", on_epoch=stop)
    return folder / "state.pt"


def test_an_interrupted_training_with_muon_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole = small_net()
    train(whole, images(), RECIPE, seed=3)

    file = interrupted(tmp_path, monkeypatch)
    again = small_net()
    train(again, images(), RECIPE, seed=3, checkpoint=file)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("part", ["optimizer", "generator", "rows"])
def test_a_checkpoint_that_fails_half_way_leaves_nothing_behind(part, tmp_path, monkeypatch, capsys):
    file = interrupted(tmp_path, monkeypatch)
    state = torch.load(file, weights_only=True)
    # As an earlier version wrote it; and what no version wrote.
    damaged = {
        "optimizer": state["optimizer"] | {"kernels": {"state": {}, "param_groups": []}},
        "generator": 1,
        "rows": 1,
    }
    torch.save(state | {part: damaged[part]}, file)
    again, whole = small_net(), small_net()
    train(again, images(), RECIPE, seed=3, checkpoint=file)
    assert "starts again" in capsys.readouterr().out
    train(whole, images(), RECIPE, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_a_precision_that_does_not_exist_is_named():
    with pytest.raises(ForgetError, match="bfloat16"):
        make_recipe({"precision": "bfloat61"})


@pytest.mark.parametrize("name", ["fast_net", "fast_net_wide"])
def test_the_fast_nets_give_features_and_logits_of_images(name):
    net = build(name, (3, 32, 32), 10)
    batch = normalise(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))
    assert net(batch).shape == (2, 10)
    assert torch.equal(net(batch), net.head(net.features(batch)))
