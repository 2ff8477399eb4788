"""Sentences with numbers for docs/questions.md, each made from committed records; `workflow.readme` puts them there."""

import html
import re

import numpy as np
import pandas as pd
from scipy import stats

from forget_lib.core.paths import RESULTS
from forget_lib.statistics.intervals import t_interval, within

REFERENCE = RESULTS / "reference"
RUN = ["dataset", "model", "request", "draw", "seed"]
ACCURACIES = ["forget_accuracy", "retain_accuracy", "test_accuracy"]
CONTROLS = ("retrain", "second_retrain", "original", "untrained", "mask_logit", "over_forget", "short_retrain")
CLAIMS = REFERENCE / "study" / "notebooks" / "11_published_claims" / "claims.html"


def sentences() -> dict[str, str]:
    """Each sentence, by the name of its question."""
    runs = pd.read_csv(REFERENCE / "study" / "runs.csv.gz", low_memory=False)
    done = runs[runs["status"].eq("done") & runs["item"].isna()]
    notices = pd.read_csv(REFERENCE / "benchmarks" / "notices.csv")
    return {
        "retrained AUC": retrained_auc(),
        "low AUC": low_auc(done),
        "other classes": other_classes(),
        "forget accuracy": forget_accuracy(done),
        "margin of error": margin_of_error(done),
        "seeds": seeds(),
        "doing nothing": doing_nothing(done),
        "measures": measures(notices),
        "diverged": diverged(runs),
        "masked": masked(notices),
        "doses": doses(),
        "copies": copies(),
        "rescue": rescue(),
    }


def retrained_auc() -> str:
    pool = pd.read_csv(REFERENCE / "benchmarks" / "membership.csv").set_index("model")["auc"]
    retrained, original = pool.loc["retrain"], pool.loc["original"]
    return (
        f"Over {len(retrained) // 2} attacks on two data sets, retrained models have AUCs from {retrained.min():.2f} "
        f"to {retrained.max():.2f}, and originals from {original.min():.2f} to {original.max():.2f}."
    )


def low_auc(done: pd.DataFrame) -> str:
    chosen = done["request"].eq("pool-random-0.1") & done["attack"].eq("lira") & done["metric"].eq("auc")
    row = done[chosen & done["method"].eq("over_forget")].iloc[0]
    return (
        f"The control `over_forget`, which forgets too much on purpose, has an AUC of {row['value']:.2f} "
        f"({row['low']:.2f} to {row['high']:.2f}) by LiRA."
    )


def claim(behaviour: str) -> list[str]:
    """The cells of a row of the page on published claims: quantity, as found, corrected, difference and so on."""
    row = CLAIMS.read_text(encoding="utf-8").partition(f"<th>{behaviour}</th>")[2].partition("</tr>")[0]
    return [html.unescape(re.sub("<[^>]+>", "", cell)).strip() for cell in re.findall("<td.*?</td>", row, re.DOTALL)]


def other_classes() -> str:
    _, found, corrected = claim("A class compared with other classes")[:3]
    return (
        f"On a retrained model, the loss attack on the digit 5 has an AUC of {found} against the whole test set, and "
        f"of {corrected} against test images of the digit 5."
    )


def forget_accuracy(done: pd.DataFrame) -> str:
    chosen = done["request"].eq("random-0.1") & done["metric"].isin(["forget_accuracy", "unseen_accuracy"])
    means = 100 * done[chosen].groupby(["dataset", "method", "metric"])["value"].mean()
    texts = []
    for dataset, title in {"mnist": "MNIST", "cifar10_part": "a part of CIFAR-10"}.items():
        original, retrained = (means[dataset, method, "forget_accuracy"] for method in ("original", "retrain"))
        unseen = means[dataset, "retrain", "unseen_accuracy"]
        texts.append(
            f"{original:.1f} % before, {retrained:.1f} % after retraining on {title} (unseen images: {unseen:.1f} %)"
        )
    return f"The accuracy on a random tenth is {' and '.join(texts)}. The goal is the second number, not 0."


def margin_of_error(done: pd.DataFrame) -> str:
    chosen = done["metric"].eq("forget_accuracy") & done["request"].str.startswith(("random", "mislabelled"))
    gaps = _gaps(done[chosen])["forget_accuracy"].drop(list(CONTROLS), level="method", errors="ignore")
    spread = gaps.groupby(["dataset", "model", "request", "method"]).agg(["std", "count"])
    spread = spread[spread["count"] >= 3]["std"]
    middle, high = 100 * spread.quantile([0.5, 0.9])
    factors = {number: stats.t.ppf(0.975, number - 1) / np.sqrt(number) for number in (3, 6, 10)}
    widths = ", ".join(f"± {factor * middle:.1f} with {number}" for number, factor in factors.items())
    return (
        f"Over {len(spread)} methods and requests, the gap of forget accuracy has a standard deviation between runs of "
        f"{middle:.1f} points (median; a tenth of them have more than {high:.1f}). At the median, a 95 % interval is "
        f"{widths} runs. Two single runs differ by up to {1.96 * np.sqrt(2) * middle:.1f} points in 95 of 100 cases."
    )


def copies() -> str:
    models = pd.read_csv(REFERENCE / "benchmarks" / "copies.csv").set_index(["model", "dataset"])
    copied, clean, families = (("retrained", data) for data in ("mufac_published", "mufac_clean", "random_families"))
    auc, scores = models["auc"], models["nomus"]
    return (
        f"The usual attack on retrained models, which should give 0.5, has an AUC of {_over_draws(auc, copied)} on "
        f"MUFAC's published list with its copies, and of {_over_draws(auc, clean)} on that of `mufac_clean`. For 30 "
        f"random families of `mufac_clean` it is {_over_draws(auc, families)}. On original models it is "
        f"{_over_draws(auc, ('original', copied[1]))} with copies and {_over_draws(auc, ('original', clean[1]))} "
        f"without. The retrained model's NoMUS is {_over_draws(scores, copied)} with copies and "
        f"{_over_draws(scores, clean)} without."
    )


