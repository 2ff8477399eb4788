"""How long a user's own data take: 50,000 small PNGs in folders of classes, checked and read once, then from the cache.

    python benchmarks/own_data.py [--images 50000] [--csv results/reference/benchmarks/own_data.csv]

Times are CPU seconds of this process, which do not depend on what else the machine does.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from forget_lib.datasets.own import load_own


def make_folder(folder: Path, images: int) -> None:
    """Grey PNGs of 28 × 28 pixels in ten classes: noise on a quarter of the area, as digits fill about as much."""
    generator = np.random.default_rng(0)
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
    for index in range(images):
        pixels = np.zeros((28, 28), np.uint8)
        pixels[7:21, 7:21] = generator.integers(0, 256, (14, 14))
        Image.fromarray(pixels).save(folder / str(index % 10) / f"{index:05}.png")


def main() -> None:
    """Measures and prints; with --csv also writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forget-own-") as temporary:
        os.environ["FORGET_DATA"] = f"{temporary}/cache"
        make_folder(Path(temporary) / "digits", given.images)
        rows = []
        for step in ("checked and read once", "from the cache"):
            cpu, wall = time.process_time(), time.perf_counter()
            data = load_own(Path(temporary) / "digits")
            spent = {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}
            images = len(data.labels) + len(data.test_labels)
            rows.append({"step": step, "images": images} | {name: round(value, 2) for name, value in spent.items()})
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    if given.csv:
        table.drop(columns="wall_seconds").to_csv(given.csv, index=False)


if __name__ == "__main__":
    main()
