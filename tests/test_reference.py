"""What goes into results/reference: tables of records, with where they came from."""

import base64
import gzip
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from forget_lib.core.errors import ForgetError
from forget_lib.core.paths import REPOSITORY
from forget_lib.show import overview
from forget_lib.statistics import measurement
from forget_lib.statistics.measurement import Measurement
from forget_lib.study import records as results
from tests.study.test_records import run, write

sys.path.append(str(REPOSITORY))
from benchmarks import reference
from benchmarks import reference_pages as pages
from benchmarks.reference import Job, cell, write_reference
from benchmarks.reference_figures import write_figures

ABOUT = {"commit": "abc", "versions": {"python": "3"}, "data_checksum": "d", "recipe": {"epochs": 1}, "settings": {}}


def records(root) -> pd.DataFrame:
    for seed, value in enumerate((0.2, 0.4)):
        write(root, run(seed, value=value) | ABOUT)
    return results.load(root)


def test_a_cell_has_an_interval_where_there_are_two_runs_or_more(tmp_path):
    table = results.summary(records(tmp_path))
    assert cell(table).startswith("0.300 (")
    assert cell(table.assign(n=1)) == "0.300"
    assert cell(table.iloc[:0]) == ""


def test_tables_stand_beside_what_they_were_made_of(tmp_path):
    table = records(tmp_path / "records")
    write_reference(tmp_path / "out", table, ["forget_accuracy"], "# Page", "python made.py")
    about = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert (about["command"], about["commits"], about["draws_and_seeds"]) == ("python made.py", ["abc"], [0, 1])
    assert len(pd.read_csv(tmp_path / "out" / "runs.csv")) == 2


def profile(root, name: str = "smoke"):
    """A results folder of a profile with two records and a figure."""
    folder = root / "results" / name
    records(folder)
    (folder / "figures").mkdir()
    (folder / "figures" / "headline.png").write_bytes(b"a picture")
    return folder


def test_a_profile_gives_the_same_bytes_again_at_another_time(tmp_path, monkeypatch):
    root = profile(tmp_path)
    for hours, name in enumerate(("one", "two")):
        monkeypatch.setattr("gzip.time.time", lambda hours=hours: 1e9 + 3600 * hours)
        reference.write_profile(root, tmp_path / name)
    files = [
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "two")
    ]
    assert files[0] == files[1]
    assert reference.differences(tmp_path / "one") == []
    results.write_tables(root)
    assert (tmp_path / "one" / "summary.csv").read_bytes() == (root / "tables" / "summary.csv").read_bytes()
    assert len(pd.read_csv(tmp_path / "one" / "runs.csv.gz")) == 2


def test_what_was_changed_by_hand_is_found(tmp_path):
    out = tmp_path / "out"
    reference.write_profile(profile(tmp_path), out)
    table = out / "summary.csv"
    table.write_text(table.read_text().replace("0.3", "0.4"))
    (out / "more.txt").write_text("not from the run")
    (out / "figures" / "headline.png").unlink()
    found = "\n".join(reference.differences(out))
    for words in ("more.txt is not in", "headline.png is missing", "summary.csv is not the file", "does not follow"):
        assert words in found


def test_the_manifest_says_what_is_there_and_what_is_missing(tmp_path):
    root = profile(tmp_path)
    write(
        root,
        run(2) | ABOUT | {"status": "failed", "reason": f"no {root}/x", "measurements": [], "commit": "abd+changed"},
    )
    write(root / "variance", run(5) | ABOUT)
    reference.write_profile(root, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "MANIFEST.json").read_text())
    assert told["records"] == {"all": 4, "done": 3, "failed": 1}
    assert (told["commits"], told["changed"]) == ({"abc": 3, "abd": 1}, 1)
    assert told["draws_and_seeds"] == {"blobs-mlp/class-1": 3}
    assert told["config"]["profile"] == "smoke"
    assert str(tmp_path) not in gzip.decompress((tmp_path / "out" / reference.RECORDS).read_bytes()).decode()
    assert told["scenarios"]["mnist"]["done"] == 0
    assert told["scenarios"]["mnist"]["missing"]
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| mnist | 0 |" in text
    assert len(pd.read_csv(tmp_path / "out" / "summary.csv")) == 1, "the crossed study is not in the means"


