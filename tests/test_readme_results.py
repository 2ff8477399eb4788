"""The generated parts of README and docs/ are true; the result at the top leaves out what does not stand."""

import pandas as pd
import pytest

from forget_lib.attacks import list_attacks
from forget_lib.core.paths import REPOSITORY
from forget_lib.unlearning import list_methods
from tests.show.test_overview import near
from workflow import readme


def reference(folder, table: pd.DataFrame) -> None:
    folder.mkdir(parents=True)
    table.assign(kind="").to_csv(folder / "runs.csv.gz", index=False)


def test_a_sentence_that_stands_is_written_and_one_that_turns_is_not(tmp_path):
    reference(tmp_path / "quick", pd.concat([near({"salun": 0.0}), near({"salun": 0.0}, "e")]))
    text = readme.result(tmp_path)
    assert "It is shown for salun (random samples)." in text
    assert "2 scenarios (pairs of draw and seed: 8 in 2)" in text
    reference(tmp_path / "study", pd.concat([near({"salun": 0.0}), near({"salun": 0.3}, "e")]))
    assert "salun" not in readme.result(tmp_path)


def test_the_study_is_taken_before_quick(tmp_path):
    reference(tmp_path / "quick", near({"salun": 0.0}))
    reference(tmp_path / "study", near({"ssd": 0.0}))
    (tmp_path / "study" / "figures").mkdir()
    (tmp_path / "study" / "figures" / "headline.png").write_bytes(b"")
    assert "](results/reference/study/figures/headline.png)" in readme.result(tmp_path)


@pytest.mark.fault("Sentences that one scenario or one seed turns")
def test_the_readme_has_no_sentence_that_a_scenario_or_a_seed_turns():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    begin, end = readme.BEGIN.format(name="result"), readme.END.format(name="result")
    written = text.partition(begin)[2].partition(end)[0].strip()
    assert written == readme.parts()["result"].strip()


@pytest.mark.parametrize("path", readme.PAGES, ids=lambda path: path.name)
def test_the_generated_parts_are_as_they_are_now(path):
    text = path.read_text(encoding="utf-8")
    assert readme.filled(text) == text, "run: python -m workflow.readme"


def test_each_generated_part_stands_on_one_page():
    text = "".join(path.read_text(encoding="utf-8") for path in readme.PAGES)
    for name in readme.parts():
        assert text.count(readme.BEGIN.format(name=name)) == text.count(readme.END.format(name=name)) == 1, name
    assert all(f"`{name}`" in text for name in [*list_methods(), *list_attacks()])
