"""Attack it: can a threshold on the model's confidence tell forgotten images from unseen ones?"""

import ipywidgets
import numpy as np

from forget_lib.demo import markup
from forget_lib.demo.exposure_panel import ExposurePanel
from forget_lib.demo.guessing import Guess, Guessing
from forget_lib.demo.library import Bench
from forget_lib.demo.panel import Panel, dropdown, guarded, set_options

SHOWN = 12
STEPS = 100


class AttackPanel(Panel):
    """`guessing` holds the scores of the chosen model, `guess` what the slider's threshold gives; `one` shows one image
    under a pool of nets, where there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.guessing: Guessing | None = None
        self.guess: Guess | None = None
        self._quiet = False
        self.one = ExposurePanel()
        self.model = dropdown("Attacked model")
        self.threshold = ipywidgets.FloatSlider(
            description="Threshold", readout_format=".1f", style={"description_width": "initial"},
            layout={"width": "100%", "max_width": "640px"},
        )  # fmt: skip
        self.picture, self.rates, self.words, self.found = (ipywidgets.HTML() for _ in range(4))
        self.model.observe(lambda _change: self.compute(), "value")
        self.threshold.observe(lambda _change: self.look(), "value")
        self.widget.children = [
            self.model, self.status, self.picture, self.threshold, self.words, self.rates, self.found,
            self.one.widget,
        ]  # fmt: skip

    @guarded
    def show(self, bench: Bench) -> None:
        super().show(bench)
        self.refresh()
        self.compute()
        self.one.show(bench)

    def refresh(self) -> None:
        """Lists the models there are; one that forgot something else cannot be judged on these sets."""
        titles = self.bench.titles.items()
        fits = [
            (title, name) for name, title in titles if name != "live" or title.endswith(self.bench.scenario.request)
        ]
        set_options(self.model, fits, "original")

    @guarded
    def compute(self) -> None:
        """Scores of the chosen model, with the threshold at the median of the unseen scores."""
        if self.bench is None or self.model.value is None:
            return
        self.guessing = self.guess = None
        self.picture.value = self.rates.value = self.words.value = self.found.value = ""
        self.guessing = Guessing.of(self.bench, self.model.value)
        low, high = self.guessing.range
        self._quiet = True
        # The ends may only move apart while they are set: a slider refuses max < min.
        self.threshold.min, self.threshold.max = min(low, self.threshold.min), max(high, self.threshold.max)
        self.threshold.value = self.guessing.start
        self.threshold.min, self.threshold.max = low, max(high, low + 0.1)
        self.threshold.step = max(0.01, (high - low) / STEPS)
        self._quiet = False
        area = self.guessing.area
        self.say(
            f"{self.bench.titles[self.model.value]}: AUC {area.value:.2f} "
            f"(95 % interval {area.low:.2f} to {area.high:.2f}); 0.5 is guessing."
        )
        self.look()

    @guarded
    def look(self) -> None:
        """Everything that depends on the threshold."""
        if self._quiet or self.guessing is None:
            return
        guessing, guess = self.guessing, self.guessing.at(self.threshold.value)
        self.guess = guess
        edges, forget, unseen = guessing.histogram()
        colours = [markup.ORIGINAL, markup.UNLEARNED]
        shares = {
            f"forgotten images ({len(guessing.forget)})": forget,
            f"unseen images ({len(guessing.unseen)})": unseen,
        }
        self.picture.value = markup.histogram(edges, shares, colours, guess.threshold)
        self.words.value = markup.note(guessing.sentences(guess))
        groups = {
            f"forgotten, found (TPR, {markup.ends(guess.found)})": [guess.found],
            f"unseen, accused (FPR, {markup.ends(guess.accused)})": [guess.accused],
        }
        caption = "Rates with exact 95 % intervals (Clopper-Pearson)"
        self.rates.value = markup.bars(groups, ["Share above the threshold"], [markup.OTHER], caption)
        self.found.value = self._found(guess)

    def _found(self, guess: Guess) -> str:
        samples, classes = self.bench.samples("forget"), self.bench.data.classes
        order = np.argsort(-self.guessing.forget, kind="stable")
        shown = [int(index) for index in order if guess.members[index]][:SHOWN]
        if not shown:
            return markup.note("No forgotten image is above the threshold.")
        pieces = []
        for index in shown:
            words = f"{classes[int(samples.labels[index])]}, score {self.guessing.forget[index]:.1f}"
            pieces.append(markup.picture(samples.images[index], f"Forgotten image found: {words}", 64, words))
        return markup.note("Forgotten images above the threshold, the surest first:") + markup.row(pieces)
