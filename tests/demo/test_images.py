"""Pictures that people bring to the demo: all kinds are read, bad ones are refused in words, faces are found."""

import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from forget_lib.core.errors import ForgetError
from forget_lib.demo.images import Box, crop_face, data_url, find_faces, read_picture, to_tensor


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_picture_is_turned_as_its_camera_says():
    image = Image.new("RGB", (60, 40), "white")
    image.paste("red", (0, 0, 20, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    found = read_picture(encoded(image, "JPEG", exif=exif, quality=95))
    assert found.size == (40, 60)
    red, green, _ = found.getpixel((20, 5))
    assert red > 200 > 100 > green


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_become_white(mode):
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0)).convert(mode)
    options = {"transparency": image.getpixel((0, 0))} if mode == "P" else {}
    assert read_picture(encoded(image, **options)).getpixel((20, 20)) == (255, 255, 255)


def test_grey_and_sixteen_bit_pictures_are_read():
    grey = read_picture(encoded(Image.new("L", (30, 30), 128)))
    deep = read_picture(encoded(Image.fromarray(np.full((30, 30), 32896, dtype=np.uint16))))
    assert grey.getpixel((5, 5)) == deep.getpixel((5, 5)) == (128, 128, 128)


def test_forty_megapixels_are_read_and_made_small():
    content = encoded(Image.new("RGB", (8000, 5000), "green"), "JPEG")
    assert max(read_picture(content).size) == 1600


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes whose header promises side × side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 60_000, 2**31 - 1])
def test_a_small_file_that_would_unpack_into_gigabytes_is_refused_at_once(side):
    begun = time.perf_counter()
    with pytest.raises(ForgetError, match=r"megapixels|damaged"):
        read_picture(bomb(side))
    assert time.perf_counter() - begun < 1


BAD = {
    "empty": b"",
    "text": b"This is no picture at all.",
    "cut off": encoded(Image.effect_noise((400, 400), 80).convert("RGB"), "JPEG")[:2000],
    "cut off png": encoded(Image.effect_noise((400, 400), 80))[:2000],
    "gif": encoded(Image.new("P", (40, 40)), "GIF"),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "tiny": encoded(Image.new("RGB", (3, 3))),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_words(name):
    with pytest.raises(ForgetError) as caught:
        read_picture(BAD[name])
    assert str(caught.value).endswith((".", "needed.")), "a whole sentence"


def test_a_picture_becomes_what_a_model_reads():
    picture = Image.new("RGB", (300, 200), (10, 20, 30))
    assert to_tensor(picture, (1, 28, 28)).shape == (1, 28, 28)
    found = to_tensor(picture, (3, 32, 32))
    assert found.shape == (3, 32, 32)
    assert found[:, 5, 5].tolist() == [10, 20, 30]
    assert data_url(found).startswith("data:image/png;base64,")


def test_no_face_is_found_where_there_is_none():
    assert find_faces(Image.new("RGB", (300, 300), "grey")) == []


def test_faces_are_found_one_and_several():
    files = sorted((Path(__file__).parents[2] / "data" / "samples" / "faces").rglob("*.jpg"))[:8]
    if not files:
        pytest.skip("no sample of faces")
    each = [Image.open(file).convert("RGB").resize((240, 240)) for file in files]
    assert sum(len(find_faces(face)) >= 1 for face in each) >= len(each) // 2
    seen = [face for face in each if find_faces(face)]
    pair = Image.new("RGB", (560, 280), "grey")
    pair.paste(seen[0], (20, 20))
    pair.paste(seen[1], (300, 20))
    assert len(find_faces(pair)) >= 2


def test_a_crop_stays_inside_the_picture_and_is_square():
    picture = Image.new("RGB", (200, 120))
    for box in (Box(0, 0, 50), Box(150, 70, 50), Box(40, 0, 120)):
        width, height = crop_face(picture, box).size
        assert width == height <= 120
