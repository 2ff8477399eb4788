"""MUFAC's layouts, each kind of damage, near-duplicates, and the face data sets that need no network."""

import csv
import functools
import http.server
import shutil
import sys
import tarfile
import threading
import zipfile
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from forget_lib.core.errors import DataError
from forget_lib.datasets import load, mufac, sources
from forget_lib.datasets.mufac import (
    COLUMNS,
    decode,
    read_part,
)
from forget_lib.datasets.requests import draw_sets, forgotten_words, parse_request, resolve

ROOT = "custom_korean_family_dataset_resolution_128"
FROM_HUGGING_FACE = mufac._from_hugging_face
PARTS = {"train": (1, 2, 3, 4), "val": (801,), "test": (851, 852)}


def picture(seed: int, size: int = 32) -> Image.Image:
    """A smooth random picture: its perceptual hash is its own."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def write_archive(folder: Path, *, nested: bool = False, each: int = 3) -> Path:
    """Families F0001… of two people with `each` images, in the authors' layout or (nested) in that of Hugging Face."""
    folder.mkdir(parents=True)
    for part, families in PARTS.items():
        lines = []
        for family in families:
            for person, years in (("F", 40), ("D2", 5)):
                for number in range(each):
                    name = f"F{family:04d}_AGE_{person}_{years}_b{number + 1}.jpg"
                    target = folder / f"{part}_images" / (f"{number % 2}" if nested else "")
                    target.mkdir(parents=True, exist_ok=True)
                    picture(family * 100 + years * 10 + number).save(target / name, quality=90)
                    lines.append((f"F{family:04d}", person, "e" if years == 40 else "a", name))
        write_table(folder, part, lines)
    return folder


