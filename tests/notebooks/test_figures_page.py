"""The page of figures draws what happens inside models from records alone: predictions, maps, layers, relearning."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pytest

from forget_lib.show import figures
from forget_lib.study import records
from forget_lib.study import run as study
from tests.notebooks.cells import run_cells


@pytest.fixture
def page(scenario, monkeypatch):
    """What the cells leave behind after a tiny study of one class, and the text of each figure that was shown."""
    asked = dataclasses.replace(scenario, attacks=("loss_regression", "relearning"))
    table, shown = study.run_methods(asked, {"uniform_kl": {}, "mask_logit": {}}), {}
    monkeypatch.setattr(records, "load", lambda folder: table)

    def keep(figure, alt):
        shown[alt] = [figure.get_suptitle(), *(axis.get_title() for axis in figure.axes)]
        plt.close(figure)

    monkeypatch.setattr(figures, "show", keep)
    with plt.rc_context():
        return run_cells("08_figures", before="## Where the spread comes from", folder="made in a test") | {
            "asked": asked,
            "figures_shown": shown,
        }


def test_the_inside_of_models_is_drawn_from_their_records(page):
    (arrays,) = page["shown"].values()
    assert list(arrays) == ["original", "uniform_kl", "retrain"]
    starts = ("Predicted class by label", "Maps of the embedding", "Linear CKA by layer", "Mini-batches until")
    for start in starts:
        (titles,) = [titles for alt, titles in page["figures_shown"].items() if alt.startswith(start)]
        assert any(titles), start
    points = page["maps_of"](arrays)
    assert points.groupby("model").size().nunique() == 1, "one map for all models"
    assert points.groupby("model").ngroups == 3
    classes = set(page["asked"].classes)
    assert set(points.loc[points["forgotten"], "label"]) == classes
    assert not set(points.loc[~points["forgotten"], "label"]) & classes
    original = arrays["original"]
    assert 0.5 < page["neighbour_share"](original["map_embedding"], original["map_forgotten"]) <= 1
    two_heaps = np.repeat([[0.0, 0.0], [9.0, 9.0]], 12, axis=0)
    assert page["neighbour_share"](two_heaps, np.arange(24) < 12) == 1
    assert page["neighbour_share"](two_heaps, np.arange(24) % 2 == 0) < 0.6
