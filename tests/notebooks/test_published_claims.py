"""The page on published claims: what its cells define, by hand, and its behaviours on one seed."""

import math

import numpy as np
import pandas as pd
import pytest

from forget_lib.statistics import metrics, scores
from tests.notebooks.cells import run_cells

PAGE = "11_published_claims"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> dict:
    return run_cells(PAGE, before="## Provenance", seeds=[0], results=str(tmp_path_factory.mktemp("claims")))


@pytest.fixture(scope="module")
def table(page) -> pd.DataFrame:
    return page["table"].set_index("behaviour")


def test_the_reversed_divergence_is_what_it_is_called(page):
    p, q = np.array([[0.5, 0.5]]), np.array([[0.9, 0.1]])
    m = (p + q) / 2
    by_hand = ((m * np.log(m / p)).sum() + (m * np.log(m / q)).sum()) / 2 / 2  # over two classes
    assert page["js_as_found"](np.log(p), np.log(q)) == pytest.approx(by_hand)
    assert metrics.js_divergence(np.log(p), np.log(q)) > 1.5 * by_hand


def test_the_wrong_modified_entropy_depends_on_the_other_rows_labels(page):
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]))
    alone = page["modified_entropy_as_found"](logits[:1], np.array([0]))[0]
    beside = page["modified_entropy_as_found"](logits, np.array([0, 1]))[0]
    assert alone == pytest.approx(-(0.3 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)))
    assert beside == pytest.approx(-(0.3 * math.log(0.7) + 0.8 * math.log(0.2) + 0.1 * math.log(0.1)))
    right = scores.modified_entropy(logits, np.array([0, 1]))[0]
    assert right == pytest.approx(-(0.3 * math.log(0.7) + 0.2 * math.log(0.8) + 0.1 * math.log(0.9)))


def test_verdicts_follow_the_interval(page):
    def verdict(*values: float) -> str:
        return page["verdict"](np.array(values), -0.05, 0.05, (-1, 1))

    assert verdict(0.01, 0.0, -0.01) == "supported"
    assert verdict(0.2, 0.21, 0.22) == "contradicted"
    assert verdict(0.0, 0.1, 0.2) == "not decidable"
    assert verdict(0.0) == "not decidable"


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
def test_a_place_lies_among_the_places_there_are(page, table):
    row = table.loc["An average gap that rewards doing nothing"]
    assert (row["least"], row["most"]) == (1, 4)
    places = {"found": [1.0, 2.0, 1.0], "corrected": [2.0, 3.0, 3.0], "least": 1, "most": 4}
    rows = pd.DataFrame(places).assign(behaviour="b", quantity="place", source="s", order_found="", order_corrected="")
    assert page["summary"](rows)["as found"].item() == "1.333 (1.003 to 2.768)"  # by t: -0.101


def test_a_difference_is_shown_only_where_its_interval_leaves_out_zero(page):
    differ = page["differ"]
    assert differ(pd.Series([0.1, 0.11, 0.12])) == "yes"
    assert differ(pd.Series([0.1, -0.1, 0.02])) == "not decidable"
    assert differ(pd.Series([0.0, 0.0])) == "no difference"
    assert differ(pd.Series([0.5])) == "not decidable"


def test_others_are_compared_by_their_mean_distance_from_the_retrained_model(page, monkeypatch):
    distances = {"msg": 0.1, "finetune": 0.2, "negative_gradient_plus": 0.3, "random_label": 0.7}
    monkeypatch.setitem(page, "scenario_of", lambda *about: about)
    monkeypatch.setitem(page, "model_of", lambda scenario, name, tuned=False: name)
    monkeypatch.setitem(page, "distance", lambda scenario, name, goal: distances[name])
    assert page["number_of"](0, "others", "msg", True) == pytest.approx(0.4 - 0.1)


def test_every_claim_has_a_number_a_range_and_a_verdict(page):
    headlines = page["headlines"]
    assert len(headlines) == len(page["claims"]) == 12
    assert set(headlines["here"]) == {"not decidable"}  # of one seed
    assert headlines["method"].iloc[-1] == "convolution_transpose"


def test_the_findings_name_every_behaviour(page, table):
    text = "".join(page["lines"])
    assert all(name in text for name in table.index)
    assert "Of the statements tried: 12 not decidable." in text


def test_each_behaviour_shows_the_difference_that_it_is_about(table):
    found, corrected = table["found"], table["corrected"]
    assert len(table) == 11
    assert found["SCRUB that trains a copy"] > 0.95 > corrected["SCRUB that trains a copy"]
    assert corrected["NegGrad+ that never climbs"] <= found["NegGrad+ that never climbs"]
    assert found["A mask on gradients alone"] > 0.5
    assert corrected["A mask on gradients alone"] == 0
    name = "JS divergence reversed and averaged over classes"
    assert found[name] < corrected[name] / 3
    name = "A class compared with other classes"
    assert found[name] < 0.2
    assert abs(corrected[name] - 0.5) < 0.1
    name = "ZRF by the reversed divergence"
    assert corrected[name] < found[name] < 0
    name = "An average gap that rewards doing nothing"
    assert found[name] < corrected[name] <= 4
    name = "The challenge's score of retraining itself"
    assert found[name] < 0.3 < corrected[name]
    assert found["SSD with two batch sizes"] != corrected["SSD with two batch sizes"]
    assert found["Retraining that keeps the backbone"] > corrected["Retraining that keeps the backbone"] - 0.01
