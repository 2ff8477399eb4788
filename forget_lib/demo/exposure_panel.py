"""One sample, many nets: the distributions of its score with it in training, without it, and after unlearning."""

import ipywidgets

from forget_lib.core.errors import ForgetError
from forget_lib.demo import markup
from forget_lib.demo.exposure import Exposure, open_exposure, sentences
from forget_lib.demo.library import Bench, method_title
from forget_lib.demo.panel import PREFERRED, Panel, dropdown, guarded, set_options, wrapping

GROUPS = {
    "in": ("trained on it", markup.ORIGINAL),
    "unlearned": ("trained on it, then unlearned", markup.UNLEARNED),
    "never, after": ("never saw it, same method", markup.OTHER),
    "out": ("never saw it", markup.RETRAINED),
}


class ExposurePanel(Panel):
    """`exposure` is the pool of the study shown, None where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.exposure: Exposure | None = None
        self._quiet = False
        self.sample, self.method = dropdown("Image"), dropdown("After method")
        self.controls = wrapping(self.sample, self.method)
        self.picture, self.dots, self.words = (ipywidgets.HTML() for _ in range(3))
        for choice in (self.sample, self.method):
            choice.observe(lambda _change: self.look(), "value")
        title = ipywidgets.HTML("<h3>One image under many nets</h3>")
        self.widget.children = [title, self.status, self.controls, self.picture, self.words, self.dots]

    @guarded
    def show(self, bench: Bench) -> None:
        super().show(bench)
        self.exposure = None
        self.picture.value = self.dots.value = self.words.value = ""
        self.controls.layout.display = "none"
        try:
            self.exposure = open_exposure(bench)
        except ForgetError as error:
            self.say(str(error))
            return
        self._quiet = True
        labels, classes = self.exposure.pool.plan.labels.tolist(), self.exposure.classes
        samples = [
            (f"{classes[labels[index]]}, memorised {score:+.2f} (sample {index})", index)
            for index, score in self.exposure.offered()
        ]
        set_options(self.sample, samples)
        methods = [(method_title(name), name) for name in self.exposure.methods]
        set_options(self.method, methods, PREFERRED)
        self.controls.layout.display = ""
        self._quiet = False
        self.look()

    @guarded
    def look(self) -> None:
        """The margins of the chosen sample, a row of dots a group."""
        if self._quiet or self.exposure is None or self.method.value is None:
            return
        plan, sample, title = self.exposure.pool.plan, self.sample.value, method_title(self.method.value)
        self.picture.value = self.dots.value = self.words.value = ""
        label = self.exposure.classes[int(plan.labels[sample])]
        alt = f"Sample {sample} of the pool, labelled {label}"
        self.picture.value = markup.picture(plan.images[sample], alt, 96, f"labelled {label}")
        margins = self.exposure.margins(sample, self.method.value)
        values = {name: part["phi"].to_numpy() for name, part in margins.groupby("group")}
        groups = {f"{words} ({len(values[name])})": values[name] for name, (words, _) in GROUPS.items()}
        caption = "How sure each net is of the label (logit margin; one dot a net)"
        self.dots.value = markup.dots(groups, [colour for _, colour in GROUPS.values()], caption)
        self.words.value = markup.note(sentences(margins, title))
        self.say(f"Sample {sample}, labelled {label}, under {plan.number} nets, before and after {title}.")
