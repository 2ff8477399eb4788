"""The whole smoke study for real: every notebook runs, and its numbers are what they must be."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml

from forget_lib.core import paths
from forget_lib.study import records
from tests.faults.workflow_copy import active_environment

REPOSITORY = paths.REPOSITORY
ROOT = REPOSITORY / "results" / "smoke"
CONFIG = REPOSITORY / "workflow" / "config" / "smoke.yaml"
pytestmark = pytest.mark.slow


def snakemake(*options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--configfile", str(CONFIG), "--nolock", *options]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def study() -> pd.DataFrame:
    """As a user runs it, with this environment as the active one."""
    command = [REPOSITORY / "run_all.sh", "smoke"]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=active_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return records.load(ROOT)


@pytest.fixture(scope="module")
def scenarios(study) -> pd.DataFrame:
    return records.scenarios_and_pools(study)[0]


def values(table: pd.DataFrame, dataset: str, metric: str) -> pd.Series:
    part = table[(table["dataset"] == dataset) & (table["metric"] == metric)]
    return part.set_index("method")["value"]


class Page(HTMLParser):
    """What a page loads, where it links to, the alt texts of its pictures, and its text as a browser shows it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.pictures_without_alt = self.pictures = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag in ("script", "img", "iframe", "link") and (found.get("src") or found.get("href")):
            self.loads.append(found.get("src") or found["href"])
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "img":
            self.pictures += 1
            self.pictures_without_alt += (
                not found.get("alt") or found["alt"] == "No description has been provided for this image"
            )

    def handle_data(self, data: str) -> None:
        self.text += data


def pages() -> list[Path]:
    return sorted(ROOT.glob("notebooks/*/*.html"))


def test_every_notebook_of_the_profile_has_its_page(study):
    wanted = {scenario["notebook"] for scenario in yaml.safe_load(CONFIG.read_text())["scenarios"].values()}
    wanted |= {"00_overview", "01_data", "02_train_baseline", "08_figures", "10_deletion_request"}
    assert {path.parent.name for path in pages()} == wanted


def test_pages_load_nothing_from_elsewhere_and_describe_their_pictures(study):
    for path in [ROOT / "index.html", *pages()]:
        page = Page(path)
        assert all(source.startswith("data:") for source in page.loads), path
        assert page.pictures_without_alt == 0, path
    assert sum(Page(path).pictures for path in pages()) > 10


def test_text_in_figures_can_be_read_and_tables_have_no_leftovers_of_pandas(study):
    for path in sorted(ROOT.glob("notebooks/*/*.ipynb")):
        for cell in json.loads(path.read_text())["cells"]:
            for output in cell.get("outputs", []):
                about = output.get("metadata", {}).get("image/png", {})
                assert about.get("smallest_text", 12) >= 12, f"{path}, cell {cell['id']}: in pixels, at 1,400"
    for path in pages():
        text = path.read_text()
        assert re.findall(r"<td>(NaN|None|True|False)</td>", text) == [], path
        assert all(head.count("<tr") == 1 for head in re.findall(r"<thead>.*?</thead>", text, re.DOTALL)), path


def test_pages_show_text_and_no_entities(study):
    for path in [ROOT / "index.html", *pages()]:
        assert re.findall(r"&(?:#\d+|[a-z]+);", Page(path).text) == [], path


def test_the_page_of_a_deletion_request_is_about_this_request_alone(study):
    (path,) = ROOT.glob("notebooks/10_deletion_request/*.html")
    text = Page(path).text
    assert "models retrained without these data" in text
    for word in ("damaged", "Ten requests", "SISA"):
        assert word not in text, word


def test_the_index_links_every_page(study):
    links = {link.split("#")[0] for link in Page(ROOT / "index.html").links}
    assert {str(path.relative_to(ROOT)) for path in pages()} <= links
    assert all((ROOT / link).exists() for link in links if not re.match("https?:", link))


def test_the_retrained_model_does_not_know_the_digit_and_keeps_the_others(scenarios):
    assert values(scenarios, "mnist", "forget_accuracy")["retrain"] == 0
    kept = values(scenarios, "mnist", "test_accuracy_retained")
    assert kept["retrain"] == pytest.approx(kept["original"], abs=0.03)
    assert kept["original"] > 0.85


def test_uniform_kl_forgets_the_digit_and_keeps_the_others(scenarios):
    assert values(scenarios, "mnist", "forget_accuracy")["uniform_kl"] <= 0.1
    kept = values(scenarios, "mnist", "test_accuracy_retained")
    assert kept["uniform_kl"] > kept["original"] - 0.05


def test_the_attack_finds_the_original_and_not_the_retrained_model(scenarios):
    rows = scenarios[(scenarios["dataset"] == "cifar16") & (scenarios["attack"] == "loss_regression")]
    rows = rows[rows["metric"] == "auc"].set_index("method")
    assert rows.loc["original", "value"] >= 0.57
    assert rows.loc["original", "low"] > 0.5
    assert rows.loc["retrain", "low"] <= 0.5 <= rows.loc["retrain", "high"]


def test_the_pool_finds_the_original_by_every_attack_and_the_retrained_model_by_none(study):
    _, strong = records.scenarios_and_pools(study)
    areas = strong[strong["metric"] == "auc"].set_index(["method", "attack"])
    for attack in ("loss_regression", "rmia", "lira"):
        assert areas.loc[("original", attack), "value"] > 0.6
        low, high = areas.loc[("retrain", attack), ["low", "high"]]
        assert low <= 0.5 <= high


def test_every_record_names_its_source_and_says_that_it_is_a_sample_or_synthetic(study):
    assert study["source"].eq("embedded sample").all()
    assert (study["sampled"] | study["synthetic"]).all()


def test_a_second_run_has_nothing_to_do(study):
    assert "Nothing to be done" in snakemake().stderr


def test_a_scenario_that_is_run_again_elsewhere_gives_the_same_numbers(study, tmp_path):
    """Its original is trained again, too, by a kernel that is no fork; all but times must be equal to the last bit,
    predictions too."""
    (executed,) = ROOT.glob("notebooks/03_unlearn_mnist/*.ipynb")
    given = json.loads(executed.read_text())["metadata"]["papermill"]["parameters"]
    command = [sys.executable, "-m", "workflow.pages", "run", "notebooks/03_unlearn_mnist.ipynb"]
    command += ["--parameters", json.dumps(given | {"results": str(tmp_path)}), "--output", str(tmp_path / "a.ipynb")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    columns = ["method", "run", "attack", "metric", "value", "low", "high"]
    # The shared original is measured on the classes of the request that it is first trained for, here another one.
    again, before = (
        table[(table["metric"] != "seconds") & (table["request"] != "all")][columns].reset_index(drop=True)
        for table in (records.load(tmp_path), study[study["dataset"] == "mnist"])
    )
    pd.testing.assert_frame_equal(again, before, check_exact=True)
    for folder in records.record_folders(tmp_path):
        files = records.read_record(folder)["files"]
        same = records.read_record(ROOT / folder.relative_to(tmp_path))["files"]
        assert {k: files[k] for k in files if k != "history.csv"} == {k: same[k] for k in same if k != "history.csv"}