def _over_draws(values: pd.Series, key: tuple[str, str]) -> str:
    found = within(t_interval(values.loc[[key]].to_numpy()), (0, 1))
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f}, {found.n} draws)"


def rescue() -> str:
    runs = pd.read_csv(REFERENCE / "benchmarks" / "rescue.csv")
    means = runs.groupby(["method", "settings"])[["forget_gap", "kept_gap"]].mean()
    texts = []
    for name in dict.fromkeys(runs["method"]):
        before, after = ("{:+.1f} and {:+.1f}".format(*means.loc[name, when]) for when in ("before", "tuned"))
        texts.append(f"`{name}` from {before} to {after}")
    return (
        "On a digit of whole MNIST, the settings that tuning chose (on another digit) bring the gaps to retraining of "
        f"forget and kept accuracy, in points, {', '.join(texts)} ({runs['draw'].nunique()} pairs)."
    )


def _gaps(done: pd.DataFrame) -> pd.DataFrame:
    """Accuracies minus the retrained model's of the same draw and seed, a column each."""
    wide = done.pivot_table(index=[*RUN, "method"], columns="metric", values="value")
    retrained = wide.xs("retrain", level="method").reindex(wide.index.droplevel("method"))
    return wide - retrained.to_numpy()


def seeds() -> str:
    errors = pd.read_csv(REFERENCE / "benchmarks" / "verdict_errors.csv")
    found = 100 * errors[errors["request"].eq("random")].set_index(["truth", "pairs"])["equal"]
    shares = ", ".join(f"{found['equal', number]:.0f} % with {number}" for number in (3, 6, 10))
    false = max(found["any false", number] for number in (3, 6, 10))
    return (
        f"In simulated studies, a method that equals retraining is shown to do so in this share of cases: {shares} "
        f"pairs of draw and seed. At most {false:.1f} % of studies call any method equal that is not."
    )


def doing_nothing(done: pd.DataFrame) -> str:
    gaps = _gaps(done[done["metric"].isin(ACCURACIES) & done["request"].eq("random-0.1")])
    average = gaps.abs().mean(axis=1).drop(list(CONTROLS), level="method", errors="ignore")
    table = average.groupby(["dataset", "method"]).mean().unstack("dataset")
    texts = []
    for dataset, title in {"mnist": "MNIST", "cifar10_part": "a part of CIFAR-10"}.items():
        column = table[dataset].dropna()
        place = 1 + int((column < column["do_nothing"]).sum())
        texts.append(f"place {place} of {len(column)} on {title}")
    return (
        f"By the mean gap on forget, retain and test set, doing nothing takes {' and '.join(texts)} (a random tenth)."
    )


def _noticed(notices: pd.DataFrame, request: str, case: str, names: list[str]) -> str:
    power = notices[notices["request"].eq(request) & notices["case"].eq(case)].set_index("measure")["power"]
    return ", ".join(f"{name} {100 * power[name]:.0f} %" for name in names)


def measures(notices: pd.DataFrame) -> str:
    names = ["NoMUS", "Average Gap", "loss attack", "forget accuracy", "LiRA", "share left"]
    return (
        "A model that kept half of a random forget set is noticed by these measures in this share of runs: "
        f"{_noticed(notices, 'random', 'kept 50 %', names)}. One that kept a tenth: "
        f"{_noticed(notices, 'random', 'kept 10 %', names)}. Each measure has a false alarm in about 5 % of runs."
    )


def diverged(runs: pd.DataFrame) -> str:
    scrub = runs[runs["method"].eq("scrub") & ~runs["request"].str.startswith("pool")]
    scrub = scrub.drop_duplicates([*RUN, "run"])
    failed = scrub[scrub["status"].eq("failed")]
    return f"In the committed study, {len(failed)} of {len(scrub)} runs of SCRUB ended so. Each says why in its record."


def masked(notices: pd.DataFrame) -> str:
    rates = pd.read_csv(REFERENCE / "deletion" / "error_rates.csv")
    failed = rates[rates["candidate"].eq("masked") & rates["outcome"].eq("fail")]
    names = ["forget accuracy", "Average Gap", "tug of war", "class mean", "relearning"]
    shares = _noticed(notices, "class", "masked at the output", names)
    return (
        f"Measures notice a masked class in this share of runs: {shares}. "
        f"The deletion verdict fails it in {100 * failed['share'].min():.0f} % of {failed['seeds'].sum()} cases."
    )


def doses() -> str:
    pool = pd.read_csv(REFERENCE / "benchmarks" / "membership.csv")
    auc = pool[pool["data"].eq("cifar16") & pool["attack"].eq("lira")].set_index("model")["auc"]
    left = pd.read_csv(REFERENCE / "benchmarks" / "share_left.csv").set_index("dose")["share_left"]
    steps = {0.1: "keep 0.1", 0.25: "keep 0.25", 0.5: "keep 0.5"}
    found = ", ".join(f"{100 * dose:.0f} % kept: AUC {auc[name]:.2f}" for dose, name in steps.items())
    measured = ", ".join(f"{100 * left[dose]:.0f} % for {100 * dose:.0f} %" for dose in steps)
    return (
        f"LiRA on small CIFAR images: {found} (retrained: {auc['retrain']:.2f}). "
        f"The share left is measured as {measured}."
    )
