"""Makes the synthetic faces in MUFAC's layout, `data/samples/faces/`: about 300 people in 80 families, always the same.

    python data/samples/make_faces.py            # renders all and writes what differs from what is there (10 minutes)
    python data/samples/make_faces.py --check    # writes nothing, exits 1 if an image differs; --families 3 for a part
    python data/samples/make_faces.py --sheet sheet.png   # families as rows, ages as columns

Nobody is shown in these images. Heads come from `face_head.npz` (taken by extract_head.py from MakeHuman's CC0 shapes),
all else is painted. The JPEG bytes were written by numpy 2.4.6 and Pillow 13.0.0; other
versions may pack nearly the same pixels into other bytes, which `--check` allows.
"""

import argparse
import csv
import io
import multiprocessing
import sys
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parents[1])]

from face_paint import render  # noqa: E402
from face_people import CLASS_YEARS, age_class, make_family, photograph_years  # noqa: E402
from face_renderer import Head  # noqa: E402

from forget_lib.datasets.mufac import files_digest  # noqa: E402

SEED, FAMILIES, SIZE, QUALITY = 0, 80, 96, 85
SHARES = {"train": 52, "val": 10, "test": 18}  # families
RECOGNISED = 40  # people with extra photographs, all at one age, for the face recogniser
RECOGNISED_IMAGES = 18
COLUMNS = ("family_id", "person_id", "age_class", "image_path")
TOLERANCE = 1.5  # mean difference of pixel values that another JPEG library may cause

Photograph = tuple[str, str, str, str, bytes]  # folder, person_id, age_class, file name, JPEG bytes


@cache
def head() -> Head:
    """The head model, read once a process."""
    return Head(FOLDER / "face_head.npz")


def parts() -> dict[int, str]:
    """Which part each family belongs to."""
    order = np.random.default_rng([SEED, 999]).permutation(FAMILIES)
    names = [name for name, count in SHARES.items() for _ in range(count)]
    return {int(family): name for family, name in zip(order, names, strict=True)}


@cache
def recognised() -> frozenset[tuple[int, str]]:
    """(family, role) of the people with extra photographs: two grown members of each of the first training families."""
    chosen: list[tuple[int, str]] = []
    for family in (family for family, part in sorted(parts().items()) if part == "train"):
        grown = [person for person in make_family(SEED, family, head().blocks) if person.years >= 13]
        chosen += [(family, person.role) for person in (grown[0], grown[-1])]
    return frozenset(chosen[:RECOGNISED])


def photographs(family: int, limit: int | None = None) -> list[Photograph]:
    """All photographs of a family, or the first `limit` ones."""
    found: list[Photograph] = []
    part = parts()[family]
    for number, person in enumerate(make_family(SEED, family, head().blocks)):
        rng = np.random.default_rng([SEED, family, number + 1])
        shots = [(f"{part}_images", years) for years in photograph_years(rng, person.years)]
        if (family, person.role) in recognised():
            shots += [("identity_images", person.years)] * RECOGNISED_IMAGES
        counts: dict[tuple[str, int], int] = {}
        for shot, (folder, years) in enumerate(shots):
            if limit is not None and len(found) == limit:
                return found
            counts[folder, years] = counts.get((folder, years), 0) + 1
            pixels = render(head(), person, years, np.random.default_rng([SEED, family, number + 1, shot + 1]), SIZE)
            packed = io.BytesIO()
            Image.fromarray(pixels).save(packed, "JPEG", quality=QUALITY)
            letter = age_class(years)
            name = f"F{family + 1:04d}_AGE_{person.role}_{years}_{letter}{counts[folder, years]}.jpg"
            found.append((folder, person.role, letter, name, packed.getvalue()))
    return found


def same(path: Path, content: bytes) -> bool:
    """Whether the file has these bytes, or shows the same image packed by another JPEG library."""
    if not path.is_file():
        return False
    if path.read_bytes() == content:
        return True
    with Image.open(path, formats=["JPEG"]) as old, Image.open(io.BytesIO(content), formats=["JPEG"]) as new:
        if old.size != new.size:
            return False
        return float(np.abs(np.asarray(old, float) - np.asarray(new, float)).mean()) < TOLERANCE


