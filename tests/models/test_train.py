import dataclasses
import re
import subprocess
import sys
import time

import pytest
import torch
import yaml

from forget_lib.core.errors import DivergedError, ForgetError
from forget_lib.datasets.samples import Samples
from forget_lib.models.nets import build
from forget_lib.models.optimizers import SGD, Adam
from forget_lib.models.recipe import Recipe, make_recipe, rate_at
from forget_lib.models.train import Meter, accuracy, choose_device, predict, set_threads, train

RECIPE = Recipe(epochs=4, batch_size=16, learning_rate=0.05)


@pytest.fixture
def samples(blobs) -> Samples:
    set_threads(1)
    return Samples(blobs.images, blobs.labels)


def net(seed: int = 0, name: str = "mlp") -> torch.nn.Module:
    return build(name, (1, 8, 8), 4, seed)


def bits(model: torch.nn.Module) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in model.state_dict().values()]


@pytest.mark.parametrize("name", ["mlp", "small_cnn"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(samples, name):
    models = [net(0, name) for _ in range(3)]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        train(model, samples, dataclasses.replace(RECIPE, augmentation="flip_shift"), seed)
    assert bits(models[0]) == bits(models[1]) != bits(models[2])


def test_it_learns_and_tells_the_history(samples):
    model = net()
    history = train(model, samples, RECIPE, 0)
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert accuracy(model, samples) > 0.95


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_an_interrupted_training_goes_on_to_the_same_bits(samples, tmp_path, monkeypatch, optimizer):
    recipe = dataclasses.replace(RECIPE, optimizer=optimizer, learning_rate=0.01, augmentation="shift")
    whole, cut = net(), net()
    train(whole, samples, recipe, 3)
    monkeypatch.setattr("forget_lib.models.train.CHECKPOINT_SECONDS", -1.0)

    def stop(epoch: int, _model: torch.nn.Module) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        train(cut, samples, recipe, 3, checkpoint=checkpoint, on_epoch=stop)
    assert checkpoint.is_file()
    again = net(9)
    history = train(again, samples, recipe, 3, checkpoint=checkpoint)
    assert bits(again) == bits(whole)
    assert len(history) == 4
    assert not checkpoint.exists()


def test_a_damaged_or_foreign_checkpoint_is_not_used(samples, tmp_path, capsys):
    checkpoint = tmp_path / "state.pt"
    checkpoint.write_bytes(b"not a checkpoint")
    fresh, other = net(), net()
    train(fresh, samples, RECIPE, 1)
    train(other, samples, RECIPE, 1, checkpoint=checkpoint)
    assert bits(fresh) == bits(other)
    assert "starts again" in capsys.readouterr().out


def test_divergence_is_refused_early(samples):
    with pytest.raises(DivergedError, match="Lower learning_rate"):
        train(net(), samples, dataclasses.replace(RECIPE, learning_rate=1e20), 0)


@pytest.mark.fault("Recipes and settings of a wrong type or range")
def test_batches_of_one_are_refused_with_batch_norm_and_a_last_one_is_none(samples):
    one = dataclasses.replace(RECIPE, epochs=1, batch_size=1)
    few = samples.subset(torch.arange(5))
    with pytest.raises(ForgetError, match=r"batch_size of the recipe is 1.*batch norm"):
        train(net(0, "small_cnn"), few, one, 0)
    train(net(0, "mlp"), few, one, 0)
    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 4))
    train(flat, few, dataclasses.replace(one, batch_size=4), 0)


def test_an_empty_set_is_refused(samples):
    with pytest.raises(ForgetError, match="empty"):
        train(net(), samples.subset(torch.arange(0)), RECIPE, 0)


NUMBER, SHARE, WHOLE = "expected a number above 0", "expected a number from 0 to below 1", "expected a whole number"


@pytest.mark.fault("Recipes and settings of a wrong type or range")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{learning_rates: 1}", "Did you mean 'learning_rate'"),
        ("{schedule: cosin}", "expected one of constant, cosine, triangular"),
        ("{optimizer: SGD}", "expected one of sgd, adam, muon"),
        ("{learning_rate: 1e-3}", f"which is text (write 1.0e-3); {NUMBER}"),
        ("{weight_decay: 5e-4}", "which is text (write 5.0e-4); expected a number of at least 0"),
        ("{epochs: 1e1}", f"which is text (write 10); {WHOLE}"),
        ('{batch_size: "64"}', f"which is text (write 64); {WHOLE}"),
        ('{known: "no"}', "which is text (write false); expected true or false"),
        ("{learning_rate: .inf}", NUMBER),
        ("{learning_rate: 0}", NUMBER),
        ("{weight_decay: .nan}", "expected a number of at least 0"),
        ("{weight_decay: -1}", "expected a number of at least 0"),
        ("{momentum: high}", SHARE),
        ("{momentum: -3}", SHARE),
        ("{momentum: 1.5}", SHARE),
        ("{label_smoothing: 7}", SHARE),
        ("{epochs: 0}", WHOLE),
        ("{epochs: 2.5}", WHOLE),
        ("{epochs: true}", WHOLE),
        ("{epochs: 1000000000000}", WHOLE),
        ("{batch_size: 16.5}", WHOLE),
        ("{function: 5}", "expected file.py:function"),
        ("{function: train}", "expected file.py:function"),
        ("{1: 2}", "Unknown setting of a recipe 1"),
        ("fast", "expected settings such as"),
    ],
)
def test_a_recipe_that_is_not_meant_so_is_refused(text, words):
    with pytest.raises(ForgetError, match=re.escape(words)):
        make_recipe(yaml.safe_load(text))


