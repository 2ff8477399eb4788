"""Hostile archives, images, arrays and weights, made on the spot: each is small on disk, whatever it declares."""

import gzip
import io
import json
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from forget_lib.datasets.archives import safe_extract
from forget_lib.datasets.mnist import read_idx
from forget_lib.datasets.mufac import decode, read_part
from forget_lib.datasets.orl import read_orl
from forget_lib.datasets.own import load_own
from forget_lib.demo.images import read_picture
from forget_lib.models.given_weights import put_weights
from forget_lib.study.records import read_predictions, read_state
from tests.faults.hostile import Hostile, payload

UNSAFE_NAMES = (
    *(
        "../canary",
        "a/../../canary",
        "/tmp/canary-of-forget",
        "//canary",
        "C:/canary",
        "..\\canary",
        "a\\..\\..\\canary",
    ),
    *("a/b/../../../canary", "./../canary", "..", "/", "~/../../canary/..", "a\0b"),
)
MANY = 1_000_000


# --- archives ---------------------------------------------------------------------------------------------------------


def tar_with(entries: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for info, content in entries:
            info.size = len(content) if info.isreg() else info.size
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_with(entries: list[tuple[str, bytes]], mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries:
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.external_attr = (mode or stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def special(kind: bytes, name: str = "l", target: str = "../canary") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return tar_with([(info, b"")])


def link_then_file() -> bytes:
    """A link to the folder above, then a file that would be written through it."""
    link = tarfile.TarInfo("d")
    link.type, link.linkname = tarfile.SYMTYPE, ".."
    return tar_with([(link, b""), (tarfile.TarInfo("d/canary"), b"x")])


def tar_bomb(declared: int) -> bytes:
    """A head that declares so many bytes, and none of them."""
    info = tarfile.TarInfo("bomb")
    info.size = declared
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def zip_bomb(declared: int) -> bytes:
    """A zip (64 bit) whose directory declares so many bytes."""
    content = zip_with([("bomb", b"\0" * 1000)])
    at = content.rindex(b"PK\1\2")
    size = struct.pack("<I", min(declared, 2**32 - 2))
    return content[: at + 24] + size + content[at + 28 :]


def real_zip_bomb() -> bytes:
    """Eleven times 400 MB of zeros, 4.4 MB on disk: one deflated stream, named eleven times by the directory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = b"".join(packer.compress(bytes(2**20)) for _ in range(400)) + packer.flush()
    head = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 8, 0, 33, 0, len(stream), 400 * 2**20, 1, 0) + b"b"
    entry = [
        struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 8, 0, 33, 0, len(stream), 400 * 2**20, 1, 0, 0, 0, 0, 0, 0)
        + bytes([97 + number])
        for number in range(11)
    ]
    directory = b"".join(entry)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 11, 11, len(directory), len(head) + len(stream), 0)
    return head + stream + directory + end


def many_entries() -> bytes:
    """A tar of a million empty files, 512 bytes each, packed to 1.5 MB; the reader must stop long before the end."""
    packer, head = zlib.compressobj(1, wbits=31), tarfile.TarInfo("0" * 8).tobuf()
    block = head * 1000
    return b"".join(packer.compress(block) for _ in range(MANY // 1000)) + packer.compress(bytes(1024)) + packer.flush()


def unpacked(name: str, content: Callable[[], bytes], folder: Path) -> object:
    (folder / name).write_bytes(content())
    return safe_extract(folder / name, folder / "out")


def archives() -> Iterator[Hostile]:
    row = "Archives"
    for number, name in enumerate(UNSAFE_NAMES):
        tar = partial(lambda name: tar_with([(tarfile.TarInfo(name), b"x")], "w:gz"), name)
        if "\0" not in name:  # a tar's name ends there
            yield Hostile(row, f"tar-name-{number}", partial(unpacked, "a.tar.gz", tar))
        # zipfile cuts a name at a NUL and turns nothing else.
        pack = partial(lambda name: zip_with([(name, b"x")]), name)
        yield Hostile(row, f"zip-name-{number}", partial(unpacked, "a.zip", pack), refused="\0" not in name)
    kinds = {
        "symlink": tarfile.SYMTYPE,
        "hard-link": tarfile.LNKTYPE,
        "fifo": tarfile.FIFOTYPE,
        "device": tarfile.CHRTYPE,
        "block-device": tarfile.BLKTYPE,
    }
    for name, kind in kinds.items():
        yield Hostile(row, f"tar-{name}", partial(unpacked, "a.tar", partial(special, kind)))
    yield Hostile(row, "tar-link-to-root", partial(unpacked, "a.tar", partial(special, tarfile.SYMTYPE, "l", "/")))
    yield Hostile(row, "tar-file-through-link", partial(unpacked, "a.tar", link_then_file))
    for name, mode in {"symlink": stat.S_IFLNK, "device": stat.S_IFCHR, "fifo": stat.S_IFIFO}.items():
        pack = partial(zip_with, [("l", b"../canary")], mode | 0o777)
        yield Hostile(row, f"zip-{name}", partial(unpacked, "a.zip", pack))
    yield Hostile(row, "tar-bomb-10-GB", partial(unpacked, "a.tar.gz", partial(tar_bomb, 10**10)))
    yield Hostile(row, "tar-bomb-negative", partial(unpacked, "a.tar.gz", partial(tar_bomb, -1)))
    yield Hostile(row, "zip-bomb-4-GB-declared", partial(unpacked, "a.zip", partial(zip_bomb, 10**10)))
    yield Hostile(row, "zip-bomb-4.4-GB-real", partial(unpacked, "a.zip", real_zip_bomb))
    yield Hostile(row, "tar-a-million-entries", partial(unpacked, "a.tar.gz", many_entries))
    two = [("a", b"1"), ("a", b"2")]
    yield Hostile(row, "zip-name-twice", partial(unpacked, "a.zip", partial(zip_with, two)))
    twice = [(tarfile.TarInfo(name), content) for name, content in two]
    yield Hostile(row, "tar-name-twice", partial(unpacked, "a.tar", partial(tar_with, twice)))
    inside = [(tarfile.TarInfo("a"), b"1"), (tarfile.TarInfo("a/b"), b"2")]
    yield Hostile(row, "tar-file-as-folder", partial(unpacked, "a.tar", partial(tar_with, inside)))
    yield Hostile(row, "zip-of-noise", partial(unpacked, "a.zip", lambda: b"PK\3\4" + bytes(range(256)) * 9))
    yield Hostile(row, "empty", partial(unpacked, "a.zip", bytes))
    yield Hostile(row, "html", partial(unpacked, "a.zip", lambda: b"<html>sign in</html>"))


# --- images -----------------------------------------------------------------------------------------------------------


def png(width: int, height: int, data: bytes = b"\0", tail: bool = True) -> bytes:
    """A PNG (grey) that declares this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data))
    return start + (chunk(b"IEND", b"") if tail else b"")


def saved(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), "red").save(buffer, kind, **options)
    return buffer.getvalue()


