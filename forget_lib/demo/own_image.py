"""Your own picture: uploaded or taken, checked, its face found where the models know faces; in memory only."""

from collections.abc import Callable
from typing import Any

import anywidget
import ipywidgets
import traitlets
from PIL import Image
from torch import Tensor

from forget_lib.demo import parts
from forget_lib.demo.digit import as_ink, as_mnist
from forget_lib.demo.images import MOST_BYTES, Box, crop_face, find_faces, read_picture, to_tensor, with_frames
from forget_lib.demo.parts import html
from forget_lib.demo.studies import DIGITS, Bench

UNLIKE = "Take care: it is unlike the pictures that the models were trained on; what they say of it means little."
WAITING = "The camera is on. Nothing leaves this page before you press Take the picture."


class PictureInput(anywidget.AnyWidget):
    """Buttons for a file and for the camera; what is chosen or taken comes as bytes that no widget state keeps.

    A file of more than `most_bytes` is refused in the browser: the server would close the line on it.
    """

    _esm = (parts.ASSETS / "picture_input.js").read_text(encoding="utf-8")
    most_bytes = traitlets.Int(MOST_BYTES).tag(sync=True)

    def __init__(self, taken: Callable[[bytes], None], said: Callable[[str, bool], None]) -> None:
        """Args: taken: called with the bytes of a picture. said: with a sentence, and whether it is a problem."""
        super().__init__()
        self._taken, self._said = taken, said
        self.on_msg(self._answer)

    def _answer(self, _widget: Any, content: dict[str, Any], buffers: list[memoryview]) -> None:
        if "problem" in content:
            self._said(str(content["problem"]), True)
        elif content.get("ready"):
            self._said(WAITING, False)
        elif buffers:
            self._taken(bytes(buffers[0]))


class OwnImage(parts.ImagePanel):
    """Upload a JPEG or PNG, or take a picture; `picture` is what was read, `image` what the models see of it."""

    def __init__(self) -> None:
        super().__init__()
        self.picture: Image.Image | None = None
        self.image: Tensor | None = None
        self.about = ""
        self.faces: list[Box] = []
        self.input = PictureInput(self.read, lambda text, problem: self.say(text, error=problem))
        self.face = parts.dropdown("Face")
        self.face.layout.display = "none"
        self.seen = ipywidgets.HTML()
        parts.follow(self.show_result, self.method, self.face)
        controls = parts.wrapping(self.input, self.method, self.face)
        self.widget.children = [ipywidgets.HTML(html.privacy()), controls, self.status, self.seen, self.result]

    @parts.guarded
    def show(self, bench: Bench) -> None:
        super().show(bench)
        if self.picture is not None:
            self.take(self.picture)

    @parts.guarded
    def read(self, content: bytes) -> None:
        """Reads the bytes of an upload; what is wrong with them is said in the status line."""
        self.picture, self.image, self.faces = None, None, []
        self.seen.value = self.result.value = ""
        self.face.layout.display = "none"
        self.take(read_picture(content))

    @property
    def reads_digits(self) -> bool:
        return self.bench.entry.dataset == DIGITS and not self.bench.shows_faces

    def take(self, picture: Image.Image) -> None:
        self.picture = picture
        self.faces = find_faces(picture) if self.bench.shows_faces else []
        parts.set_options(self.face, [(f"face {number}", number - 1) for number in range(1, len(self.faces) + 1)])
        self.face.layout.display = "" if len(self.faces) > 1 else "none"
        if self.bench.shows_faces:
            words = html.faces_found(len(self.faces))
        elif self.reads_digits:
            words = "the digit was cut out, made white on black and centred, as MNIST's are."
        else:
            words = f"the models of {self.bench.data.title} see the middle square of it."
        self.about = f"{picture.width}×{picture.height} pixels read; {words}"
        self.say(self.about)
        self.show_result()

    @parts.guarded
    def show_result(self) -> None:
        shown = part = self.picture
        if shown is None or part is None or self.method.value is None:
            return
        if self.bench.shows_faces and not self.faces:
            self.seen.value, self.result.value = html.picture(shown, "Your picture; no face was found", 320), ""
            return
        if self.faces:
            chosen = int(self.face.value or 0)
            shown, part = with_frames(shown, self.faces, chosen), crop_face(shown, self.faces[chosen])
        if self.reads_digits:
            self.image = as_mnist(as_ink(part))
        else:
            self.image = to_tensor(part, tuple(self.bench.data.images.shape[1:]))
        alt = "Your picture, faces framed" if self.faces else "Your picture"
        seen = html.picture(self.image, "What the models see of it", 120, "What the models see")
        self.seen.value = html.row([html.picture(shown, alt, 320, "Your picture"), seen])
        self.result.value = self.bars(self.image)
        self.say(f"{self.about} {UNLIKE}" if self.bench.likeness.unlike(self.image) else self.about)