def write_table(folder: Path, part: str, lines: list[tuple[str, ...]], columns: tuple[str, ...] = COLUMNS) -> None:
    with open(folder / f"custom_{part}_dataset.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *lines])


def read_lines(folder: Path, part: str) -> list[list[str]]:
    with open(folder / f"custom_{part}_dataset.csv", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


@pytest.fixture
def data(monkeypatch, tmp_path) -> Path:
    """An empty data folder, and no way out to the hosts."""
    monkeypatch.setenv("FORGET_DATA", str(tmp_path))

    def unreachable(*_, **__):
        raise DataError("no network in a test")

    monkeypatch.setattr(mufac, "fetch", unreachable)
    monkeypatch.setattr(mufac, "_from_hugging_face", unreachable)
    return tmp_path


# Layouts


@pytest.mark.parametrize("nested", [False, True])
def test_both_layouts_give_pool_and_test_with_people_and_families(data, nested):
    write_archive(data / "mufac" / ("" if nested else ROOT), nested=nested)
    faces = load("mufac")
    assert faces.source == "local files"
    assert not faces.synthetic
    assert not faces.sampled
    assert faces.images.shape == (30, 3, 64, 64)
    assert faces.test_images.shape == (12, 3, 64, 64)
    assert faces.classes == ("0-6", "7-12", "13-19", "20-30", "31-45", "46-55", "56-66", "67-80")
    assert faces.labels[:6].tolist() == [4, 4, 4, 0, 0, 0]
    assert faces.person_names[faces.people[0]] == "F0001_F"
    assert faces.family_names[faces.families[-1]] == "F0801"
    assert not set(faces.families.tolist()) & set(faces.test_families.tolist())


def zipped(path: Path, made: Path) -> None:
    """The authors' archive: a zip of the folder of their layout."""
    folder = write_archive(made / ROOT)
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for member in sorted(folder.rglob("*.*")):
            archive.write(member, Path(ROOT) / member.relative_to(folder))


def test_an_archive_is_unpacked_where_it_lies(data):
    zipped(data / "mufac" / mufac.ARCHIVE, data / "made")
    assert len(load("mufac").labels) == 30


@pytest.fixture
def host(data, monkeypatch):
    """A host on this machine in the place of the authors': the folder that it serves."""
    (data / "served").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(data / "served"))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{running.server_address[1]}"
        monkeypatch.setattr(mufac, "SHAREPOINT", f"{address}/a.zip?download=1")
        monkeypatch.setattr(mufac, "GITHUB", f"{address}/a.tar.gz")
        monkeypatch.setattr(mufac, "fetch", sources.fetch)
        yield data / "served"
        running.shutdown()


def test_the_authors_archive_is_fetched_unpacked_and_kept(data, host):
    zipped(host / "a.zip", data / "made")
    faces = load("mufac", start="official")
    assert (faces.source, faces.synthetic, len(faces.labels)) == ("the authors' archive", False, 30)
    (host / "a.zip").unlink()
    assert load("mufac").source == "local files"


def test_a_page_instead_of_the_archive_is_refused_and_the_steps_by_hand_are_named(data, host, capsys):
    (host / "a.zip").write_text("<!DOCTYPE html><html>Sign in to your account</html>")
    assert load("mufac", start="official").synthetic
    said = capsys.readouterr().out
    assert "a web page came instead of the file" in said
    assert "data/README.md says how to get the files by hand" in said
    assert not list((data / "mufac").glob("*.zip"))


def test_a_file_that_is_no_archive_is_refused_by_name(data, host, capsys):
    (host / "a.zip").write_bytes(b"PK, but not a zip")
    assert load("mufac", start="official").synthetic
    assert mufac.ARCHIVE in capsys.readouterr().out


@pytest.fixture
def tarball(data, host, monkeypatch) -> Path:
    """The author's repository as GitHub packs it, served: other folders lie beside those that are needed."""
    top = mufac.TARBALL.removesuffix(".tar.gz")
    folder = write_archive(data / "made" / top)
    files = [*folder.glob("custom_*.csv"), *folder.glob("*_images/*")]
    monkeypatch.setattr(mufac, "FILES_SHA256", mufac.files_digest(files))
    (folder / "fixed_val_dataset").mkdir()
    (folder / "fixed_val_dataset" / "pair.jpg").write_bytes(b"not needed")
    (folder / "README.md").write_text("not needed")
    with tarfile.open(host / "a.tar.gz", "w:gz") as archive:
        archive.add(folder, top)
    return host / "a.tar.gz"


def test_the_authors_repository_comes_first_says_its_cost_and_leaves_only_what_is_needed(data, tarball, capsys):
    faces = load("mufac", start="official")
    assert (faces.source, faces.synthetic, len(faces.labels)) == ("the author's GitHub repository", False, 30)
    assert "450 MB to fetch, 137 MB kept" in capsys.readouterr().out
    (folder,) = (data / "mufac").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*(f"custom_{part}_dataset.csv" for part in PARTS), *(f"{part}_images" for part in PARTS)]
    )
    tarball.unlink()
    assert load("mufac").source == "local files"


def test_a_tarball_put_there_by_hand_is_unpacked_and_stays(data, tarball):
    (data / "mufac").mkdir()
    shutil.copy(tarball, data / "mufac" / mufac.TARBALL)
    assert load("mufac").source == "local files"
    assert (data / "mufac" / mufac.TARBALL).is_file()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("truncated", "it may be truncated: fetch it again"),
        ("another image", "its files are not the published ones (SHA-256"),
        ("no folder", f"lacks {mufac.TARBALL.removesuffix('.tar.gz')}/test_images/"),
        ("page", "a web page came instead of the file"),
    ],
)
def test_a_wrong_tarball_is_named_and_nothing_of_it_stays(data, tarball, capsys, fault, said):
    if fault == "truncated":
        tarball.write_bytes(tarball.read_bytes()[:-2000])
    elif fault == "page":
        tarball.write_text("<!DOCTYPE html><html>Not found</html>")
    else:
        folder = data / "made" / mufac.TARBALL.removesuffix(".tar.gz")
        if fault == "no folder":
            shutil.rmtree(folder / "test_images")
        else:
            picture(1).save(folder / "test_images" / read_lines(folder, "test")[0][3])
        with tarfile.open(tarball, "w:gz") as archive:
            archive.add(folder, folder.name)
    assert load("mufac", start="official").synthetic
    assert said in capsys.readouterr().out
    assert list((data / "mufac").iterdir()) == []


