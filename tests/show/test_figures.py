"""What holds for every figure that a page shows."""

import dataclasses

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from forget_lib.core.errors import ForgetError
from forget_lib.show import figures
from forget_lib.unlearning import METHODS, list_methods

PNG = "iVBORw0KGgo"
"""How every PNG begins in base 64."""


@pytest.mark.fault("Pages: escaped twice, pictures missing, names of others, folders, width")
@pytest.mark.parametrize("backend", ["agg", "svg", "module://matplotlib_inline.backend_inline"])
def test_a_figure_is_shown_as_a_picture_under_every_backend(backend, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", lambda data, **options: shown.append((data, options)))
    with plt.rc_context({"backend": backend}):
        plt.switch_backend(backend)
        figure, axes = plt.subplots()
        axes.plot([1, 2])
        figures.show(figure, "a line")
    ((data, options),) = shown
    assert data["image/png"].startswith(PNG)
    assert options["raw"] is True
    assert options["metadata"]["image/png"]["alt"] == "a line"
    assert 13 < options["metadata"]["image/png"]["smallest_text"] < 16, "10 points at 110 dots an inch are 15 pixels"
    assert not plt.fignum_exists(figure.number), "a figure that was shown stays open"


@pytest.mark.fault("Pages: escaped twice, pictures missing, names of others, folders, width")
def test_a_figure_with_nothing_to_see_fails_its_page():
    with pytest.raises(ForgetError, match="nothing to see in the figure: the gaps"):
        figures.show(plt.figure(), "the gaps")


def test_text_of_a_figure_wider_than_a_page_is_as_small_as_it_is_seen(monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "display", lambda _data, **options: shown.append(options["metadata"]["image/png"]))
    for inches in (5, 20):
        figure, axes = plt.subplots(figsize=(inches, 2), dpi=100)
        axes.set_title("ten points", fontsize=10)
        figures.show(figure, "a line")
    narrow, wide = (each["smallest_text"] for each in shown)
    assert narrow == pytest.approx(10 * 100 / 72, abs=0.1)
    assert wide < 0.8 * narrow


def test_below_each_image_stand_the_answers_of_the_models():
    images = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    logits = {"original": np.array([[9.0, 0], [0, 9]]), "retrain": np.array([[0, 9.0], [0, 0]])}
    figure = figures.before_after(images, torch.tensor([0, 1]), logits, ["cat", "dog"], "Two animals")
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert texts == ["cat  100%", "original", "dog  100%", "retrain", "dog  100%", "cat  50%"]
    assert [axis.get_title() for axis in figure.axes] == ["label: cat", "label: dog"]
    plt.close(figure)


def test_a_figure_shows_all_of_few_models_and_of_many_the_core_and_the_user_s_own(monkeypatch):
    def mine(): ...

    mine.__module__ = "my_method"
    monkeypatch.setitem(METHODS, "mine", dataclasses.replace(METHODS["scrub"], function=mine))
    many = pd.DataFrame({"method": [*list_methods(), "original", "retrain"]})
    shown = set(figures.core(many)["method"])
    assert {"mine", "salun", "original", "retrain", "mask_logit"} <= shown
    assert not {"fisher", "unsir"} & shown
    few = many.head(14)
    assert figures.core(few) is few