@pytest.mark.fault("Recipes and settings of a wrong type or range")
def test_all_mistakes_of_a_recipe_are_named_at_once():
    with pytest.raises(ForgetError) as caught:
        make_recipe({"learning_rate": "1e-3", "momentum": 1.5, "epoch": 1})
    assert [word in str(caught.value) for word in ("1.0e-3", "momentum", "'epoch'")] == [True] * 3


@pytest.mark.fault("Recipes and settings of a wrong type or range")
def test_whole_numbers_are_rates_too():
    assert make_recipe({"learning_rate": 1, "weight_decay": 0}) == Recipe(learning_rate=1.0, weight_decay=0.0)


def test_the_triangular_schedule_rises_then_falls_to_zero():
    assert rate_at(RECIPE, 0.0) < rate_at(RECIPE, 0.1) < rate_at(RECIPE, 0.2) == pytest.approx(0.05)
    assert rate_at(RECIPE, 1.0) == 0


def test_prediction_keeps_order_and_mode_and_ignores_augmentation(samples):
    model = net(0, "small_cnn").train()
    plain, moved = (predict(model, dataclasses.replace(samples, augmentation=kind)) for kind in ("none", "flip_shift"))
    assert model.training
    assert torch.equal(plain, moved)
    torch.testing.assert_close(plain[5:6], predict(model, samples.subset(torch.tensor([5]))))


def test_the_meter_counts_forward_as_one_and_backward_as_two(samples):
    meter = Meter()
    model = meter.attach(net())
    train(model, samples, RECIPE, 0)
    assert meter.passes == 3 * 4 * len(samples)
    with meter.paused():
        predict(model, samples)
    predict(model, samples)
    assert meter.passes == 13 * len(samples)


def test_the_meter_counts_cpu_time_and_not_what_else_the_machine_does(monkeypatch):
    clocks = {"process_time": 5.0, "perf_counter": 100.0}
    for name in clocks:
        monkeypatch.setattr(time, name, lambda name=name: clocks[name])
    meter = Meter()
    clocks |= {"process_time": 6.5, "perf_counter": 400.0}
    with meter.paused():
        clocks |= {"process_time": 16.5, "perf_counter": 500.0}
    assert meter.cost == {"seconds": 1.5, "wall_seconds": 300.0, "sample_passes": 0}
    assert meter.wall_seconds == 300.0


def test_an_unavailable_device_says_which_there_are():
    with pytest.raises(ForgetError, match=r"Available: .*cpu"):
        choose_device("tpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


def test_deterministic_algorithms_do_not_cost_a_write_of_every_new_tensor(monkeypatch):
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    set_threads(1)
    assert torch.get_deterministic_debug_mode() == 1  # warn
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        torch.empty(100)
    assert "aten::fill_" not in {event.key for event in found.key_averages()}


def test_training_does_not_import_the_compiler():
    """It takes over a second, in each of dozens of processes."""
    code = """
import sys, torch
from forget_lib.models.nets import build
from forget_lib.datasets.samples import Samples
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import train
samples = Samples(torch.zeros(4, 1, 4, 4, dtype=torch.uint8), torch.arange(4))
for kind in ("sgd", "adam"):
    train(build("mlp", (1, 4, 4), 4), samples, Recipe(epochs=1, optimizer=kind), 0)
print([name for name in sys.modules if name.startswith(("torch._dynamo", "sympy"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_the_lean_optimizers_take_the_same_steps_and_keep_the_same_state(kind):
    full = getattr(torch.optim, kind.__name__)
    nets = [net(), net()]
    optimizers = [each(model.parameters(), 0.1, fused=True) for each, model in zip((kind, full), nets, strict=True)]
    for _ in range(3):
        for model, optimizer in zip(nets, optimizers, strict=True):
            optimizer.zero_grad()
            model(torch.ones(2, 1, 8, 8)).square().sum().backward()
            optimizer.step()
    assert bits(nets[0]) == bits(nets[1])
    assert str(optimizers[0].state_dict()) == str(optimizers[1].state_dict())
