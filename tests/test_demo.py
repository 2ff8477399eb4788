"""The logic of the demo, without a browser."""

import asyncio
import dataclasses
import json
import re
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from forget_lib.core.errors import ForgetError, TooFewError
from forget_lib.datasets import load
from forget_lib.datasets.requests import request_for
from forget_lib.demo import Demo, attack, find_entries, live, open_bench, parts, studies
from forget_lib.demo.compare import aligned_projection, class_accuracies
from forget_lib.demo.digit import as_mnist, example, rasterise
from forget_lib.demo.images import Box
from forget_lib.show.record_views import prediction_shares
from forget_lib.study import run
from forget_lib.study.scenario import Scenario
from tests.conftest import make_blobs
from tests.demo_study import make_records
from tests.test_demo_images import BAD, encoded

QUIET = [lambda _progress: None]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    make_records(folder)
    return folder


@pytest.fixture(scope="module")
def bench(root):
    return open_bench(find_entries(root)[0], root)


@pytest.fixture
def demo(root):
    return Demo(root, seed=3)


# --- what is there ----------------------------------------------------------------------------------------------------


def test_the_scenarios_on_disk_are_found_with_their_methods(root):
    (entry,) = find_entries(root)
    assert (entry.dataset, entry.model, entry.request) == ("mnist", "mlp", "class:5")
    assert set(entry.methods) == {"finetune", "uniform_kl"}


def test_without_records_every_section_says_what_to_run(tmp_path):
    demo = Demo(tmp_path / "quick")
    assert "./run_all.sh quick" in demo.status.value
    assert "./run_all.sh quick" in demo.section("gallery").value


def test_an_unknown_section_lists_the_known_ones(demo):
    with pytest.raises(ForgetError, match="gallery"):
        demo.section("galery")


def scenario_of(monkeypatch, request: str, **fields) -> Scenario:
    """A scenario on the blobs with other fields; nothing is loaded or trained."""
    data = dataclasses.replace(make_blobs(), **fields)
    monkeypatch.setattr("forget_lib.study.scenario.load", lambda _name, _start: data)
    return Scenario(Path("results"), "blobs", "mlp", request)


REQUESTS = ["class:c1", "class:c1,c2", "class:*1", "random:0.1", "mislabelled:0.25", "person:p 3", "family:*2"]
REQUESTS += ["family:f1", "indices:3,17,5"]


@pytest.mark.parametrize("text", REQUESTS)
def test_a_record_holds_its_request_as_a_text_that_forgets_the_same(text, monkeypatch):
    names = tuple("p 3" if index == 3 else f"p{index}" for index in range(20))
    asked = scenario_of(monkeypatch, text, person_names=names)
    again = asked.asking(asked.request_text)
    assert again.parsed == asked.parsed
    assert again.request_text == asked.request_text


def test_indices_of_a_file_stand_in_the_record_themselves(tmp_path, monkeypatch):
    (tmp_path / "gone.txt").write_text("7\n03\n")
    assert scenario_of(monkeypatch, f"indices:@{tmp_path}/gone.txt").request_text == "indices:7,3"


@pytest.mark.fault("The wrong data: file names, numbers, commas")
@pytest.mark.parametrize(
    "names",
    [["Doe, Jane"], ["Doe"], ["Doe", "Jane"], ["*3"], ["any3"], ["anyone"], ["p_3"], ["p 3", "Doe, Jane"], ["7"]],
)
def test_the_text_of_a_record_names_exactly_its_people(names, monkeypatch):
    odd = ("Doe, Jane", "Doe", "Jane", "*3", "any3", "anyone", "p_3", "p 3", "007", "7")
    people = (*odd, *(f"p{index}" for index in range(10, 20)))
    asked = scenario_of(monkeypatch, request_for(make_blobs(), "person", names), person_names=people)
    again = asked.asking(asked.request_text)
    assert again.parsed.members == asked.parsed.members == tuple(names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class:5", "class 5"),
        ("class:anyone", "class anyone"),
        ("class:5,7", "class 5, 7"),
        ("class:*8", "8 classes drawn at random"),
        ("person:*20", "20 people drawn at random"),
        ('person:["Doe, Jane", "*3"]', "person Doe, Jane, *3"),
        ("random:0.1", "10 % of the images, drawn at random"),
        ("mislabelled:0.2", "the 20 % of the images that are mislabelled"),
        ("indices:3,17,5", "3 chosen images"),
        ("official:list", "the published list"),
    ],
)
def test_a_request_is_named_in_words(text, words):
    assert studies.request_words(text) == words


def test_a_class_that_is_gone_is_an_error_that_says_so(root):
    (entry,) = find_entries(root)
    with pytest.raises(ForgetError, match="zebra"):
        open_bench(dataclasses.replace(entry, request="class:zebra"), root)