def hostile_images() -> dict[str, bytes]:
    jpeg = saved("JPEG")
    size = jpeg.index(b"\xff\xc0") + 5  # height and width in the frame's head
    return {
        "png-50000x50000": png(50_000, 50_000),
        "png-2147483647x1": png(2**31 - 1, 1),
        "png-0x0": png(0, 0),
        "jpeg-50000x50000": jpeg[:size] + struct.pack(">HH", 50_000, 50_000) + jpeg[size + 4 :],
        "gif-65535x65535": b"GIF89a" + b"\xff\xff\xff\xff" + saved("GIF")[10:],
        "bmp-50000x50000": saved("BMP")[:18] + struct.pack("<ii", 50_000, 50_000) + saved("BMP")[26:],
        "png-truncated": saved("PNG")[:50],
        "jpeg-truncated": jpeg[:200],
        "svg-as-png": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        "postscript-as-png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(canary) (w) file closefile\n",
        "pdf-as-png": b"%PDF-1.4\n",
        "html-as-jpeg": b"<html><script>alert(1)</script></html>",
        "text-bomb-png": png(24, 24, bytes(25 * 24)) + b"\0" * 100,
        "empty": b"",
        "noise": bytes(range(256)) * 4,
    }


def own_folder(content: bytes, folder: Path) -> object:
    for name in ("a", "b"):
        (folder / "data" / name).mkdir(parents=True)
        (folder / "data" / name / "1.png").write_bytes(saved("PNG"))
        (folder / "data" / name / "2.png").write_bytes(content)
    return load_own(folder / "data")


