"""The result at the top of the README follows from a reference's records, and leaves out what these do not hold."""

import pandas as pd
import pytest

from tests.show.test_overview import near
from workflow import readme


def reference(folder, table: pd.DataFrame) -> None:
    folder.mkdir(parents=True)
    table.assign(kind="").to_csv(folder / "runs.csv.gz", index=False)


def of_a_class(ratio: float) -> pd.DataFrame:
    """A class is forgotten by salun, which relearns it at this ratio to a retrained model, and not by ssd."""
    rows = near({"salun": 0.01, "ssd": 0.3}).assign(request="class-5")
    steps = rows[(rows["metric"] == "forget_accuracy") & (rows["method"] == "salun")]
    steps = steps.assign(metric="anamnesis_index", attack="relearning")
    return pd.concat([rows, steps.assign(value=ratio + 0.01 * steps["seed"])])


def test_the_sentences_follow_from_the_runs(tmp_path):
    reference(tmp_path / "quick", of_a_class(0.2))
    text = readme.result(tmp_path)
    assert "a whole class: 1 of 2." in text
    assert "Of the 1 methods that are right for a whole class by accuracy, 1 relearn it sooner" in text
    assert "strong attack" not in text
    assert "1 scenarios (draws and seeds: 2 in 1)" in text


def test_the_study_is_taken_before_quick(tmp_path):
    reference(tmp_path / "quick", of_a_class(0.2))
    reference(tmp_path / "study", of_a_class(2.0))
    (tmp_path / "study" / "figures").mkdir()
    (tmp_path / "study" / "figures" / "headline.png").write_bytes(b"")
    text = readme.result(tmp_path)
    assert "](results/reference/study/figures/headline.png)" in text
    assert "by accuracy, 0 relearn it sooner" in text


def test_the_study_says_how_many_draws_and_seeds_its_scenarios_have():
    assert "22 scenarios (draws and seeds: 1 in 6, 3 in 14, 8 in 1, 10 in 1)" in readme.result()
    figure = (readme.REFERENCE / "study" / "figures" / "headline.svg").read_text()
    assert "over 10 seeds" not in figure
    assert "scenarios, n = 1 to 3" in figure


@pytest.mark.parametrize("name", ["study", "quick"])
def test_a_committed_reference_gives_a_figure_and_three_sentences(name):
    if not (readme.REFERENCE / name / "runs.csv.gz").is_file():
        pytest.skip(f"no reference results of {name}")
    text = readme.result()
    assert text.startswith("![")
    assert text.count("\n- **") == 3
