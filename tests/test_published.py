import pandas as pd
import pytest

from forget_lib.show import published
from forget_lib.unlearning import list_methods


def records(gaps: dict[str, float], dataset: str = "cifar10_part", request: str = "class-airplane") -> pd.DataFrame:
    """Records of two seeds in which each method lies this far above a retrained model at 0.2."""
    rows = []
    for seed in (0, 1):
        about = {"dataset": dataset, "model": "small_cnn", "request": request, "draw": seed, "seed": seed, "run": 0}
        for method, gap in {"retrain": 0.0, **gaps}.items():
            for metric, value in (("forget_accuracy", 0.2 + gap + 0.001 * seed * (gap != 0)), ("test_accuracy", 0.6)):
                rows.append(about | {"method": method, "attack": "", "metric": metric, "value": value})
    return pd.DataFrame(rows)


def test_every_published_row_has_its_source_and_a_method_and_shares():
    numbers = published.published()
    assert set(numbers["method"]) <= set(list_methods())
    assert set(numbers["kind"]) <= {"class", "random"}
    assert numbers["source"].str.len().min() > 10
    shares = numbers[["forget", "forget_retrained", "kept", "kept_retrained"]]
    assert shares.stack().dropna().between(0, 1).all()
    assert not numbers.duplicated(["method", "kind", "source"]).any()


def test_a_gap_has_a_side():
    assert published.side(0.05) == published.side(-0.05) == "as retraining"
    assert published.side(0.2) == "too little"
    assert published.side(-0.2) == "too much"
    assert published.side(0.91 - 0.86) == "as retraining"  # not exactly 0.05
    assert published.side(-0.2, -0.21, -0.19) == "too much"
    assert published.side(-0.2, 0.1) == "not settled"


def test_rows_agree_where_both_lie_on_the_same_side():
    numbers = pd.DataFrame(
        [
            {"method": "ssd", "forget": 0.3, "note": "", "kept": 0.8, "kept_retrained": 0.9},
            {"method": "finetune", "forget": 0.9, "note": "diverged"},
            {"method": "salun", "forget": 0.0, "note": ""},
        ]
    ).assign(kind="class", forget_retrained=0.0, request="one class", setup="a net", source="somewhere")
    found = published.compare(records({"ssd": 0.3, "finetune": 0.0}), numbers).set_index("method")
    assert list(found.index) == ["ssd", "finetune"]  # salun was not run
    assert found["agree"].tolist() == ["yes", "no"]
    assert found.loc["ssd", "published"] == "+30.0 points"
    assert found.loc["ssd", "kept, published"] == "-10.0 points"
    assert found.loc["finetune", ["they say", "we say"]].tolist() == ["too little", "as retraining"]
    text = published.sentences(found.reset_index())
    assert "1 say the same as ours, 1 say something else, 0 meet" in text[0]
    assert "**finetune**, one class: published +90.0 points" in text[1]
    assert text[1].endswith("diverged.")


@pytest.mark.parametrize(("dataset", "request_"), [("mnist", "class-5"), ("cifar10", "mislabelled-0.1")])
def test_what_nobody_published_is_compared_with_nothing(dataset, request_):
    found = published.compare(records({"ssd": 0.3}, dataset, request_))
    assert found.empty
    assert "No published number" in published.sentences(found)[0]


def test_orders_are_compared_where_enough_methods_are_there():
    ours = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})
    assert published.order(ours, ours).startswith("Kendall's tau +1.00 over 4 models")
    assert published.order(ours, -ours).startswith("Kendall's tau -1.00")
    assert published.order(ours[:3], ours) == ""
    gaps = {"original": 0.3, "finetune": 0.06, "negative_gradient_plus": 0.05, "random_label": 0.04, "ssd": -0.05}
    (line,) = published.order_sentences(records(gaps, request="random-0.1"))
    assert "LoTUS" in line
    assert "original starts at +30.0 points" in line
    assert published.order_sentences(records(gaps, "mnist", "random-0.1")) == []


def test_the_published_nomus_is_what_its_source_says():
    rows = pd.read_csv(published.NOMUS)
    first = rows[rows["source"].str.contains("ndb796")].set_index("method")
    assert published.nomus(*first.loc["original", ["test_accuracy", "attack_accuracy"]]) == pytest.approx(
        0.5839, abs=1e-4
    )
    assert published.nomus(*first.loc["retrain", ["test_accuracy", "attack_accuracy"]]) == pytest.approx(
        0.6995, abs=1e-4
    )
    assert set(rows["method"]) - {"original"} <= set(list_methods())


def test_our_order_by_nomus_stands_beside_the_published_one():
    rows = records({"original": 0.3, "finetune": 0.2, "scrub": 0.1}, "synthetic_faces", "official-list")
    attacked = {"retrain": 0.52, "original": 0.7, "finetune": 0.69, "scrub": 0.6}
    more = rows[rows["metric"] == "test_accuracy"].assign(metric="accuracy", attack="loss_regression")
    more["value"] = more["method"].map(attacked)
    table = pd.concat([rows, more]).assign(unit="share", low=float("nan"), high=float("nan"))
    lines = published.nomus_sentences(table)
    assert len(lines) == 2
    assert "Theirs: retrain > scrub > finetune > original; ours: retrain > scrub > finetune > original" in lines[0]
    assert "no faces" in published.nomus_sentences(table.assign(dataset="mnist"))[0]
