"""The page on published claims: what its functions compute, by hand and on one seed."""

import math

import numpy as np
import pandas as pd
import pytest

from forget_lib.show import claims_tables as tables
from forget_lib.statistics import metrics, scores
from forget_lib.study import claims


def test_the_reversed_divergence_is_what_it_is_called():
    p, q = np.array([[0.5, 0.5]]), np.array([[0.9, 0.1]])
    m = (p + q) / 2
    by_hand = ((m * np.log(m / p)).sum() + (m * np.log(m / q)).sum()) / 2 / 2  # over two classes
    assert claims.reversed_js(np.log(p), np.log(q)) == pytest.approx(by_hand)
    assert metrics.js_divergence(np.log(p), np.log(q)) > 1.5 * by_hand


def test_the_wrong_modified_entropy_depends_on_the_other_rows_labels():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]))
    alone = claims.wrong_modified_entropy(logits[:1], np.array([0]))[0]
    beside = claims.wrong_modified_entropy(logits, np.array([0, 1]))[0]
    assert alone == pytest.approx(-(0.3 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)))
    assert beside == pytest.approx(-(0.3 * math.log(0.7) + 0.8 * math.log(0.2) + 0.1 * math.log(0.1)))
    right = scores.modified_entropy(logits, np.array([0, 1]))[0]
    assert right == pytest.approx(-(0.3 * math.log(0.7) + 0.2 * math.log(0.8) + 0.1 * math.log(0.9)))


def test_verdicts_follow_the_interval():
    assert tables.verdict(np.array([0.01, 0.0, -0.01]), -0.05, 0.05) == "supported"
    assert tables.verdict(np.array([0.2, 0.21, 0.22]), -0.05, 0.05) == "contradicted"
    assert tables.verdict(np.array([0.0, 0.1, 0.2]), -0.05, 0.05) == "not decidable"
    assert tables.verdict(np.array([0.0]), -0.05, 0.05) == "not decidable"


@pytest.mark.fault("Intervals outside what is possible; sides by sign alone")
def test_a_place_lies_among_the_places_there_are():
    entry = next(each for each in claims.BEHAVIOURS if each.quantity.startswith("place of doing nothing among four"))
    assert entry.bounds == (1, 4)
    places = {"found": [1.0, 2.0, 1.0], "corrected": [2.0, 3.0, 3.0], "order_found": [()] * 3}
    rows = pd.DataFrame(places).assign(behaviour=entry.name, quantity="place", source="s", bounds=[entry.bounds] * 3)
    rows = rows.assign(order_corrected=rows["order_found"])
    row = tables.summary(rows).iloc[0]
    assert row["as found"] == "1.333 (1.003 to 2.768)"  # by t: -0.101
    assert "1.333 (1.003 to 2.768) as found" in tables.sentences(rows, pd.DataFrame({"here": []}))[0]


def test_a_difference_is_shown_only_where_its_interval_leaves_out_zero():
    assert tables.differ(pd.Series([0.1, 0.11, 0.12])) == "yes"
    assert tables.differ(pd.Series([0.1, -0.1, 0.02])) == "not decidable"
    assert tables.differ(pd.Series([0.0, 0.0])) == "no difference"
    assert tables.differ(pd.Series([0.5])) == "not decidable"


def test_a_headline_is_a_number_with_an_interval_and_a_verdict(monkeypatch):
    values = iter([0.01, 0.02, 0.03, 0.3, 0.4, 0.5])
    monkeypatch.setattr(tables, "HEADLINES", (tables.HEADLINES[0], tables.HEADLINES[-1]))
    monkeypatch.setattr(tables, "gap_of", lambda headline, digits, objects: next(values))
    found = tables.headlines_table(tables.problems_of("nowhere", [0, 1, 2]))
    assert found["here"].tolist() == ["supported", "supported"]
    assert found["seeds"].tolist() == ["3 of 3", "3 of 3"]
    assert found["method"].tolist() == ["salun", "convolution_transpose"]


def test_others_are_compared_by_their_mean_distance_from_the_retrained_model():
    class Fixed:
        def __init__(self):
            self.distances = {"msg": 0.1, "finetune": 0.2, "negative_gradient_plus": 0.3, "random_label": 0.7}

        def model(self, request, name, tuned):
            assert tuned
            return name

        def gap(self, request, model):
            return self.distances[model]

    headline = next(entry for entry in tables.HEADLINES if entry.method == "msg")
    assert tables.gap_of(headline, Fixed(), Fixed()) == pytest.approx(0.4 - 0.1)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> pd.DataFrame:
    problems = tables.problems_of(tmp_path_factory.mktemp("claims"), [0])
    return tables.behaviours_table(problems).set_index("behaviour")


def test_each_behaviour_shows_the_difference_that_it_is_about(table):
    found, corrected = table["found"], table["corrected"]
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


def test_tables_and_sentences_name_every_behaviour(table):
    rows = table.reset_index()
    twice = pd.concat([rows, rows.assign(seed=1)])
    assert set(tables.summary(twice).index) == {entry.name for entry in claims.BEHAVIOURS}
    assert "of 2 seeds" in tables.summary(twice)["order changes"].iloc[0]
    headlines = pd.DataFrame({"here": ["supported", "not decidable", "supported"]})
    text = tables.sentences(twice, headlines)
    assert "2 supported, 1 not decidable" in "".join(text)
    assert all(any(entry.name in line for line in text) for entry in claims.BEHAVIOURS)
