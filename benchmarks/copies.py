"""What copies in the real MUFAC do to the usual attack: AUC on retrained models, which never saw the forget set.

    FORGET_DATA=DATA python benchmarks/copies.py [--seeds 6] [--originals]

Request official:list, small_resnet, 64×64, 8 epochs; draw and seed change together. The null is 0.5. `mufac_published`
holds copies of trained images in unseen families, so that forgotten ones look less trained than they; `mufac` has
linked families, `mufac_clean` one of each copy too. The list is no random choice, so that its families may be harder
than others: `random_families` asks for 30 drawn ones of `mufac_clean`. Each model is a row of
results/reference/benchmarks/copies.csv (numbers only); rows that are there are not measured again. A training takes
about 75 CPU seconds.
"""

from __future__ import annotations

import argparse
import itertools

import membership as points
import pandas as pd
import torch

from forget_lib import datasets
from forget_lib.attacks import get_attack
from forget_lib.attacks.parts.inputs import AttackInput, Side
from forget_lib.datasets import ImageData, Samples
from forget_lib.datasets.requests import draw_sets, parse_request
from forget_lib.models.nets import build
from forget_lib.models.recipe import Recipe
from forget_lib.models.train import accuracy, predict, train
from forget_lib.statistics.intervals import t_interval
from forget_lib.statistics.metrics import nomus

OUTPUT = points.OUTPUT.with_name("copies.csv")
CASES = {
    "mufac_published": ("mufac_published", "official:list"),
    "mufac_clean": ("mufac_clean", "official:list"),
    "mufac": ("mufac", "official:list"),
    "random_families": ("mufac_clean", "family:*30"),
}
RECIPE = Recipe(epochs=8, batch_size=32, learning_rate=0.03)
KEYS = ["dataset", "model", "seed"]


def measured(data: ImageData, request: str, model: str, seed: int) -> dict:
    """Accuracies, and the attack on forgotten against unseen images, of one model."""
    sets = draw_sets(data, parse_request(request), draw=seed)
    assert data.people is not None
    parts = {name: getattr(sets, name) for name in ("forget", "unseen", "retain", "trained")}
    samples = {name: Samples(data.images[rows], data.labels[rows], RECIPE.batch_size) for name, rows in parts.items()}
    channels, height, width = data.images.shape[1:]
    net = build("small_resnet", (channels, height, width), len(data.classes), seed)
    trained = samples["trained" if model == "original" else "retain"]
    train(net, trained, RECIPE, seed)
    logits = {name: predict(net, samples[name]) for name in ("forget", "unseen")}
    forget, unseen = (
        Side(of_set, samples[name].labels, parts[name], data.people[parts[name]]) for name, of_set in logits.items()
    )
    measurements = get_attack("loss_regression").function(AttackInput(forget, unseen, seed=seed))
    found = {each.metric: each.value for each in measurements}
    test = accuracy(net, Samples(data.test_images, data.test_labels))
    shares = {f"{name}_accuracy": accuracy(net, samples[name]) for name in ("retain", "forget", "unseen")}
    counts = {f"{name}_images": len(parts[name]) for name in ("retain", "forget", "unseen")}
    return found | {"nomus": nomus(test, found["accuracy"]), "test_accuracy": test} | shares | counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--names", nargs="*", default=list(CASES))
    parser.add_argument("--originals", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = pd.read_csv(OUTPUT) if OUTPUT.is_file() else pd.DataFrame(columns=KEYS)
    loaded: dict[str, ImageData] = {}
    models = ("retrained", "original") if options.originals else ("retrained",)
    for model, seed, name in itertools.product(models, range(options.seeds), options.names):
        if (table[KEYS] == [name, model, seed]).all(axis=1).any():
            continue
        source, request = CASES[name]
        data = loaded.setdefault(source, loaded.get(source) or datasets.load(source))
        if data.synthetic:
            raise SystemExit("The real MUFAC is not there; ./run_all.sh data mufac fetches it (450 MB).")
        row = {"dataset": name, "model": model, "seed": seed} | measured(data, request, model, seed)
        table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
        table.sort_values(KEYS).round(4).to_csv(OUTPUT, index=False)
        print(pd.Series(row).to_string(), flush=True)
    for (name, model), group in table.groupby(KEYS[:2]):
        for metric in ("auc", "test_accuracy", "nomus"):
            print(f"{name}, {model}: {metric} {t_interval(group[metric].to_numpy())}")


if __name__ == "__main__":
    main()