def test_models_of_other_data_are_refused(root, monkeypatch):
    data = dataclasses.replace(load("mnist", "sample"), checksum="other")
    monkeypatch.setattr("forget_lib.study.scenario.load", lambda _name, _start: data)
    with pytest.raises(ForgetError, match="other data"):
        open_bench(find_entries(root)[0], root)


def test_a_request_by_index_comes_back(tmp_path):
    make_records(tmp_path, request="indices:3,5,8,13,21,34")
    (entry,) = find_entries(tmp_path)
    assert entry.label == "Digits (MNIST): forget 6 chosen images (mlp)"
    bench = open_bench(entry, tmp_path)
    assert bench.scenario.sets.forget.tolist() == [3, 5, 8, 13, 21, 34]
    assert len(bench.samples("forget")) == 6


def test_opening_never_trains(root, monkeypatch):
    monkeypatch.setattr(run, "train", lambda *_, **__: pytest.fail("the page trained a model"))
    bench = open_bench(find_entries(root)[0], root)
    for name in bench.titles:
        found = bench.probabilities(name, bench.samples("test").images[:3])
        assert found.sum(1) == pytest.approx(torch.ones(3))


def changed(folder: Path, **fields) -> None:
    """Writes other fields into a record, which is then one of no digest."""
    path = folder / "run.json"
    record = json.loads(path.read_text()) | fields
    record.pop("digest", None)
    path.write_text(json.dumps(record))


