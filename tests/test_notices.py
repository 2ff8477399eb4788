"""The table of what each measure notices is complete, its threshold keeps its rate, and the page says what it holds."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from IPython.display import Markdown

from benchmarks import notices
from forget_lib.core.paths import REPOSITORY, RESULTS
from forget_lib.statistics.rules import ALPHA

TABLE = RESULTS / "reference" / "benchmarks" / "notices.csv"
COMMON = {"forget accuracy", "kept accuracy", "loss attack", "NoMUS", "one model", "relearning", "JS divergence"}
COMMON |= {"Average Gap", "tug of war", "deletion verdict", "KLoM"}
OWN = {"class": {"linear probe", "class mean"}, "random": {"LiRA", "U-LiRA", "share left"}}
NOTICED = 0.8


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(TABLE)


@pytest.fixture(scope="module")
def page() -> dict:
    """What the section's cells define; no other cell is run."""
    cells = json.loads((REPOSITORY / "notebooks" / "08_figures.ipynb").read_text(encoding="utf-8"))["cells"]
    names = {"pd": pd, "itertools": itertools, "RESULTS": RESULTS, "Markdown": Markdown}
    for cell in cells:
        if cell["id"] in ("notices-08-pair", "notices-08-sentence", "notices-08-show"):
            exec("".join(cell["source"]), names)
    return names


@pytest.mark.parametrize("request_kind", list(notices.REQUESTS))
def test_every_measure_has_met_every_case_at_forty_seeds_or_more(table, request_kind):
    part = table[table["request"] == request_kind]
    cases = [case for case in notices.CASES if request_kind == "class" or case != "masked at the output"]
    expected = set(itertools.product(COMMON | OWN[request_kind], cases))
    assert set(zip(part["measure"], part["case"], strict=True)) == expected
    assert len(part) == len(expected), "no cell twice"
    assert part["seeds"].min() >= 40
    alone = part[part["measure"] != notices.FAMILY]
    assert (alone["decisions"] == alone["seeds"]).all(), "each seed is one decision"


def test_powers_are_shares_and_false_alarms_are_as_rare_as_promised(table):
    assert table[["power", "low", "high"]].stack().between(0, 1).all()
    assert (table["low"] <= table["power"]).all()
    assert (table["power"] <= table["high"]).all()
    false = table[table["case"] == notices.EXACT]
    assert false["power"].mean() <= 1.5 * ALPHA
    assert (false["low"] <= ALPHA).all(), "no measure flags exact retraining more often than that"


def test_the_page_says_of_two_measures_what_the_table_holds(table, page):
    for kind, part in table.groupby("request"):
        wide = part.pivot(index="measure", columns="case", values="power").fillna(0).drop(columns=notices.EXACT)
        missed = {
            frozenset(pair): int((wide.loc[list(pair)].max() < NOTICED).sum())
            for pair in itertools.combinations(wide.index, 2)
        }
        pair = page["closest_pair"](part).index
        assert missed[frozenset(pair)] == min(missed.values())
        sentence = page["pair_sentence"](kind, part)
        assert all(name in sentence for name in pair)
        assert ("together miss none" in sentence) == (min(missed.values()) == 0)
        assert ("would do alone" in sentence) == (wide.loc[pair] >= NOTICED).all(axis=1).any()


@pytest.mark.parametrize(
    ("power", "words"), [(0.9, "A and B together miss none of the 2 cases"), (0.5, "no two measures")]
)
def test_the_sentence_turns_with_the_numbers(page, power, words):
    rows = [("A", "exact retraining", 0.05), ("A", "kept", 1.0), ("A", "masked", 0.0)]
    rows += [("B", "exact retraining", 0.05), ("B", "kept", 0.0), ("B", "masked", power), ("C", "kept", 0.7)]
    part = pd.DataFrame(rows, columns=["measure", "case", "power"])
    sentence = page["pair_sentence"]("class", part)
    assert words in sentence
    assert ("masked (50% of runs flagged)" in sentence) == (power < NOTICED)


def test_a_pair_of_retrained_models_is_above_the_threshold_at_most_once_in_twenty():
    generator = np.random.default_rng(0)
    flagged = [null[-1] > notices.threshold(null[:-1]) for null in generator.exponential(size=(4000, 40))]
    assert 0.03 < np.mean(flagged) <= 0.055
    assert notices.threshold(np.arange(18.0)) == np.inf, "too few pairs for such a rate"
    assert notices.threshold(np.arange(19.0)) == 18


def test_power_is_the_share_of_runs_above_what_other_draws_show():
    rows = [(draw, seed, notices.PAIR, "m", 0.1) for draw in range(10) for seed in range(4) for _ in range(3)]
    rows += [(draw, seed, "kept", "m", 1.0 if draw < 5 else 0.1) for draw in range(10) for seed in range(4)]
    rows += [(0, 0, notices.PAIR, "m", 99.0)]  # of its own draw: no part of the threshold that draw 0 has
    found = notices.powers(pd.DataFrame(rows, columns=["draw", "seed", "case", "measure", "gap"]))
    assert found["power"].tolist() == [0.5]
    assert found["decisions"].tolist() == [40]
    assert found["seeds"].tolist() == [40]
