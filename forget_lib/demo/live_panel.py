"""Forget live: choose what and how, watch it happen, stop it if you like, see what it did."""

import asyncio
import threading
from collections.abc import Callable

import ipywidgets
import torch
from torch import Tensor

from forget_lib.core.errors import ForgetError
from forget_lib.demo import markup
from forget_lib.demo.library import Bench, live_choices, probabilities
from forget_lib.demo.live import Cancelled, LiveResult, Progress, forget_live, live_methods, measured
from forget_lib.demo.panel import PREFERRED, WIDE, Panel, button, dropdown, guarded, set_options, wrapping

SHOWN = 6
NAMES = {"forget": "to be forgotten", "retain": "kept", "test": "test set of what is kept"}


class LivePanel(Panel):
    """Runs one method at a time in a thread; `result` is the last one that came to its end."""

    def __init__(self, picked: Callable[[], Tensor | None], done: Callable[[LiveResult], None]) -> None:
        """Args: picked: gives the image chosen in the gallery, uint8 [C, H, W]. done: called with each result."""
        super().__init__()
        self._picked, self._done = picked, done
        self._stop = threading.Event()
        self.result: LiveResult | None = None
        self.what = dropdown("Forget")
        self.method = dropdown("Method")
        self.start = button("Forget now", "Run the method on the original model", primary=True)
        self.cancel = button("Cancel", "Stop at the next step")
        self.cancel.disabled = True
        self.bar = ipywidgets.FloatProgress(
            description="Progress", min=0, max=1, style=WIDE, layout={"width": "100%", "max_width": "640px"}
        )
        self.output = ipywidgets.HTML()
        self.start.on_click(lambda _button: self.begin())
        self.cancel.on_click(lambda _button: self.stop())
        note = markup.note(
            "The method gets a copy of the original model, in memory; nothing is written. The result joins the other "
            "models in the lists of this page."
        )
        controls = wrapping(self.what, self.method, self.start, self.cancel)
        self.widget.children = [ipywidgets.HTML(note), controls, self.bar, self.status, self.output]

    @guarded
    def show(self, bench: Bench) -> None:
        self._stop.set()
        super().show(bench)
        options = live_choices(bench)
        set_options(self.what, options, bench.scenario.request)
        set_options(self.method, live_methods(bench), PREFERRED)
        self.output.value, self.bar.value, self.result = "", 0, None
        self.start.disabled = not options
        self.say("Ready." if options else "No original model is recorded for class, person or family requests here.")

    @property
    def running(self) -> bool:
        """Whether a method is running now."""
        return not self.cancel.disabled

    def begin(self) -> asyncio.Task | None:
        """Starts the chosen method in the background."""
        return None if self.running else self.in_background(self.run())

    def stop(self) -> None:
        """Asks the method to stop at its next step."""
        self._stop.set()
        self.say("Stopping …")

    async def run(self) -> None:
        """Runs the chosen method to its end, or until it is stopped; the controls come back in any case."""
        bench, self._stop = self.bench, threading.Event()
        stop, loop = self._stop, asyncio.get_running_loop()
        self._busy(True)
        self.say("Starting …")

        def report(progress: Progress) -> None:
            loop.call_soon_threadsafe(self._tick, stop, progress)

        try:
            result = await asyncio.to_thread(forget_live, bench, self.what.value, self.method.value, stop, report)
            if bench is self.bench:
                self._finish(result)
        except Cancelled:
            self.bar.value = 0
            self.say("Cancelled; nothing was changed. You can start again.")
        except ForgetError as error:
            self.say(str(error), error=True)
        except Exception as error:
            self.say(f"That did not work ({type(error).__name__}: {error}).", error=True)
        finally:
            self._busy(False)

    def _busy(self, busy: bool) -> None:
        for control in (self.what, self.method, self.start):
            control.disabled = busy
        self.cancel.disabled = not busy

    def _tick(self, stop: threading.Event, progress: Progress) -> None:
        if not stop.is_set() and stop is self._stop and self.running:
            self.bar.value = progress.share
            self.say(progress.text)

    def _finish(self, result: LiveResult) -> None:
        self.result, self.bar.value = result, 1
        self.output.value = self._accuracies(result) + self._images(result)
        self._done(result)
        gone, kept = result.after["forget"], result.after["test"]
        self.say(
            f"Done in {result.seconds:.1f} s: of the images to be forgotten {100 * gone:.0f} % are still recognised, "
            f"of the test images of what is kept {100 * kept:.0f} %."
        )

    def _accuracies(self, result: LiveResult) -> str:
        groups = {
            f"{NAMES[name]} ({len(part)})": [result.before[name], result.after[name]]
            for name, part in measured(result.scenario).items()
        }
        names, colours = ["Before", "After"], [markup.ORIGINAL, markup.UNLEARNED]
        return markup.bars(groups, names, colours, f"Accuracy before and after: {result.title.removeprefix('Live: ')}")

    def _images(self, result: LiveResult) -> str:
        """Some images to be forgotten, the probability of their own label before and after; then the picked image."""
        forget, classes = result.scenario.samples["forget"], result.scenario.data.classes
        part = forget.subset(torch.arange(min(SHOWN, len(forget)), device=forget.labels.device))
        before, after = (probabilities(model, part.images) for model in (result.original, result.model))
        pieces = []
        for image, label, one, two in zip(part.images, part.labels.tolist(), before, after, strict=True):
            change = f"{classes[label]}: {100 * float(one[label]):.0f} % → {100 * float(two[label]):.0f} %"
            alt = f"An image to be forgotten; probability of its label, before and after: {change}"
            pieces.append(markup.picture(image, alt, 84, change))
        found = markup.note("Images to be forgotten, with the probability of their own label before and after:")
        found += markup.row(pieces)
        picked = self._picked()
        if picked is not None and picked.shape == part.images.shape[1:]:
            models = {"Before": result.original, "After": result.model}
            shares = {name: probabilities(model, picked[None])[0] for name, model in models.items()}
            found += markup.note("The image picked in the gallery:") + markup.picture(picked, "The picked image", 84)
            found += markup.probability_bars(shares, classes, [markup.ORIGINAL, markup.UNLEARNED])
        return found