def cut(folder: Path) -> None:
    """Damages the weights of a record."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def scenario_folder(root: Path) -> Path:
    """Where the records of the one draw and seed of the tiny study lie."""
    (retrain,) = root.glob("*/class-5/draw0/seed0/retrain")
    return retrain.parent


@pytest.mark.fault("A demo with an unknown method or a broken study")
def test_a_method_unknown_here_is_shown_by_its_name_and_a_broken_one_is_named_and_left_out(root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    records = scenario_folder(tmp_path)
    shutil.copytree(records / "finetune", records / "push_down")
    changed(records / "push_down" / "run0", method="push_down")
    cut(records / "uniform_kl" / "run0")
    demo = Demo(tmp_path, seed=3)
    assert demo.bench.unlearned == [("Fine-tune", "finetune"), ("push_down", "push_down")]
    assert "push_down is not known here" in demo.source.value
    assert "uniform_kl cannot be shown" in demo.source.value
    demo.gallery.method.value = "push_down"
    assert "push_down" in demo.gallery.result.value
    assert demo.panels["attack"].guessing is not None
    assert not [panel.status.value for panel in demo.panels.values() if "fd-error" in panel.status.value]


@pytest.mark.fault("A demo with an unknown method or a broken study")
def test_a_study_that_cannot_be_opened_is_named_and_the_next_one_is_shown(root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    there = scenario_folder(tmp_path)
    broken = tmp_path / there.relative_to(tmp_path).parts[0] / "class-3" / "draw0" / "seed0"
    shutil.copytree(there, broken)
    for folder in broken.glob("*/run0"):
        changed(folder, request="class-3", request_text="class:3")
    cut(broken / "retrain" / "run0")
    demo = Demo(tmp_path, seed=3)
    assert [entry.request for entry in demo.entries] == ["class:3", "class:5"]
    assert demo.bench.entry.request == "class:5"
    assert demo.entries[demo.study.value].request == "class:5"
    assert demo.digits.bench is demo.bench
    assert "class 3" in demo.status.value
    assert "model.safetensors" in demo.status.value


@pytest.mark.fault("A demo with an unknown method or a broken study")
def test_provenance_is_that_of_the_study_shown(root, tmp_path):
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    other = tmp_path / scenario_folder(tmp_path).relative_to(tmp_path).parts[0] / "class-7" / "draw0" / "seed0"
    shutil.copytree(scenario_folder(tmp_path), other)
    for folder in other.glob("*/run0"):
        changed(folder, request="class-7", request_text="class:7")
    demo = Demo(tmp_path, seed=3)
    assert "class-5" in demo.section("provenance").value
    demo.study.value = 1
    assert "class-7" in demo.section("provenance").value
    assert "class-5" not in demo.section("provenance").value
    assert demo.bench.data.checksum in demo.section("provenance").value


# --- a drawn digit ----------------------------------------------------------------------------------------------------


def test_a_digit_is_scaled_and_centred_as_mnist_does():
    ink = np.zeros((280, 280), dtype=np.uint8)
    ink[10:210, 5:45] = 255
    digit = as_mnist(ink)[0].numpy()
    rows, columns = np.nonzero(digit)
    assert rows.max() - rows.min() + 1 == 20
    assert columns.max() - columns.min() + 1 == 4
    assert rows.mean() == pytest.approx(13.5, abs=0.6)
    assert columns.mean() == pytest.approx(13.5, abs=0.6)


def test_an_empty_pad_is_no_digit():
    with pytest.raises(ForgetError, match="Nothing is drawn"):
        as_mnist(rasterise([]))


def test_drawn_digits_are_recognised(bench):
    images = torch.stack([as_mnist(rasterise(example(digit))) for digit in range(10)])
    assert (bench.probabilities("original", images).argmax(1) == torch.arange(10)).sum() >= 8
    assert bench.probabilities("retrain", images)[5].argmax() != 5


# --- forgetting live --------------------------------------------------------------------------------------------------


def test_live_forgetting_gives_the_recorded_model(bench):
    seen = []
    result = live.forget_live(bench, "class:5", "uniform_kl", threading.Event(), seen.append)
    recorded = bench.model("uniform_kl").state_dict()
    assert all(torch.equal(value, recorded[name]) for name, value in result.model.state_dict().items())
    assert result.after["forget"] < 0.5 < result.before["forget"]
    assert seen[0].share == 0
    assert all(0 <= progress.share < 1 for progress in seen)


def test_another_digit_can_be_forgotten_from_the_same_original(bench):
    assert ("class 3", "class:3") in studies.live_choices(bench)
    result = live.forget_live(bench, "class:3", "uniform_kl", threading.Event(), *QUIET)
    assert result.after["forget"] < result.before["forget"]


@pytest.mark.parametrize("method", ["uniform_kl", "retrain", "finetune"])
def test_a_live_run_stops_at_the_next_step(bench, method, monkeypatch):
    monkeypatch.setattr(live, "REPORT_SECONDS", 0)
    stop = threading.Event()

    def report(progress: live.Progress) -> None:
        if progress.share > 0:
            stop.set()

    with pytest.raises(live.Cancelled):
        live.forget_live(bench, "class:5", method, stop, report)


def test_the_meter_corrects_its_guess_after_each_epoch():
    meter = live.LiveMeter(10, threading.Event(), *QUIET)
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


# --- comparing and attacking ------------------------------------------------------------------------------------------


def test_a_turned_copy_has_the_same_layout():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(50, 6)) * [5, 3, 1, 1, 1, 1]
    turn, _ = np.linalg.qr(generator.normal(size=(6, 6)))
    moved, fixed, share = aligned_projection(features @ turn + 7, features)
    assert moved == pytest.approx(fixed)
    assert 0.5 < share < 1


def test_rows_of_the_prediction_matrix_are_shares():
    logits, labels = torch.tensor([[2.0, 0, 0], [0, 2, 0], [2, 0, 0], [0, 0, 2]]), torch.tensor([0, 0, 0, 1])
    found = prediction_shares(logits.numpy(), labels.numpy())
    assert found == pytest.approx(np.array([[2 / 3, 1 / 3, 0], [0, 0, 1], [0, 0, 0]]))
    rates = class_accuracies(logits, labels, 3)
    assert rates[0].value == pytest.approx(2 / 3)
    assert rates[0].low < 2 / 3 < rates[0].high
    assert rates[2] is None


def sentences(guess: attack.Guess) -> str:
    return " ".join(parts.html.guess(*guess).split())


def test_the_threshold_gives_both_rates_with_exact_intervals():
    guess = attack.Guessing(np.array([3.0, 2, 1, 0]), np.array([1.0, 0, 0, 0])).at(1.0)
    assert (guess.found.value, guess.accused.value) == (0.75, 0.25)
    assert (guess.found.low, guess.accused.high) == pytest.approx((0.1941, 0.8059), abs=1e-4)
    assert "3 of the 4" in sentences(guess)
    assert "1 of 4" in sentences(guess)
    assert "nothing shows that the guess beats chance" in sentences(guess)


def test_a_clear_difference_is_called_one():
    assert "clearly more often" in sentences(attack.Guessing(np.full(50, 2.0), np.full(50, -2.0)).at(0.0))
    assert "clearly less often" in sentences(attack.Guessing(np.full(50, -2.0), np.full(50, 2.0)).at(0.0))
    with pytest.raises(TooFewError):
        attack.Guessing(np.ones(1), np.ones(5))


def test_the_attack_panel_follows_model_and_threshold(bench):
    panel = attack.AttackPanel()
    panel.show(bench)
    low, high = panel.guessing.range
    panel.threshold.value = low
    assert panel.guess.found.value == 1.0
    panel.model.value = "retrain"
    assert "Retrained" in panel.status.value
    assert low <= high


def test_points_are_selected_in_both_maps(demo):
    panel = demo.panels["compare"]
    panel.select.value = 5
    assert panel.chosen.any()
    assert (panel.map.labels[panel.chosen] == 5).all()
    panel.select_frame(0, 0, 320, 320)
    assert panel.chosen.all()
    panel.first.value = panel.second.value
    panel.select.value = "disagree"
    assert not panel.chosen.any()


# --- the page ---------------------------------------------------------------------------------------------------------


def test_picking_shows_three_models_and_new_choices_are_new(demo):
    gallery = demo.gallery
    assert len(gallery.choices) == 12
    before = [choice.image for choice in gallery.choices]
    gallery.pick(4)
    assert "Image 5" in gallery.status.value
    for title in ("Original", "Uniform KL", "Retrained"):
        assert title in gallery.result.value
    gallery.again.click()
    assert not all(torch.equal(one, two.image) for one, two in zip(before, gallery.choices, strict=True))


def test_two_hundred_picks_are_quick_and_keep_no_memory(demo):
    def resident() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096 / 1e6

    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    demo.gallery.pick(0)
    before, begun = resident(), time.process_time()
    for number in range(200):
        demo.gallery.pick(number % 12)
    assert (time.process_time() - begun) / 200 < 0.3
    assert resident() - before < 50


def test_an_upload_is_read_shown_and_dropped(demo):
    panel = demo.panels["own image"]
    panel.input._handle_custom_msg({"picture": True}, [memoryview(BAD["text"])])
    assert "not a JPEG or PNG" in panel.status.value
    panel.read(encoded(Image.new("RGB", (50, 50), "red")))
    assert "What the models see" in panel.seen.value
    panel.read(BAD["cut off"])
    assert panel.picture is None
    assert panel.result.value == ""


@pytest.mark.parametrize(
    ("boxes", "words", "answers"),
    [
        ([], "no face was found, so nothing is asked", 0),
        ([Box(10, 10, 60)], "one face was found", 1),
        ([Box(10, 10, 60), Box(90, 10, 40)], "2 faces were found, the largest is used", 1),
    ],
)
def test_the_line_says_how_many_faces_were_found(demo, monkeypatch, boxes, words, answers):
    monkeypatch.setattr("forget_lib.demo.own_image.find_faces", lambda _picture: boxes)
    monkeypatch.setattr(studies.Bench, "shows_faces", True)
    panel = demo.panels["own image"]
    panel.read(encoded(Image.new("RGB", (160, 90), "grey")))
    assert words in panel.status.value
    assert panel.result.value.count("<table") == answers
    assert (panel.face.layout.display == "none") == (len(boxes) < 2)
    if len(boxes) > 1:
        before = panel.seen.value
        panel.face.value = 1
        assert panel.seen.value != before


def test_a_picture_of_the_camera_is_read_like_an_upload_and_not_kept_in_the_widget(demo):
    panel = demo.panels["own image"]
    panel.input._handle_custom_msg({"ready": True}, [])
    assert "camera is on" in panel.status.value
    photo = encoded(Image.new("RGB", (64, 48), "red"), "JPEG")
    panel.input._handle_custom_msg({"picture": True}, [memoryview(photo)])
    assert "64×48 pixels read" in panel.status.value
    assert not [value for value in panel.input.get_state().values() if isinstance(value, bytes | memoryview)]
    panel.input._handle_custom_msg({"problem": "No camera was found."}, [])
    assert "fd-error" in panel.status.value
    panel.input._handle_custom_msg({"picture": True}, [memoryview(BAD["cut off"])])
    assert panel.picture is None


def test_strokes_on_the_pad_are_recognised(demo):
    pad = demo.digits
    for stroke in example(1):
        pad.begin(*stroke[0])
        for point in stroke[1:]:
            pad.go_on(*point)
        pad.end()
    assert "Original 1" in pad.status.value
    pad.empty()
    assert pad.digit is None
    pad.sample.value = 7
    assert "Original 7" in pad.status.value


def test_pictures_have_alt_texts_and_names_are_escaped(demo):
    demo.panels["compare"].select.value = 1
    pages = [each.value for panel in demo.panels.values() for each in vars(panel).values() if hasattr(each, "value")]
    html = "".join(page for page in pages if isinstance(page, str))
    images = re.findall(r"<img [^>]*>", html)
    assert images
    assert all('alt="' in image and 'alt=""' not in image for image in images)
    assert "<script" not in parts.html.status("<script>")
    assert "<b>" not in parts.html.bars({"<b>": [0.5]}, ["<b>"], ["red"], "<b>")


def test_the_page_asks_for_nothing_from_elsewhere():
    sheet = (parts.ASSETS / "page.css").read_text()
    assert not re.search(r"url\(['\"]?(?!data:)", sheet.replace('url("data:', ""))
    assert "@import" not in sheet