def faces(content: bytes, folder: Path) -> object:
    (folder / "train_images").mkdir()
    name = "F0001_AGE_F_40_b1.jpg"
    (folder / "train_images" / name).write_bytes(content)
    (folder / "custom_train_dataset.csv").write_text(f"family_id,person_id,age_class,image_path\nF0001,F,e,{name}\n")
    return decode(read_part(folder, "train"), 32)


def orl(content: bytes, folder: Path) -> object:
    (folder / "s1").mkdir()
    (folder / "s1" / "1.pgm").write_bytes(content)
    return read_orl(folder)


def images() -> Iterator[Hostile]:
    for name, content in hostile_images().items():
        harmless = name == "text-bomb-png"  # zeros after the end, which no reader looks at
        yield Hostile("Images", f"own-{name}", partial(own_folder, content), not harmless)
        yield Hostile("Images", f"demo-{name}", lambda folder, c=content: read_picture(c), not harmless)
        yield Hostile("Images", f"faces-{name}", partial(faces, content), not harmless)
    for head in (b"P5\n50000 50000\n255\n", b"P5\n92 112\n255\nshort", b"P6\n92 112\n255\n" + bytes(92 * 112 * 3)):
        yield Hostile("Images", f"orl-{len(head)}-bytes", partial(orl, head))


# --- arrays -----------------------------------------------------------------------------------------------------------


def given_arrays(name: str, content: Callable[[Path], bytes], read: Callable[[Path], object], folder: Path) -> object:
    (folder / name).write_bytes(content(folder))
    return read(folder / name)


def npz_of(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy_head(text: str, data: bytes = b"") -> bytes:
    padded = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + data


def pickled(folder: Path) -> bytes:
    head = npy_head("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", payload(folder))
    return zip_with([("images.npy", head), ("labels.npy", head)])


def numbered_npy(head: str) -> bytes:
    return zip_with([("images.npy", npy_head(head, b"x")), ("labels.npy", npy_head(head, b"x"))])


def arrays() -> Iterator[Hostile]:
    row = "Arrays (.npz, idx, binary)"
    bad = {
        "pickle": pickled,
        "raw-pickle": payload,
        "npz-a-terabyte": lambda _: numbered_npy(
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000, 1000), }"
        ),
        "npz-code-in-head": lambda _: numbered_npy("{'descr': __import__('os').system('touch canary'), 'shape': (1,)}"),
        "npz-deep-head": lambda _: numbered_npy("{'descr': " + "(" * 50 + ")" * 50 + "}"),
        "npz-floats": lambda _: npz_of(images=np.ones((4, 8, 8)), labels=np.array([0, 0, 1, 1])),
        "npz-labels-scalar": lambda _: npz_of(images=np.ones((4, 8, 8), np.uint8), labels=np.array(3)),
        "npz-labels-2d": lambda _: npz_of(images=np.ones((4, 8, 8), np.uint8), labels=np.ones((4, 2), int)),
        "npz-labels-huge": lambda _: npz_of(images=np.ones((4, 8, 8), np.uint8), labels=np.array([0, 0, 1, 10**12])),
        "npz-labels-negative": lambda _: npz_of(images=np.ones((4, 8, 8), np.uint8), labels=np.array([0, 0, -1, -1])),
        "npz-labels-nan": lambda _: npz_of(images=np.ones((4, 8, 8), np.uint8), labels=np.array([0, np.nan, 1, 1])),
        "npz-people-short": lambda _: npz_of(
            images=np.ones((4, 8, 8), np.uint8), labels=np.array([0, 0, 1, 1]), people=np.array([1])
        ),
    }
    for name, content in bad.items():
        yield Hostile(row, f"own-{name}", partial(given_arrays, "x.npz", content, load_own))
        if name in ("pickle", "raw-pickle", "npz-a-terabyte", "npz-code-in-head"):
            read = lambda path: read_predictions(path.parent)  # noqa: E731
            yield Hostile(row, f"record-{name}", partial(given_arrays, "predictions.npz", content, read))
    idx = {
        "idx-4-GB": b"\0\0\x08\x03" + struct.pack(">III", 2**31, 2, 1),
        "idx-overflow": b"\0\0\x08\x03" + struct.pack(">III", 2**32 - 1, 2**32 - 1, 2**32 - 1),
        "idx-floats": b"\0\0\x0d\x03" + bytes(12),
        "idx-no-head": b"\0\0\x08\x03\0\0",
        "idx-empty": b"",
    }
    for name, content in idx.items():
        yield Hostile(row, name, partial(given_arrays, "x", lambda _, c=content: c, read_idx))
        yield Hostile(row, f"{name}-gz", partial(given_arrays, "x.gz", lambda _, c=content: gzip.compress(c), read_idx))
    yield Hostile(row, "idx-gz-bomb", partial(given_arrays, "x.gz", lambda _: gz_bomb(), read_idx))


