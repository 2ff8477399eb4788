"""The first panel: three answers, a button, bars that move, a retrained model for every choice, and a closer look."""

import asyncio

import torch

from forget_lib.core.errors import ForgetError
from forget_lib.demo import live, opening


def test_it_opens_on_what_the_study_forgot_with_three_answers(demo):
    panel = demo.live
    assert panel.who == "digit 5"
    assert panel.start.description == "Forget digit 5 now"
    assert panel.models.keys() == {"original", "retrain"}, "the recorded retrained model belongs to this request"
    assert "Press the button on the picture" in panel.result.value
    assert panel.result.value.count("fd-answer-title") == 3
    assert panel.check.disabled


def test_for_another_choice_a_model_is_retrained_and_kept(demo):
    panel = demo.live
    panel.what.value = "class:3"
    assert "retrain" not in panel.models, "the recorded one knows this digit"
    asyncio.run(panel.train_the_retrained())
    trained = panel.models["retrain"]
    assert panel._measured("retrain", trained)[0] == 0
    panel.what.value = "class:5"
    assert panel.models["retrain"] is demo.bench.model("retrain")
    panel.what.value = "class:3"
    assert panel.models["retrain"] is trained


def test_pictures_choose_and_another_picture_of_the_same_is_shown(demo):
    panel = demo.live
    before = panel.picture.value
    panel.other.click()
    assert panel.picture.value != before
    panel.choices.buttons[1].click()
    assert panel.who == "digit 6"
    assert "digit 6" in panel.choices.buttons[0].description


def test_after_forgetting_three_lamps_say_what_was_found(demo):
    async def story() -> None:
        await demo.live.begin()
        assert not demo.live.check.disabled
        await demo.live.look_closer()

    asyncio.run(story())
    lamps = demo.live.closer.value
    assert lamps.count("fd-bulb") == 3
    assert "Of the way from" in lamps or "less sure" in lamps
    assert "by one retrained model" in lamps, "the lamp says how little it rests on"
    assert "Relearning:" in demo.live.status.value


def test_the_bars_move_with_the_weights_on_their_way(demo, monkeypatch):
    weights = {name: torch.zeros_like(value) for name, value in demo.bench.model("original").state_dict().items()}

    def half_done(_bench, _request, _method, stop, started):
        meter = live.LiveMeter(stop, 100)
        meter.weights = weights
        started(meter)
        assert stop.wait(20)
        meter.check()

    async def story() -> None:
        panel = demo.live
        task = panel.begin()
        while "unlearned" not in panel.models and not task.done():
            await asyncio.sleep(0.01)
        assert "10 %" in panel.result.value, "a net of zeros gives each of ten digits a tenth"
        panel.stop()
        await task

    monkeypatch.setattr(opening, "REPORT_SECONDS", 0.01)
    monkeypatch.setattr(live, "forget_live", half_done)
    asyncio.run(story())
    assert "unlearned" not in demo.live.models


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
        while panel.bar.value == 0 and not task.done():
            await asyncio.sleep(0.01)
        assert panel.bar.value == 0.5
        assert "50 % done" in panel.status.value
        panel.stop()
        await task
        assert "Cancelled" in panel.status.value

    monkeypatch.setattr(opening, "REPORT_SECONDS", 0.01)
    monkeypatch.setattr(live, "forget_live", half_done)
    asyncio.run(story())


def test_an_error_of_a_method_ends_in_the_status_line(demo, monkeypatch):
    def diverge(*_):
        raise ForgetError("The loss is nan.")

    monkeypatch.setattr(live, "forget_live", diverge)
    asyncio.run(demo.live.run())
    assert "The loss is nan." in demo.live.status.value
    assert not demo.live.start.disabled
