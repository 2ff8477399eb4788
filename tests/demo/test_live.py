"""Forgetting live: progress, a stop at every step, and the replay."""

import asyncio
import threading

import pytest
import torch

from forget_lib.core.errors import ForgetError
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
    assert "% done" in meter.words


def test_another_digit_can_be_forgotten_from_the_same_original(bench):
    assert ("class 3", "class:3") in studies.live_choices(bench)
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


def test_the_panel_runs_stops_and_starts_again(demo):
    async def story() -> None:
        panel = demo.live
        task = panel.begin()
        await asyncio.sleep(0)
        assert panel.start.disabled
        assert not panel.cancel.disabled
        panel.stop()
        await task
        assert "Cancelled" in panel.status.value
        assert panel.cancel.disabled
        assert not panel.start.disabled
        await panel.begin()
        assert "Done in" in panel.status.value
        assert "live" in demo.bench.titles

    asyncio.run(story())


def test_the_panel_says_how_far_the_method_is(demo, monkeypatch):
    def half_done(_bench, _request, _method, stop, started):
        meter = live.LiveMeter(stop, 100)
        meter.add(50)
        started(meter)
        assert stop.wait(20)
        meter.check()

    async def story() -> None:
        panel = demo.live
        task = panel.begin()
        while panel.bar.value == 0:
            await asyncio.sleep(0.01)
        assert panel.bar.value == 0.5
        assert "50% done" in panel.status.value
        panel.stop()
        await task
        assert "Cancelled" in panel.status.value

    monkeypatch.setattr(live, "REPORT_SECONDS", 0.01)
    monkeypatch.setattr(live, "forget_live", half_done)
    asyncio.run(story())


def test_an_error_of_a_method_ends_in_the_status_line(demo, monkeypatch):
    def diverge(*_):
        raise ForgetError("The loss is nan.")

    monkeypatch.setattr(live, "forget_live", diverge)
    asyncio.run(demo.live.run())
    assert "The loss is nan." in demo.live.status.value
    assert not demo.live.start.disabled


def test_the_replay_goes_from_the_original_to_the_recorded_model(bench):
    epochs = live.replay(bench, threading.Event())
    images = bench.samples("test").images[:20]
    assert epochs.recorded <= len(epochs.states) - 1 >= live.REPLAY_EPOCHS
    for epoch, name in ((0, "original"), (epochs.recorded, "uniform_kl")):
        found = studies.probabilities(epochs.model(epoch), images)
        assert torch.equal(found, bench.probabilities(name, images))
    assert epochs.accuracies[0]["forget"] > epochs.accuracies[-1]["forget"]