def test_the_files_of_hugging_face_are_found_in_its_folders(data, monkeypatch):
    asked = {}

    def snapshot_download(name, *, local_dir, **options):
        asked.update(options, name=name)
        write_archive(Path(local_dir) / "MUFAC", nested=True)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    monkeypatch.setattr(mufac, "_from_hugging_face", FROM_HUGGING_FACE)
    faces = load("mufac", start="official")
    assert (faces.source, len(faces.labels)) == ("Hugging Face Dasool/MUFAC", 30)
    assert (asked["name"], asked["repo_type"]) == ("Dasool/MUFAC", "dataset")
    assert all(any(fnmatch(f"train_images/0/{n}", p) for p in asked["allow_patterns"]) for n in ("a.jpg", "b.jpg"))


def test_without_the_package_of_hugging_face_the_next_source_is_tried(data, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setattr(mufac, "_from_hugging_face", FROM_HUGGING_FACE)
    assert load("mufac", start="official").synthetic
    assert "pip install huggingface_hub" in capsys.readouterr().out


def test_without_the_archive_the_synthetic_sample_stands_in_and_says_so(data, capsys):
    faces = load("mufac", start="official")
    assert faces.synthetic
    assert faces.sampled
    assert faces.label == "MUFAC (synthetic, sample)"
    assert "synthetic" in faces.source
    assert capsys.readouterr().out.count("trying the next source") == 3


def test_images_come_from_a_cache_that_notices_a_changed_file(data):
    folder = write_archive(data / "mufac" / ROOT)
    first = load("mufac")
    assert len(list((data / "cache").glob("faces-*.safetensors"))) == 2
    assert load("mufac").checksum == first.checksum
    picture(7, 48).save(folder / "train_images" / "F0001_AGE_F_40_b1.jpg")
    changed = load("mufac")
    assert torch.equal(changed.images[1:], first.images[1:])
    assert not torch.equal(changed.images[0], first.images[0])


# Damage, told by row


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, "family one", "line 3: family id 'family one' is not F and digits"),
        (1, "daughter", "line 3: person id 'daughter' is not a role"),
        (2, "x", "line 3: class 'x' is not one of a-h"),
        (2, "", "line 3: class '' is not one of a-h"),
        (3, "F0001_AGE_F_40_b9.jpg", "line 3: image 'F0001_AGE_F_40_b9.jpg' is missing"),
        (3, "../../secret.jpg", "line 3: image 'secret.jpg' is missing"),
        (3, "F0002_AGE_F_40_b1.jpg", "line 3: image 'F0002_AGE_F_40_b1.jpg' belongs to another family than F0001"),
        (3, "F0001_AGE_F_40_b1.jpg", "line 3: image 'F0001_AGE_F_40_b1.jpg' is listed twice"),
    ],
)
def test_a_wrong_row_is_named(data, column, value, message):
    folder = write_archive(data / "archive")
    lines = read_lines(folder, "train")
    lines[1][column] = value
    write_table(folder, "train", lines)
    with pytest.raises(DataError, match="1 of 24 rows are wrong") as caught:
        read_part(folder, "train")
    assert message in str(caught.value)


def test_many_wrong_rows_are_counted_and_five_are_shown(data):
    folder = write_archive(data / "archive")
    write_table(folder, "train", [(line[0], line[1], "z", line[3]) for line in read_lines(folder, "train")])
    with pytest.raises(DataError, match=r"24 of 24 rows are wrong: line 2: .*line 6: .*and 19 more"):
        read_part(folder, "train")