def test_records_of_the_parts_asked_for_and_no_others(tmp_path):
    root = tmp_path / "results" / "smoke"
    mnist = {"dataset": "mnist", "model": "mlp"}
    pool = {"samples": 10}
    for content in (
        run() | mnist | {"request": "class-5"},
        run() | mnist | {"request": "all", "method": "original"},
        run() | mnist | {"request": "class-7"},
        run() | mnist | {"request": "pool-random-0.1", "pool": pool, "kind": "control"},
        run() | {"request": "class-5"},
    ):
        write(root, content | ABOUT)
    jobs = [
        Job("03_unlearn_mnist", "one", mnist | {"request": "class:5"}),
        Job("07_membership_inference", "two", mnist | {"request": "class:5", "pool": pool | {"samples": 20}}),
    ]
    found = reference.of_parts(reference.collect(root), jobs)
    assert {(each["dataset"], each["request"]) for each in found} == {("mnist", "class-5"), ("mnist", "all")}
    jobs[1] = replace(jobs[1], parameters=mnist | {"pool": pool})
    assert len(reference.of_parts(reference.collect(root), jobs)) == 3


def test_a_part_that_is_not_there_is_named(tmp_path):
    root = profile(tmp_path)
    with pytest.raises(ForgetError, match="mnits"):
        reference.write_profile(root, tmp_path / "out", ["mnits"])
    with pytest.raises(ForgetError, match="of these parts"):
        reference.write_profile(root, tmp_path / "out", ["mnist"])
    assert not (tmp_path / "out").exists()


# --- pages ------------------------------------------------------------------------------------------------------------


def test_one_page_is_kept_for_a_scenario_and_none_that_may_show_a_person():
    named = [
        ("03_unlearn_mnist", "mnist-class-5-draw0-seed0", "mnist"),
        ("03_unlearn_mnist", "mnist-class-5-draw1-seed1", "mnist"),
        ("03_unlearn_mnist", "mnist-class-7-draw0-seed0", "mnist"),
        ("06_unlearn_identity", "orl-class-1-draw0-seed0", "orl"),
        ("07_membership_inference", "orl-random-0.1-draw0-seed0", "orl"),
        ("02_train_baseline", "mnist-mlp-draw0-seed0", "mnist"),
    ]
    jobs = [Job(notebook, name, {"dataset": dataset}) for notebook, name, dataset in named]
    jobs += [Job("01_data", "data", {"datasets_shown": ["mnist", "lfw"]}), Job("00_overview", "overview", {})]
    kept, left_out = pages.choose({job.key: job for job in jobs})
    assert [key.split("/")[1].split("-draw")[0] for key in kept] == [
        *("overview", "mnist-class-5", "mnist-class-7", "orl-class-1")
    ]
    assert left_out["may show a real person"] == ["01_data/data", "07_membership_inference/orl-random-0.1-draw0-seed0"]
    assert sum(map(len, left_out.values())) + len(kept) == len(jobs)


