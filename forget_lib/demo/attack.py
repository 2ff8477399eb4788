"""Attack it: can a threshold on the model's confidence tell forgotten images from unseen ones?"""

from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np

from forget_lib.core.errors import ForgetError, TooFewError
from forget_lib.demo import parts
from forget_lib.demo.parts import html
from forget_lib.demo.studies import Bench, method_title
from forget_lib.models.recipe import make_recipe
from forget_lib.statistics.intervals import Interval, auc_interval, clopper_pearson, sign_flip_test
from forget_lib.statistics.scores import phi
from forget_lib.study import records
from forget_lib.study.membership import plan_pool
from forget_lib.study.pools import Pool, load_pool, load_unlearned, memorisation

FEWEST, SHOWN, STEPS, BINS, OFFERED = 2, 12, 100, 24, 24


class Guessing:
    """Scores float [n], [m] of forget and unseen samples under one model: the logit margin, high where it is sure.

    Only these two sets meet: they come from the same classes and differ in nothing but that one was trained on.
    """

    def __init__(self, forget: np.ndarray, unseen: np.ndarray) -> None:
        """Raises: TooFewError where either has fewer than two samples."""
        if min(len(forget), len(unseen)) < FEWEST:
            raise TooFewError(
                f"There are {len(forget)} forgotten and {len(unseen)} unseen samples; the attack needs {FEWEST} each."
            )
        self.forget, self.unseen = forget, unseen
        self.range = (float(min(forget.min(), unseen.min())), float(max(forget.max(), unseen.max())))

    def at(self, threshold: float) -> tuple[Interval, Interval]:
        """The guess "score >= threshold means: it was trained on": rates of both sets, with exact 95 % intervals."""
        named, wrongly = int((self.forget >= threshold).sum()), int((self.unseen >= threshold).sum())
        return clopper_pearson(named, len(self.forget)), clopper_pearson(wrongly, len(self.unseen))


def scores(bench: Bench, name: str, part: str) -> np.ndarray:
    """How much surer of the label a model is than the retrained one, float [n] of a set; the retrained one by itself.

    What every model finds easy says nothing of training. Source: difficulty calibration, Watson et al., ICLR 2022.
    """
    labels = bench.samples(part).labels.cpu().numpy()
    sure = phi(bench.logits(name, part).numpy(), labels)
    return sure if name == "retrain" else sure - phi(bench.logits("retrain", part).numpy(), labels)


class AttackPanel(parts.Panel):
    """`guessing` holds the scores of the chosen model; `one` shows one image under a pool of nets."""

    def __init__(self) -> None:
        super().__init__()
        self.guessing: Guessing | None = None
        self._quiet = False
        self.one = OneImage()
        self.model = parts.dropdown("Attacked model")
        self.threshold = ipywidgets.FloatSlider(description="Threshold", readout_format=".1f", **parts.WIDE)
        self.picture = ipywidgets.HTML()
        parts.follow(self.compute, self.model)
        parts.follow(self.look, self.threshold)
        views = [self.picture, self.threshold, self.result]
        self.widget.children = [self.model, self.status, *views, self.one.widget]

    @parts.guarded
    def show(self, bench: Bench) -> None:
        self._quiet = True
        super().show(bench)
        self._quiet = False
        self.compute()
        self.one.show(bench)

    def refresh(self) -> None:
        # One that forgot something else live cannot be judged on these sets.
        fits = [(title, name) for name, title in self.bench.titles.items() if name not in self.bench.others]
        parts.set_options(self.model, fits, "original")

    @parts.guarded
    def compute(self) -> None:
        """Scores of the chosen model, with the threshold at the median of the unseen scores: without a look at the
        forget set."""
        if self._quiet:
            return
        bench, name = self.bench, self.model.value
        self.guessing, self.picture.value, self.result.value = None, "", ""
        self.guessing = Guessing(*(scores(bench, name, part) for part in ("forget", "unseen")))
        low, high = self.guessing.range
        self._quiet = True
        # A slider refuses max < min, so that its ends are first moved apart, then set.
        self.threshold.min, self.threshold.max = min(low, self.threshold.min), max(high, self.threshold.max)
        self.threshold.value = float(np.median(self.guessing.unseen))
        self.threshold.min, self.threshold.max = low, max(high, low + 0.1)
        self.threshold.step = max(0.01, (high - low) / STEPS)
        self._quiet = False
        area = auc_interval(self.guessing.forget, self.guessing.unseen)
        words = f"AUC {area.value:.2f} (95 % interval {area.low:.2f} to {area.high:.2f}); 0.5 is guessing."
        self.say(f"{bench.titles[name]}: {words}")
        self.look()

    @parts.guarded
    def look(self) -> None:
        if self._quiet or self.guessing is None:
            return
        scores = {"forgotten images": self.guessing.forget, "unseen images": self.guessing.unseen}
        low, high = self.guessing.range
        edges = np.linspace(low, max(high, low + 0.1), BINS + 1)
        shares = {f"{words} ({len(each)})": np.histogram(each, edges)[0] / len(each) for words, each in scores.items()}
        threshold = self.threshold.value
        self.picture.value = html.histogram(low, edges[-1], shares, [parts.ORIGINAL, parts.UNLEARNED], threshold)
        found, accused = self.guessing.at(threshold)
        rates = {"forgotten, found (TPR": found, "unseen, accused (FPR": accused}
        bars = {f"{words}, {100 * r.low:.0f} to {100 * r.high:.0f} %)": [r] for words, r in rates.items()}
        caption = "Rates with exact 95 % intervals (Clopper-Pearson)"
        table = html.bars(bars, ["Share above the threshold"], [parts.OTHER], caption)
        self.result.value = html.guess(found, accused) + table + self._found(self.guessing.forget, threshold)

    def _found(self, scores: np.ndarray, threshold: float) -> str:
        samples, classes = self.bench.samples("forget"), self.bench.words
        order = np.argsort(-scores, kind="stable")
        groups = {"found": order[scores[order] >= threshold], "missed": order[scores[order] < threshold]}
        columns = []
        for name, group in groups.items():
            items = [
                (samples.images[index], f"{classes[int(samples.labels[index])]}, score {scores[index]:.1f}")
                for index in group[:SHOWN].tolist()
            ]
            heading = html.note(f"{len(group)} forgotten images {name}, the highest scores first:")
            columns.append(heading + html.pictures(items, f"Forgotten image {name}: "))
        return html.sorted_pictures(columns)


