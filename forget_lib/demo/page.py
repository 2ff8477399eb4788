"""The page: a row of studies, the opening, and below it one of five panels at a time; all follow the study."""

import time
from contextlib import suppress
from pathlib import Path

import ipywidgets
import torch
from IPython.display import Javascript, display

from forget_lib.core.errors import ForgetError, unknown
from forget_lib.demo import parts
from forget_lib.demo.attack import AttackPanel
from forget_lib.demo.compare import ComparePanel
from forget_lib.demo.digit import DigitPad
from forget_lib.demo.gallery import Gallery
from forget_lib.demo.live import LiveResult
from forget_lib.demo.opening import Opening
from forget_lib.demo.own_image import OwnImage
from forget_lib.demo.parts import html
from forget_lib.demo.studies import DIGITS, Bench, Entry, find_entries, open_bench
from forget_lib.study.run import provenance_table
from forget_lib.unlearning import list_methods

CLOSER = {
    "gallery": ("Other pictures", "Pick a picture and see what three models say of it."),
    "own image": ("Your own picture", "From a file or the camera. The models answer for any picture."),
    "digit": (
        "Draw a digit",
        "Your drawing is scaled and centred as MNIST's own digits are.",
    ),
    "compare": (
        "Compare two models",
        "Good forgetting leaves the kept classes, the map and the layers as they are in the retrained model.",
    ),
    "attack": (
        "Attack it",
        (
            "Was the model trained on an image? An attacker guesses from how much surer of the label it is than one "
            "that never saw the image. Move the threshold to sort the pictures."
        ),
    ),
}
"""Title of each panel below the opening, and what is said of it."""


class Demo(parts.Panel):
    """All panels on the studies of one results folder.

    entries: the studies there. panels: by name. Where there is none, `section` shows what to run.
    """

    def __init__(self, root: str | Path, start: str = "sample", device: str = "cpu", seed: int | None = None) -> None:
        """root: results folder. start: first step of the data chain. seed: of the gallery's choices."""
        super().__init__()
        self._begun = time.perf_counter()
        self.root, self.start, self.device = Path(root), start, device
        self.entries = find_entries(self.root)
        self.gallery, self.digits = Gallery(seed), DigitPad()
        self.live = Opening(self._add)
        self.panels: dict[str, parts.Panel] = {"live": self.live, "gallery": self.gallery, "own image": OwnImage()}
        self.panels |= {"digit": self.digits, "compare": ComparePanel(), "attack": AttackPanel()}
        self.studies = parts.PictureChoice(len(self.entries), self.turn_to)
        self.studies.widget.add_class("fd-studies")
        self.studies.put([(entry.picture, self._words(entry), f"Show {entry.label}") for entry in self.entries])
        self.status.add_class("fd-unless-error")
        self.source, self.provenance = ipywidgets.HTML(), ipywidgets.HTML()
        self.closer = ipywidgets.ToggleButtons(options=[(title, name) for name, (title, _) in CLOSER.items()])
        self.more = ipywidgets.VBox()
        self.more.add_class("fd-page")
        sheet = f"<style>{(parts.ASSETS / 'page.css').read_text(encoding='utf-8')}</style>"
        style = ipywidgets.HTML(sheet, layout={"display": "none"})
        self.widget.children = [style, self.studies.widget, self.status, self.live.widget, self.source]
        self.missing = (
            f"There is nothing to show yet: no models in results/{self.root.name}. Run ./run_all.sh quick first, then "
            "open this page again."
        )
        if not self.entries:
            self.say(self.missing, error=True)
            return
        self._open_first()
        parts.follow(self.look_closer, self.closer)

    def _words(self, entry: Entry) -> str:
        """The label of a study, with its model where another one has the same."""
        alike = [each for each in self.entries if each.label == entry.label]
        return entry.label if len(alike) == 1 else f"{entry.label} ({entry.model})"

    def _open_first(self) -> None:
        broken = ""
        for index, entry in enumerate(self.entries):
            try:
                self._open(index)
                break
            except ForgetError as error:
                broken += f"{entry.label} cannot be shown: {error} "
        if broken:
            self.say(broken, error=True)

    def section(self, name: str) -> ipywidgets.Widget:
        """The widget of a panel: provenance, closer look, or one of those in `CLOSER`.

        Raises: UnknownNameError for a panel that does not exist.
        """
        widgets = {"closer look": self.more, "provenance": self.provenance}
        if name not in (*widgets, *self.panels):
            raise unknown("panel of the demo", name, (*widgets, *self.panels))
        if not self.entries:
            return ipywidgets.HTML(html.note(self.missing))
        if name in widgets:
            return widgets[name]
        panel = self.panels[name]
        bench = self._digit_bench(self.bench) if panel is self.digits else self.bench
        if getattr(panel, "bench", None) is not bench:  # what nobody looks at takes neither time nor memory
            panel.show(bench)
        return panel.widget

    def open(self) -> ipywidgets.Widget:
        """Names the sliders of the page for screen readers, and returns the row of studies with the opening."""
        # In a kernel that is a fork, the library was there before the kernel, and could not do this itself.
        ipywidgets.register_comm_target()
        display(Javascript((parts.ASSETS / "names.js").read_text(encoding="utf-8")))
        return self.widget

    @parts.guarded
    def look_closer(self) -> None:
        """Shows the panel that was chosen below the opening."""
        name = self.closer.value
        self.more.children = [self.closer, ipywidgets.HTML(html.note(CLOSER[name][1])), self.section(name)]

    @parts.guarded
    def turn_to(self, place: int) -> None:
        """Shows another study in all panels; one that cannot be opened leaves the old one where it is."""
        self._open(place)

    def _open(self, place: int) -> None:
        entry = self.entries[place]
        self.say(f"Loading {entry.label} …")
        self.bench = bench = open_bench(entry, self.root, self.start, self.device)
        self.live.show(bench)
        self.look_closer()
        unknown_here = [name for name in bench.titles if name in entry.methods and name not in list_methods()]
        notes = [f"{bench.data.label}, from: {bench.data.source}. {len(bench.unlearned)} unlearned models."]
        notes += [f"{name} is not known here: it is shown as recorded, and cannot run." for name in unknown_here]
        notes += [f"{name} cannot be shown: {reason}" for name, reason in bench.broken.items()]
        self.source.value = html.note(" ".join(notes))
        table = provenance_table(self._begun, bench.scenario, profile=self.root.name)
        self.provenance.value = table.to_html(header=False, border=0)
        self.studies.mark(place)
        self.say(f"Ready: {entry.label}.")

    def _digit_bench(self, bench: Bench) -> Bench:
        """Digits are always read by MNIST models, if any are there."""
        for candidate in (bench, getattr(self.digits, "bench", bench)):
            if candidate.entry.dataset == DIGITS:
                return candidate
        for entry in self.entries:
            if entry.dataset == DIGITS:
                with suppress(ForgetError):  # it is named where that study is chosen
                    return open_bench(entry, self.root, self.start, self.device)
        return bench

    def _add(self, result: LiveResult) -> None:
        same = torch.equal(result.scenario.sets.forget, self.bench.scenario.sets.forget)
        self.bench.add("live", f"Live: {result.title}, {self.live.who}", result.model, same_request=same)
        for panel in self.panels.values():
            if panel is not self.live and getattr(panel, "bench", None) is self.bench:
                panel.refresh()
