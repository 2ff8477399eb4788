"""What holds for every figure that a page shows."""

import matplotlib.pyplot as plt
import pytest

from forget_lib.core.errors import ForgetError
from forget_lib.show import figures

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
    assert options == {"raw": True, "metadata": {"image/png": {"alt": "a line"}}}
    assert not plt.fignum_exists(figure.number), "a figure that was shown stays open"


@pytest.mark.fault("Pages: escaped twice, pictures missing, names of others, folders, width")
def test_a_figure_with_nothing_to_see_fails_its_page():
    with pytest.raises(ForgetError, match="nothing to see in the figure: the gaps"):
        figures.show(plt.figure(), "the gaps")