class OneImage(parts.Panel):
    """One image under the nets of the study's `pool`, trained with and without it; a sentence where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.pool: Pool | None = None
        self.sample, self.method = parts.dropdown("Image"), parts.dropdown("After method")
        self.controls = parts.wrapping(self.sample, self.method)
        parts.follow(self.look, self.sample, self.method)
        title = ipywidgets.HTML("<h3>One image under many nets</h3>")
        self.widget.children = [title, self.status, self.controls, self.result]

    def show(self, bench: Bench) -> None:
        self.bench, self.pool, self.result.value, self.controls.layout.display = bench, None, "", "none"
        try:
            pool, self.folder, self.methods = open_pool(bench)
        except ForgetError as error:
            self.say(str(error))
            return
        scores, samples = memorisation(pool), np.sort(pool.plan.evaluation)
        order = samples[np.argsort(-scores[samples], kind="stable")]
        order = order[np.unique(np.linspace(0, len(order) - 1, OFFERED).round().astype(int))].tolist()
        words = "{}, memorised {:+.2f} (sample {})"
        names = [bench.words[label] for label in pool.plan.labels[order].tolist()]
        options = [(words.format(name, scores[i], i), i) for name, i in zip(names, order, strict=True)]
        parts.set_options(self.sample, options)
        parts.set_options(self.method, [(method_title(name), name) for name in self.methods], parts.PREFERRED)
        self.pool, self.controls.layout.display = pool, ""
        self.look()

    @parts.guarded
    def look(self) -> None:
        """How sure each net is of the label of the chosen image, before and after the method; a row of dots a group."""
        if self.pool is None:
            return
        plan, sample, method, self.result.value = self.pool.plan, self.sample.value, self.method.value, ""
        unlearned = load_unlearned(plan, self.folder, method, self.methods[method])
        unlearned = unlearned[:, plan.evaluation == sample]
        labels, member = plan.labels[[sample]].numpy(), self.pool.membership[:, sample]
        before, after = (phi(each, labels)[:, 0] for each in (self.pool.logits[:, [sample]], unlearned))
        groups = {"trained on it": before[member], "trained on it, then unlearned": after[member]}
        groups |= {"never saw it, same method": after[~member], "never saw it": before[~member]}
        groups = {f"{words} ({len(each)})": each for words, each in groups.items()}
        first, then = before[member] - before[~member], after[member] - after[~member]
        # Exact for nets that are independent of the coin; a rank test of all in against all out is not.
        p_value = sign_flip_test(then) if len(then) > 1 else None
        title, label = method_title(method), self.bench.words[int(labels[0])]
        picture = html.picture(plan.images[sample], f"Sample {sample} of the pool, labelled {label}", caption=label)
        sentences = html.pairs(len(first), int((first > 0).sum()), int((then > 0).sum()), title, p_value)
        colours = [parts.ORIGINAL, parts.UNLEARNED, parts.OTHER, parts.RETRAINED]
        caption, ends = "How sure each net is of the label (logit margin; one dot a net)", [*before, *after]
        self.result.value = picture + sentences + html.dots(groups, colours, min(ends), max(ends), caption)
        self.say(f"Sample {sample}, labelled {label}, under {plan.number} nets, before and after {title}.")


def open_pool(bench: Bench) -> tuple[Pool, Path, dict[str, Any]]:
    """The pool of a bench's data set and model, its folder, and the settings of the methods run on it; never trained.

    Raises: ForgetError where there is none, naming those that there are, or where it is not up to date.
    """
    root, entry = bench.scenario.root, bench.entry
    folders = root.glob(f"{entry.dataset}-{entry.model}/pool-*/draw*/seed*/*/run0")
    runs = [records.read_record(path) for path in sorted(folders)]
    done = [run for run in runs if run and run["status"] == "done"]
    if not done:
        there = " or ".join(sorted({path.parent.name.replace("-", ", ", 1) for path in root.glob("*/pool-*")}))
        what = f"choose a study of {there}." if there else "run ./run_all.sh quick first."
        raise ForgetError(f"This needs many nets, trained with and without the image; none are of this study: {what}")
    first = done[0]
    if first["data_checksum"] != bench.data.checksum:
        raise ForgetError("The pool of reference nets was trained on other data; run the study again.")
    sizes = first["pool"] | {"request": "random"}
    plan, folder = plan_pool(root, bench.data, entry.model, make_recipe(first["recipe"]), sizes, first["seed"])
    methods = {run["method"]: run["settings"] for run in done if (folder / run["method"]).is_dir()}
    return load_pool(plan, folder), folder, methods
