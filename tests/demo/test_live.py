"""Forgetting live: progress, and a stop at every step."""

import threading

import pytest
import torch

from forget_lib.demo import live, studies

QUIET = [lambda _meter: None]


def test_live_forgetting_gives_the_recorded_model(bench):
    seen = []
    result = live.forget_live(bench, "class:5", "uniform_kl", threading.Event(), seen.append)
    recorded = bench.model("uniform_kl").state_dict()
    assert all(torch.equal(value, recorded[name]) for name, value in result.model.state_dict().items())
    assert result.after["forget"] < 0.5 < result.before["forget"]
    (meter,) = seen
    assert 0 < meter.share < 1
    assert meter.weights.keys() == recorded.keys()
    assert "% done" in meter.words


def test_another_digit_can_be_forgotten_from_the_same_original(bench):
    assert ("digit 3", "class:3") in studies.live_choices(bench)
    result = live.forget_live(bench, "class:3", "uniform_kl", threading.Event(), *QUIET)
    assert result.after["forget"] < result.before["forget"]


@pytest.mark.parametrize("method", ["uniform_kl", "retrain", "finetune"])
def test_a_live_run_stops_at_the_next_step(bench, method, monkeypatch):
    stop, real, steps = threading.Event(), live.LiveMeter.check, []

    def stopped_after_one(meter: live.LiveMeter) -> None:
        steps.append(meter.share)
        real(meter)
        stop.set()

    monkeypatch.setattr(live.LiveMeter, "check", stopped_after_one)
    with pytest.raises(live.Cancelled):
        live.forget_live(bench, "class:5", method, stop, *QUIET)
    assert len(steps) == 2
    assert steps[1] < 0.9


def test_the_meter_corrects_its_guess_after_each_epoch():
    meter = live.LiveMeter(threading.Event(), 10)
    meter.add(100)
    meter.epoch_done(1, 4)
    assert meter.expected == 400
