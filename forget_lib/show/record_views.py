"""Tidy tables for figures of single models, read from the arrays of their records: predictions and embedding maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from forget_lib.core.errors import ForgetError
from forget_lib.study import records

SHOWN = ("original", "uniform_kl", "retrain")
"""Before, after, and the retrained model: the named runs that single-model figures show where they are there."""
COMPONENTS = 30
"""t-SNE starts from so many principal components, as its authors advise."""
HISTORY = "history.csv"


def first_folders(table: pd.DataFrame, methods: Sequence[str] = SHOWN) -> dict[str, Path]:
    """Record folders of one scenario's first draw and seed by method, in the order asked for; absent ones left out."""
    done = table[(table["status"] == "done") & (table["run"] == 0)]
    if done.empty:
        return {}
    first = done.sort_values(["draw", "seed"]).iloc[0]
    same = done[(done["draw"] == first["draw"]) & (done["seed"] == first["seed"])].drop_duplicates("method")
    folders = same.set_index("method")["folder"]
    return {name: Path(folders[name]) for name in methods if name in folders.index}


def prediction_shares(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of the samples of each label (row) that get each prediction (column): float [K, K]; a row sums to 1, or to
    0 for a label without samples. logits: float [N, K]. labels: int [N]."""
    counts = np.zeros((logits.shape[1], logits.shape[1]))
    np.add.at(counts, (labels, logits.argmax(1)), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def prediction_table(folders: dict[str, Path], part: str = "test") -> pd.DataFrame:
    """How often each class is predicted for each label: columns model, label, predicted, share (of the label's images).

    Raises: ForgetError for a record without predictions.
    """
    frames = []
    for name, folder in folders.items():
        arrays = records.read_predictions(folder)
        shares = prediction_shares(arrays[f"{part}_logits"], arrays[f"{part}_labels"])
        label, predicted = np.divmod(np.arange(shares.size), len(shares))
        frames.append(pd.DataFrame({"model": name, "label": label, "predicted": predicted, "share": shares.ravel()}))
    return pd.concat(frames, ignore_index=True)


def embedding_map(folders: dict[str, Path], seed: int = 0) -> pd.DataFrame:
    """Two-dimensional maps of the embeddings of several models: columns model, layout, x, y, label, forgotten.

    One layout is fitted to the embeddings of all models together, so a point that moved between two panels moved in the
    embedding. layout: "PCA" or "t-SNE" (perplexity 30, started from PCA). Nets trained apart (a retrained one) do not
    share coordinates with the original: their points may lie elsewhere without having been forgotten.
    Raises: ForgetError where no record has embeddings.
    """
    arrays = {name: records.read_predictions(folder) for name, folder in folders.items()}
    arrays = {name: each for name, each in arrays.items() if "map_embedding" in each}
    if not arrays:
        raise ForgetError("No record holds embeddings; run the scenario again to measure them.")
    together = np.concatenate([each["map_embedding"].astype(np.float64) for each in arrays.values()])
    components = PCA(min(COMPONENTS, *together.shape), random_state=seed).fit_transform(together)
    perplexity = min(30, (len(components) - 1) / 3)
    layouts = {
        "PCA": components[:, :2],
        "t-SNE": TSNE(perplexity=perplexity, init=components[:, :2] / components[:, 0].std() * 1e-4, random_state=seed)
        .fit_transform(components),
    }  # fmt: skip
    about = [pd.DataFrame({"model": name, "label": each["map_labels"], "forgotten": each["map_forgotten"]})
             for name, each in arrays.items()]  # fmt: skip
    rows = pd.concat(about, ignore_index=True)
    frames = [rows.assign(layout=name, x=points[:, 0], y=points[:, 1]) for name, points in layouts.items()]
    return pd.concat(frames, ignore_index=True)


def neighbour_share(points: dict[str, Path], number: int = 10) -> pd.Series:
    """How far forgotten samples still lie together: the mean share of forgotten ones among their `number` nearest
    neighbours in each model's whole embedding, in [0, 1], by model. Their share of all samples means "scattered"."""
    found = {}
    for name, folder in points.items():
        arrays = records.read_predictions(folder)
        if "map_embedding" not in arrays:
            continue
        features, gone = arrays["map_embedding"].astype(np.float64), arrays["map_forgotten"]
        squares = (features**2).sum(axis=1)
        distance = squares[:, None] + squares[None, :] - 2 * features @ features.T
        np.fill_diagonal(distance, np.inf)
        nearest = distance.argsort(axis=1, kind="stable")[:, :number]
        found[name] = float(gone[nearest][gone].mean()) if gone.any() else float("nan")
    return pd.Series(found, name="share of forgotten among the nearest")


def histories(table: pd.DataFrame) -> pd.DataFrame:
    """Metrics by epoch of all records of a scenario that have them: columns method, draw, seed, epoch and metrics."""
    frames = []
    for row in table.drop_duplicates("folder").itertuples():
        path = Path(row.folder) / HISTORY
        if path.is_file():
            frames.append(pd.read_csv(path).assign(method=row.method, draw=row.draw, seed=row.seed))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["method", "epoch"])