def test_a_table_without_its_columns_or_rows_is_refused(data):
    folder = write_archive(data / "archive")
    write_table(folder, "val", read_lines(folder, "val"), columns=("family", "person", "age", "image"))
    with pytest.raises(DataError, match="family_id, person_id, age_class, image_path"):
        read_part(folder, "val")
    (folder / "custom_val_dataset.csv").write_bytes(b"\xff\xfe\x00bad")
    with pytest.raises(DataError, match="cannot be read"):
        read_part(folder, "val")
    (folder / "custom_val_dataset.csv").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read_part(folder, "val")


def test_a_truncated_image_is_named_by_its_row(data):
    folder = write_archive(data / "archive")
    path = folder / "train_images" / "F0001_AGE_F_40_b2.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"custom_train_dataset.csv line 3: .*F0001_AGE_F_40_b2.jpg is truncated"):
        decode(read_part(folder, "train"), 32)


def test_a_family_in_two_parts_is_refused(data, capsys):
    folder = write_archive(data / "mufac" / ROOT)
    shutil.copy(folder / "train_images" / "F0001_AGE_F_40_b1.jpg", folder / "test_images")
    write_table(folder, "test", [*read_lines(folder, "test"), ["F0001", "F", "e", "F0001_AGE_F_40_b1.jpg"]])
    assert load("mufac").synthetic  # the chain goes on to the sample
    assert "families of the test part are in the train or val part too" in capsys.readouterr().out


# Copies


def write_copy(folder: Path, part: str, line: int, of: Path) -> str:
    """Puts another photograph in the place of a row's, saved anew, and returns its file's name."""
    name = read_lines(folder, part)[line][3]
    Image.open(of).save(folder / f"{part}_images" / name, quality=70)
    return name


@pytest.fixture
def copied(data) -> Path:
    """An archive in which F0001 and F0002 share a photograph, and F0003 and the test set's F0851 another."""
    folder = write_archive(data / "mufac" / ROOT)
    train, test = read_lines(folder, "train"), read_lines(folder, "test")
    write_copy(folder, "train", 7, folder / "train_images" / train[1][3])
    write_copy(folder, "train", 12, folder / "test_images" / test[0][3])
    return folder


def test_people_and_families_who_share_a_photograph_are_one(copied):
    faces = load("mufac")
    assert len(faces.labels) == 24 + 6
    assert faces.aliases == {
        "person": {"F0002_F": "F0001_F", "F0851_F": "F0003_F"},
        "family": {"F0002": "F0001", "F0851": "F0003"},
    }
    assert faces.notes == (
        "who share an image, or nearly one, count as one: 14 names are 12 people, 7 names are 5 families",
    )
    assert set(faces.people[:3].tolist()) == set(faces.people[6:9].tolist())
    assert len(set(faces.families[:12].tolist())) == 1
    assert faces.test_people[0] == faces.people[12]
    published = load("mufac_published")
    assert published.aliases == {"person": {}, "family": {}}
    assert len(published.family_names) == 7


def test_the_clean_set_keeps_one_of_each_copy_and_the_linked_names(copied):
    faces, clean = load("mufac"), load("mufac_clean")
    assert (len(clean.labels), len(clean.test_labels)) == (28, 12)
    stays = [index for index in range(30) if index not in (7, 12)]  # of a pair the test set's, or the first of train
    assert torch.equal(clean.images, faces.images[stays])
    assert torch.equal(clean.families, faces.families[stays])
    assert clean.aliases == faces.aliases


def test_whoever_is_asked_to_be_forgotten_goes_under_all_names(copied):
    faces = load("mufac")
    for name in ("F0001_F", "F0002_F"):
        # The draw that holds neither of them out.
        request = parse_request(f"person:{name}")
        draw = next(d for d in range(9) if 1 in draw_sets(faces, parse_request("person:*1"), d).trained)
        sets = draw_sets(faces, request, draw)
        assert sets.forget.tolist() == [0, 1, 2, 6, 7, 8]
        assert forgotten_words(faces, resolve(faces, request), sets) == "F0001_F (index 1, the same images as F0002_F)"