def test_notebooks_of_charts_show_no_image():
    for name in pages.CHARTS_ONLY:
        cells = json.loads((REPOSITORY / "notebooks" / f"{name}.ipynb").read_text())["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        assert not pages.SHOWS.search(code), name


def test_pages_over_the_limit_and_folders_of_this_machine_are_left_out(tmp_path):
    root = tmp_path / "results" / "smoke"
    jobs = {
        f"03_toy/{name}": Job("03_toy", name, {"dataset": "mnist"}) for name in ("small", "large", "last", "absent")
    }
    (root / "notebooks" / "03_toy").mkdir(parents=True)
    for name, text in (("small", f"{root}/tables and {Path.home()}/x"), ("large", "x" * 1000), ("last", "y")):
        (root / "notebooks" / "03_toy" / f"{name}.html").write_text(text)
    told = pages.copy_pages(root, tmp_path / "out", jobs, 100)
    assert told == {
        "pages": ["03_toy/small", "03_toy/last"],
        "left_out": {"over the limit of all pages together": ["03_toy/large"]},
    }
    assert (tmp_path / "out/notebooks/03_toy/small.html").read_text() == "results/smoke/tables and ~/x"


def test_links_lead_to_pages_that_are_here_or_to_the_index():
    links = ("../03_toy/here.html#there", "../04_toy/gone.html#x", "../../index.html")
    text = " ".join(f'<a href="{link}">x</a>' for link in links)
    made = pages.relinked(text, {"03_toy/here"})
    assert re.findall('href="(.*?)"', made) == [
        "../03_toy/here.html#there",
        "../../index.html#04_toy",
        "../../index.html",
    ]


def test_charts_get_a_palette_and_photographs_stay_as_they_are():
    def page(pixels: np.ndarray) -> str:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        return f'<img src="data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}">'

    chart = np.full((200, 200, 4), 255, np.uint8)
    chart[50:100, 50:100] = (0, 114, 178, 255)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    made = pages.smaller(page(chart))
    assert len(made) < len(page(chart))
    again = Image.open(io.BytesIO(base64.b64decode(made.split(",")[1].split('"')[0]))).convert("RGBA")
    assert np.array_equal(np.asarray(again), chart)
    assert pages.smaller(page(noise)) == page(noise)


# --- figures ----------------------------------------------------------------------------------------------------------


def test_charts_are_drawn_from_the_records_and_the_same_again(tmp_path):
    for seed, value in enumerate((0.1, 0.2)):
        for method, gap in (("original", 0.8), ("retrain", 0), ("scrub", 0.05)):
            measured = [Measurement("forget_accuracy", value + gap), Measurement("test_accuracy", 0.9 - value)]
            measured += [Measurement("relative_cost", 0.1)]
            write(tmp_path / "records", run(seed, method) | {"measurements": [each._asdict() for each in measured]})
    table = results.load(tmp_path / "records")
    for name in ("one", "two"):
        write_figures(tmp_path / "nothing", tmp_path / name, table, table.iloc[:0])
    names = ["gaps-blobs-mlp-class-1"]
    assert sorted(path.name for path in (tmp_path / "one" / "figures").iterdir()) == [
        f"{name}.{suffix}" for name in names for suffix in ("png", "svg")
    ]
    for path in (tmp_path / "one" / "figures").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "figures" / path.name).read_bytes()


# --- what is committed ------------------------------------------------------------------------------------------------

COMMITTED = sorted(path.parent for path in reference.REFERENCE.glob(f"*/{reference.MANIFEST}"))


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda path: path.name)
def test_committed_tables_follow_from_committed_records(folder):
    assert reference.differences(folder) == []


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
def test_no_interval_of_the_quick_reference_lies_outside_what_can_be():
    records = reference.read_records(reference.REFERENCE / "quick" / reference.RECORDS)
    table = results.tidy(("", record) for record in records if not record["place"])
    means = results.summary(table).dropna(subset=["low", "high"])
    ranges = np.array([measurement.range_of(*pair) for pair in zip(means["metric"], means["unit"], strict=True)])
    outside = (means["low"] < ranges[:, 0] - 1e-9) | (means["high"] > ranges[:, 1] + 1e-9)
    assert means[outside].empty
    gaps = overview.answers(results.scenarios_and_pools(table)[0])
    assert gaps[["forget_low", "kept_low"]].min(axis=None) >= -100
    assert gaps[["forget_high", "kept_high"]].max(axis=None) <= 100


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda path: path.name)
def test_committed_pages_link_to_what_is_there(folder):
    for page in folder.rglob("*.html"):
        links = re.findall(r'href="((?!https?:|data:|mailto:|#)[^"#]+)', page.read_text(encoding="utf-8"))
        assert [link for link in links if not (page.parent / link).exists()] == [], page


def test_the_reference_is_small_and_names_no_folder_of_a_machine():
    files = [path for path in reference.REFERENCE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 60e6
    homes = re.compile(rb"/(?:home|Users)/\w+/|/(?:root|tmp)/")
    for path in files:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        assert path.suffix == ".png" or not homes.search(content), path
