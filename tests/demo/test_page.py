"""The page and its panels, driven as a browser would."""

import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from forget_lib.core.errors import ForgetError
from forget_lib.demo import Demo, parts, studies
from forget_lib.demo.digit import as_mnist, example, rasterise
from forget_lib.demo.images import Box
from tests.demo.test_images import BAD, encoded


def test_without_records_every_section_says_what_to_run(tmp_path):
    demo = Demo(tmp_path / "quick")
    assert "./run_all.sh quick" in demo.status.value
    assert "./run_all.sh quick" in demo.section("gallery").value


def test_a_panel_is_computed_when_someone_looks_at_it(root):
    demo = Demo(root, seed=3)
    assert not hasattr(demo.panels["compare"], "bench")
    demo.closer.value = "compare"
    assert demo.panels["compare"].bench is demo.bench
    assert demo.panels["compare"].map is not None


def test_an_unknown_section_lists_the_known_ones(demo):
    with pytest.raises(ForgetError, match="gallery"):
        demo.section("galery")


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
    demo.section("attack")
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
    assert ["fd-picked" in each._dom_classes for each in demo.studies.buttons] == [False, True]
    demo.section("digit")
    assert demo.digits.bench is demo.bench
    assert "digit 3" in demo.status.value
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
    demo.studies.buttons[1].click()
    assert "class-7" in demo.section("provenance").value
    assert "class-5" not in demo.section("provenance").value
    assert demo.bench.data.checksum in demo.section("provenance").value


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
    panel.read(encoded(Image.linear_gradient("L")))
    assert "What the models see" in panel.seen.value
    panel.read(BAD["cut off"])
    assert panel.picture is None
    assert panel.result.value == ""


def written(digit: int, *, ink: int, ground: int) -> Image.Image:
    """A digit on a sheet, off its centre. ink, ground: their grey levels."""
    pen = Image.fromarray(rasterise(example(digit))).resize((150, 150))
    sheet = Image.new("L", (400, 300), ground)
    sheet.paste(ink, (20, 10), pen)
    return sheet


@pytest.mark.parametrize(("ink", "ground"), [(0, 255), (60, 200), (255, 0)])
def test_a_digit_on_a_sheet_is_read_as_the_pad_reads_it(demo, ink, ground):
    panel = demo.panels["own image"]
    panel.read(encoded(written(5, ink=ink, ground=ground)))
    drawn = as_mnist(rasterise(example(5)))
    seen = panel.image.float()
    assert torch.corrcoef(torch.stack([seen.flatten(), drawn.float().flatten()]))[0, 1] > 0.85
    answers = panel.answers(panel.image)
    assert answers["original"].argmax() == 5
    assert answers[panel.method.value][5] < 0.5, "it forgot this digit"
    assert "unlike" not in panel.status.value


def test_a_picture_unlike_the_training_data_gets_a_warning(demo):
    panel = demo.panels["own image"]
    noise = np.random.default_rng(0).integers(0, 256, (90, 90), dtype=np.uint8)
    panel.read(encoded(Image.fromarray(noise)))
    assert "unlike the pictures that the models were trained on" in panel.status.value
    panel.read(encoded(Image.new("L", (90, 90), 200)))
    assert "Nothing is drawn" in panel.status.value


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
    photo = encoded(Image.linear_gradient("L").resize((64, 48)), "JPEG")
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