def test_of_the_clean_set_the_published_list_goes_with_its_whole_families(copied):
    lines = read_lines(copied, "train")
    write_table(copied, "forget", lines[:2])
    assert load("mufac").official.tolist() == [0, 1]
    clean = load("mufac_clean")
    assert clean.official.tolist() == list(range(11))
    assert set(clean.families[clean.official].tolist()) == {clean.family_names.index("F0001")}


def test_rendered_people_are_never_linked():
    assert len(mufac.read_sample().alike()) == 0


# The benchmark's own forget list


def test_the_official_request_is_the_first_rows_or_the_list_of_the_archive(data):
    folder = write_archive(data / "mufac" / ROOT)
    assert load("mufac").official.tolist() == list(range(round(24 * 1500 / 10025)))
    lines = read_lines(folder, "train")
    write_table(folder, "forget", lines[10:13])
    faces = load("mufac")
    assert faces.official.tolist() == [10, 11, 12]
    assert draw_sets(faces, parse_request("official:list")).forget.tolist() == [10, 11, 12]


# The synthetic sample


@pytest.fixture(scope="module")
def rendered():
    return load("synthetic_faces", "sample")


def test_the_synthetic_faces_are_whole_marked_and_split_by_family(rendered):
    assert rendered.synthetic
    assert rendered.label == "Rendered faces (synthetic)"
    assert rendered.images.shape[1:] == (3, 64, 64)
    assert set(rendered.labels.tolist()) == set(rendered.test_labels.tolist()) == set(range(8))
    assert not set(rendered.people.tolist()) & set(rendered.test_people.tolist())
    assert not set(rendered.families.tolist()) & set(rendered.test_families.tolist())
    assert len(rendered.family_names) == 80


def test_the_sex_comes_from_the_role_and_unseen_people_match_it(rendered):
    roles = [name.split("_")[1] for name in rendered.person_names]
    wrong = [
        role
        for role, sex in zip((roles[p] for p in rendered.people), rendered.sexes.tolist(), strict=True)
        if (role.strip("0123456789") in ("M", "D", "GM")) != (sex == 0)
    ]
    assert not wrong
    sets = draw_sets(rendered, parse_request("person:*20"))
    shares = [(rendered.sexes[part] == 0).double().mean() for part in (sets.forget, sets.unseen)]
    assert abs(shares[0] - shares[1]) < 0.15


@pytest.mark.parametrize("text", ["person:*20", "family:*10", "class:0-6", "random:0.1"])
def test_requests_draw_disjoint_sets_of_the_faces(rendered, text):
    sets = draw_sets(rendered, parse_request(text))
    assert len(sets.unseen) > 10
    if text.startswith(("person", "family")):
        groups = rendered.people if text.startswith("person") else rendered.families
        assert not set(groups[sets.unseen].tolist()) & set(groups[sets.trained].tolist())
        assert len(groups[sets.forget].unique()) == int(text.rpartition("*")[2])


def test_a_smaller_copy_shows_the_same_images(rendered):
    small = load("synthetic_faces32", "sample")
    assert torch.equal(small.labels, rendered.labels)
    halved = rendered.images.float().unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    assert (small.images.float() - halved).abs().mean() < 4


def test_every_person_of_the_identity_set_is_in_pool_and_test():
    people = load("synthetic_identity", "sample")
    assert people.synthetic
    assert people.labels.bincount().tolist() == [12] * 40
    assert people.test_labels.bincount().tolist() == [6] * 40
    names = [people.person_names[person] for person in people.people]
    assert names == [people.classes[label] for label in people.labels]
    sets = draw_sets(people, parse_request(f"class:{people.classes[0]}"))
    assert len(sets.forget) == 9
    assert len(sets.validation) == 80
    assert len(sets.unseen) == 1


def test_a_damaged_sample_says_how_to_bring_it_back(monkeypatch, tmp_path):
    write_archive(tmp_path / "faces")
    (tmp_path / "faces" / "SHA256").write_text("0" * 64)
    monkeypatch.setattr(mufac, "samples_folder", lambda: tmp_path)
    with pytest.raises(DataError, match="git checkout"):
        load("synthetic_faces")
