"""The experiments behind the verdict: its error rates, and ten requests in a row."""

import math

import numpy as np
import pandas as pd
import pytest

from benchmarks import deletion_error_rates as error_rates
from benchmarks import ten_requests
from forget_lib.deletion import verdict
from workflow.readme import error_rates_text


@pytest.fixture(scope="module")
def given():
    return ten_requests.setting(0)


def test_requests_are_disjoint_and_what_stays_shrinks(given):
    every = np.concatenate(given.requests)
    assert len(set(every.tolist())) == ten_requests.REQUESTS * ten_requests.EACH
    for step in (0, 4, ten_requests.REQUESTS - 1):
        assert not np.isin(given.staying(step), given.gone(step)).any()
        assert len(given.staying(step)) + len(given.gone(step)) == ten_requests.SAMPLES


def test_error_rates_are_shown_with_their_intervals(tmp_path):
    verdicts = pd.DataFrame({"case": "a", "candidate": "masked", "outcome": ["fail"] * 40})
    error_rates.rates(verdicts).to_csv(tmp_path / "error_rates.csv", index=False)
    assert "| a | masked | 0 [0, 9] | 100 [91, 100] | 0 [0, 9] |" in error_rates_text(tmp_path / "error_rates.csv")


def test_forget_and_retain_of_the_error_rates_are_disjoint_and_a_class_is_whole():
    case = error_rates.CASES["mnist14, a class"]
    plan, forget, retain = error_rates.draw(case, 1003)
    assert not set(forget) & set(retain)
    assert len(forget) + len(retain) == case.samples
    assert set(plan.labels[forget].tolist()) == {3}
    assert 3 not in plan.labels[retain]


def test_rates_have_exact_intervals():
    verdicts = pd.DataFrame({"case": "a", "candidate": "b", "outcome": [verdict.PASS] * 9 + [verdict.FAIL]})
    table = error_rates.rates(verdicts).set_index("outcome")
    assert table.loc[verdict.FAIL, "share"] == pytest.approx(0.1)
    assert table.loc[verdict.FAIL, ["low", "high"]].tolist() == pytest.approx([0.0025, 0.4450], abs=1e-3)
    assert table.loc[verdict.UNDECIDED, "high"] == pytest.approx(0.3085, abs=1e-3)
    assert math.isclose(table["share"].sum(), 1)