def gz_bomb() -> bytes:
    """300 MB of zeros after the head of an idx file, 300 kB on disk."""
    packer = zlib.compressobj(9, wbits=31)
    head = b"\0\0\x08\x03" + struct.pack(">III", 300, 1000, 1000)
    blocks = b"".join(packer.compress(bytes(10**6)) for _ in range(300))
    return packer.compress(head) + blocks + packer.flush()


# --- weights ----------------------------------------------------------------------------------------------------------


def torch_saved(content: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def torchscript() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), buffer)
    return buffer.getvalue()


def exported() -> bytes:
    buffer = io.BytesIO()
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), buffer)
    return buffer.getvalue()


def safetensors_head(head: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def weights() -> Iterator[Hostile]:
    from tests.faults.hostile import Payload

    row = "Weights"
    whole = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    bad: dict[str, Callable[[Path], bytes]] = {
        **{f"pickle-{protocol}": partial(payload, protocol=protocol) for protocol in range(6)},
        "torch-payload": lambda folder: torch_saved(Payload(folder)),
        "torch-payload-in-state": lambda folder: torch_saved(
            {"state_dict": {"w": torch.ones(2), "x": Payload(folder)}}
        ),
        "torch-payload-legacy": lambda f: torch_saved({"w": Payload(f)}, _use_new_zipfile_serialization=False),
        "torch-whole-model": lambda _: torch_saved(torch.nn.Linear(2, 2)),
        "torchscript": lambda _: torchscript(),
        "torch-export": lambda _: exported(),
        "torch-not-tensors": lambda _: torch_saved({"w": "text", "n": 3}),
        "torch-list": lambda _: torch_saved([torch.ones(2)]),
        "torch-nothing": lambda _: torch_saved({}),
        "torch-truncated": lambda _: torch_saved({"w": torch.ones(100)})[:300],
        "torch-nan": lambda _: torch_saved({"w": torch.tensor([1.0, float("nan")])}),
        "numpy-object": lambda f: npy_head("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", payload(f)),
        "zip-of-a-pickle": lambda folder: zip_with([("archive/data.pkl", payload(folder)), ("archive/version", b"3")]),
        "safetensors-head-of-1-EB": lambda _: safetensors_head(whole, length=2**60),
        "safetensors-offsets-beyond": lambda _: safetensors_head({"w": whole["w"] | {"data_offsets": [0, 2**40]}}),
        "safetensors-shape-overflow": lambda _: safetensors_head(
            {"w": whole["w"] | {"shape": [2**62, 2**62]}}, b"1234"
        ),
        "safetensors-deep-head": lambda _: safetensors_head(b'{"a":' * 20_000),
        "safetensors-nan": lambda _: safetensors_head(whole, np.float32("nan").tobytes()),
        "empty": lambda _: b"",
        "text": lambda _: b"hello {",
    }
    put = lambda path: put_weights(torch.nn.ParameterDict({"w": torch.zeros(2)}), path, "a net")  # noqa: E731
    for name, content in bad.items():
        yield Hostile(row, name, partial(given_arrays, "w.pt", content, put))
    for name in ("pickle-2", "torch-payload", "safetensors-head-of-1-EB", "safetensors-deep-head"):
        read = lambda path: read_state(path.parent)  # noqa: E731
        yield Hostile(row, f"record-{name}", partial(given_arrays, "model.safetensors", bad[name], read))