def tables(made: list[tuple[int, list[Photograph]]]) -> dict[str, bytes]:
    """The CSV of each part, rows sorted by family as in MUFAC."""
    texts = {folder: io.StringIO() for folder in ("train_images", "val_images", "test_images", "identity_images")}
    writers = {folder: csv.writer(text, lineterminator="\n") for folder, text in texts.items()}
    for writer in writers.values():
        writer.writerow(COLUMNS)
    for family, shots in made:
        for folder, person, letter, name, _ in shots:
            writers[folder].writerow([f"F{family + 1:04d}", person, letter, name])
    return {
        f"custom_{folder.removesuffix('_images')}_dataset.csv": text.getvalue().encode()
        for folder, text in texts.items()
    }


def contact_sheet(folder: Path, families: int, each: int = 2) -> Image.Image:
    """Families as rows, ages as columns, up to `each` images a class."""
    sheet = Image.new("RGB", (len(CLASS_YEARS) * each * SIZE, families * SIZE), "white")
    rows = [row for part in SHARES for row in _rows(folder, part)]
    for line, family in enumerate(sorted({row["family_id"] for _, row in rows})[:families]):
        for column, letter in enumerate(CLASS_YEARS):
            shown = [(part, row) for part, row in rows if (row["family_id"], row["age_class"]) == (family, letter)]
            for place, (part, row) in enumerate(shown[:: max(1, len(shown) // each)][:each]):
                with Image.open(folder / f"{part}_images" / row["image_path"]) as image:
                    sheet.paste(image, ((column * each + place) * SIZE, line * SIZE))
    return sheet


def _rows(folder: Path, part: str) -> list[tuple[str, dict[str, str]]]:
    with open(folder / f"custom_{part}_dataset.csv", newline="", encoding="utf-8") as file:
        return [(part, row) for row in csv.DictReader(file)]


def main() -> int:
    """Renders, compares, writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if anything differs")
    parser.add_argument("--families", type=int, default=FAMILIES, help="only the first N")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, default=FOLDER / "faces")
    parser.add_argument("--sheet", type=Path, help="only draw a contact sheet of what is there, to this file")
    options = parser.parse_args()
    if options.sheet:
        contact_sheet(options.output, min(options.families, 14)).save(options.sheet)
        return 0
    with multiprocessing.Pool(options.processes) as pool:
        made = list(enumerate(pool.imap(photographs, range(options.families))))
    files = {f"{folder}/{name}": content for _, shots in made for folder, _, _, name, content in shots}
    unchanged = same if options.check else equal
    different = [name for name, content in files.items() if not unchanged(options.output / name, content)]
    if options.families == FAMILIES:
        written = tables(made)
        files |= written
        different += [name for name, content in written.items() if not equal(options.output / name, content)]
        known = {path.relative_to(options.output).as_posix() for path in options.output.rglob("*.jpg")}
        different += sorted(known - set(files))
    if not options.check:
        write(options.output, files, different)
    print(f"{len(files)} files, {len(different)} differ, {sum(map(len, files.values())) / 1e6:.1f} MB")
    return int(options.check and bool(different))


def write(output: Path, files: dict[str, bytes], names: list[str]) -> None:
    """Writes the files of these names, deletes those that are no longer made, and states the checksum of all."""
    for name in names:
        if name in files:
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (output / name).write_bytes(files[name])
        else:
            (output / name).unlink()
    digest = files_digest([*output.glob("*.csv"), *output.glob("*/*.jpg")])
    (output / "SHA256").write_text(digest + "\n", encoding="utf-8")


def equal(path: Path, content: bytes) -> bool:
    """Whether the file has these bytes."""
    return path.is_file() and path.read_bytes() == content


if __name__ == "__main__":
    sys.exit(main())
