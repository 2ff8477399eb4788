"""Ten requests in a row: the requests, and what is said of the record."""

import numpy as np
import pandas as pd
import pytest

from forget_lib.deletion import error_rates, kind, sequence, views


@pytest.fixture(scope="module")
def given():
    return sequence.setting(0)


def test_requests_are_disjoint_and_what_stays_shrinks(given):
    every = np.concatenate(given.requests)
    assert len(set(every.tolist())) == sequence.REQUESTS * sequence.EACH
    for step in (0, 4, sequence.REQUESTS - 1):
        assert not np.isin(given.staying(step), given.gone(step)).any()
        assert len(given.staying(step)) + len(given.gone(step)) == sequence.SAMPLES


def record(folder, change: float):
    rows = [
        {"seed": seed, "method": "finetune", "step": step, "earlier": earlier, "test_accuracy": 0.5, "cost": 0.1 * step}
        | {"trace": 0.5 + change * (step - earlier) / 9}
        for seed in (0, 1)
        for step in range(1, 11)
        for earlier in range(1, step + 1)
    ]
    pd.DataFrame(rows).to_csv(folder / "sequence.csv", index=False)
    sisa = [
        {"seed": 0, "shards": shards, "step": step, "test_accuracy": 0.5 - shards / 100, "cost": step / shards}
        for shards in sequence.SHARDS
        for step in (1, 10)
    ]
    pd.DataFrame(sisa).to_csv(folder / "sisa.csv", index=False)


@pytest.mark.parametrize(("change", "word"), [(0.3, "is revived"), (-0.3, "goes on fading"), (0.0, "stays as it was")])
def test_the_sentence_follows_the_numbers(tmp_path, change, word):
    record(tmp_path, change)
    method, sisa = sequence.sentences(tmp_path)
    assert word in method
    assert "10.0 retrainings with 1 shard and 0.6 with 16" in sisa
    sequence.ten_requests(tmp_path).canvas.draw()


def test_error_rates_are_shown_with_their_intervals(tmp_path):
    verdicts = pd.DataFrame({"case": "a", "candidate": "masked", "outcome": ["fail"] * 40})
    error_rates.rates(verdicts).to_csv(tmp_path / "error_rates.csv", index=False)
    table = views.error_rates(tmp_path)
    assert table.loc[("a", "masked"), "fail"] == "100 [91, 100]"
    assert table.loc[("a", "masked"), "pass"] == "0 [0, 9]"


def test_forget_and_retain_of_the_error_rates_are_disjoint_and_a_class_is_whole():
    case = error_rates.CASES["mnist14, a class"]
    plan, forget, retain = error_rates.draw(case, 1003)
    assert not set(forget) & set(retain)
    assert len(forget) + len(retain) == case.samples
    assert set(plan.labels[forget].tolist()) == {3}
    assert 3 not in plan.labels[retain]


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "leaderboard"}'])
def test_other_files_are_no_reports(tmp_path, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    assert not kind.is_report(path)
    assert not kind.is_report(tmp_path / "none")
    path.write_text('{"kind": "forget deletion report"}')
    assert kind.is_report(path)
    assert kind.is_report(tmp_path)
