"""The numbers of docs/questions.md follow from committed records, and each question has a number or a command."""

import re

import pandas as pd
import pytest

from forget_lib.core.paths import REPOSITORY
from workflow import questions

TEXT = (REPOSITORY / "docs" / "questions.md").read_text(encoding="utf-8")
ANSWERS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def test_there_are_a_dozen_questions_or_more():
    assert len(ANSWERS) >= 12
    assert all(question.endswith("?") for question in ANSWERS)


@pytest.mark.parametrize("question", ANSWERS)
def test_each_answer_has_a_number_or_a_command(question):
    command = r"`(\./run_all\.sh|python|[a-z_]+: )|notebooks/|`07b_|`11_"
    assert re.search(r"answer on|" + command, ANSWERS[question])


def rows(gaps: dict[str, list[float]], dataset: str = "mnist", metric: str = "forget_accuracy") -> pd.DataFrame:
    """Records of a random tenth; gaps: forget accuracy minus the retrained model's, by method and seed."""
    table = [
        {"dataset": dataset, "model": "mlp", "request": "random-0.1", "draw": seed, "seed": seed, "method": method}
        | {"metric": metric, "value": 0.9 + gap}
        for method, values in gaps.items()
        for seed, gap in enumerate(values)
    ]
    return pd.DataFrame(table)


def test_the_margin_of_error_is_that_of_the_paired_gap():
    done = rows({"retrain": [0.0, 0.05, -0.05], "finetune": [0.01, 0.07, -0.02]})
    text = questions.margin_of_error(done)  # gaps 1, 2 and 3 points: a deviation of one point
    assert "Over 1 methods and requests" in text
    assert "deviation between runs of 1.0 points" in text
    assert "± 2.5 with 3, ± 1.0 with 6, ± 0.7 with 10 runs" in text
    assert "up to 2.8 points" in text


def test_the_place_of_doing_nothing_leaves_controls_out():
    gaps = {"retrain": [0.0], "do_nothing": [0.05], "finetune": [0.01], "ssd": [-0.2], "over_forget": [0.0]}
    done = pd.concat(rows(gaps, dataset) for dataset in ("mnist", "cifar10_part"))
    assert "place 2 of 3 on MNIST and place 2 of 3 on a part of CIFAR-10" in questions.doing_nothing(done)


def test_a_row_of_the_page_on_claims_is_read_whole():
    cells = questions.claim("A class compared with other classes")
    assert cells[0] == "AUC of the loss on the retrained model, class"
    assert cells[4] in ("yes", "no", "not decidable")
