"""Which methods fit a request."""

import pytest

from forget_lib.core.errors import ForgetError
from forget_lib.deletion import answer as answers
from forget_lib.deletion import case as cases
from forget_lib.deletion import recommend
from forget_lib.deletion.request import read_request
from tests.deletion.made import write_request


def test_a_method_that_does_not_fit_the_request_is_refused_with_its_line(mine):
    for method, words in (("unsirr", "Did you mean"), ("attack_and_reset", "convolution")):
        path = write_request(mine, method=method)
        with pytest.raises(ForgetError, match="line 7") as caught:
            recommend.choose(cases.open_case(read_request(path)))
        assert words in str(caught.value)


def test_methods_that_need_data_which_are_gone_are_not_recommended(mine):
    path = write_request(mine, method="auto", extra="available: [forget]\n")
    table = recommend.recommend(cases.open_case(read_request(path))).set_index("method")
    assert not table.loc["finetune", "fits"]
    assert "retain" in table.loc["finetune", "reason"]
    assert table.loc["negative_gradient", "fits"]
    assert {"gap", "low", "high", "cost"} <= set(table.columns)
    with pytest.raises(ForgetError, match="no reference model can be retrained"):
        answers.respond(cases.open_case(read_request(path)), {"method": "negative_gradient", "settings": {}})
