"""Which methods fit a request."""

import pytest

from forget_lib.core.errors import ForgetError
from forget_lib.deletion import case as cases
from forget_lib.deletion import recommend
from forget_lib.deletion.request import read_request
from forget_lib.statistics import verdict
from tests.deletion.made import write_request


def test_a_method_that_does_not_fit_the_request_is_refused_with_its_line(mine):
    for method, words in (("unsirr", "Did you mean"), ("attack_and_reset", "convolution")):
        path = write_request(mine, method=method)
        with pytest.raises(ForgetError, match="line 7") as caught:
            recommend.choose(cases.open_case(read_request(path)))
        assert words in str(caught.value)


def test_methods_that_cost_more_than_the_budget_or_do_not_fit_come_last_with_their_reason(mine):
    path = write_request(mine, method="auto")
    path.write_text(path.read_text().replace("processes: 1", "processes: 1, method_cost: 0.05"))
    table = recommend.recommend(cases.open_case(read_request(path))).set_index("method")
    assert {"gap", "low", "high", "cost"} <= set(table.columns)
    assert (table.loc[table["fits"], "cost"].dropna() <= 0.05).all()
    assert "costs more" in table.loc[table["cost"] > 0.05, "reason"].iloc[0]
    assert "convolution" in table.loc["attack_and_reset", "reason"]
    assert table["fits"].is_monotonic_decreasing
    ranks = table.loc[table["fits"], "verdict"].map({state.word: state.rank for state in verdict.STATES.values()})
    assert ranks.dropna().is_monotonic_increasing, "what the study tells from retraining comes later"
    assert set(table["verdict"]) <= {state.word for state in [*verdict.STATES.values(), verdict.MIXED]} | {"not run"}
