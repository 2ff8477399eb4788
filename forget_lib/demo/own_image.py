"""Your own picture: uploaded or taken, checked, its face found where the models know faces; in memory only."""

import ipywidgets
from PIL import Image

from forget_lib.demo import markup
from forget_lib.demo.faces import Box, crop_face, find_faces, with_frames
from forget_lib.demo.images import read_picture, to_tensor
from forget_lib.demo.library import Bench
from forget_lib.demo.panel import PREFERRED, Panel, bars_of, dropdown, guarded, set_options, wrapping
from forget_lib.demo.picture_input import PictureInput

PRIVACY = (
    "Your picture is processed in the memory of this computer only: it is not saved, not logged and not sent anywhere, "
    "and is gone when you choose another or close the page."
)


class OwnImage(Panel):
    """Upload a JPEG or PNG, or take a picture; `picture` is what was read, `faces` where its faces are."""

    def __init__(self) -> None:
        super().__init__()
        self.picture: Image.Image | None = None
        self.faces: list[Box] = []
        self.method = dropdown("Unlearned by")
        self.input = PictureInput(self.read, lambda text, problem: self.say(text, error=problem))
        self.face = dropdown("Face")
        self.face.layout.display = "none"
        self.seen = ipywidgets.HTML()
        self.result = ipywidgets.HTML()
        self.method.observe(lambda _change: self.show_result(), "value")
        self.face.observe(lambda _change: self.show_result(), "value")
        self.widget.children = [
            ipywidgets.HTML(markup.note(PRIVACY)),
            wrapping(self.input, self.method, self.face),
            self.status,
            self.seen,
            self.result,
        ]

    @guarded
    def show(self, bench: Bench) -> None:
        super().show(bench)
        set_options(self.method, bench.unlearned, PREFERRED)
        if self.picture is not None:
            self.take(self.picture)

    def refresh(self) -> None:
        """Lists the models there are, after one was added."""
        set_options(self.method, self.bench.unlearned, PREFERRED)

    @guarded
    def read(self, content: bytes) -> None:
        """Reads the bytes of an upload; what is wrong with them is said in the status line."""
        self.picture, self.faces = None, []
        self.seen.value = self.result.value = ""
        self.face.layout.display = "none"
        self.take(read_picture(content))

    def take(self, picture: Image.Image) -> None:
        """Shows what the models say of a picture."""
        self.picture = picture
        self.faces = find_faces(picture) if self.bench.shows_faces else []
        options = [(f"face {number}", number - 1) for number in range(1, len(self.faces) + 1)]
        set_options(self.face, options)
        self.face.layout.display = "" if len(self.faces) > 1 else "none"
        self.say(self._words())
        self.show_result()

    def _words(self) -> str:
        size = f"{self.picture.width}×{self.picture.height} pixels read"
        if not self.bench.shows_faces:
            return f"{size}; the models of {self.bench.data.title} see the middle square of it."
        if not self.faces:
            return f"{size}; no face was found, so nothing is asked of the models. Try a frontal, well-lit face."
        if len(self.faces) == 1:
            return f"{size}; one face was found."
        return f"{size}; {len(self.faces)} faces were found, the largest is used. Choose another under Face."

    @guarded
    def show_result(self) -> None:
        """Bars for the picture, or for its chosen face."""
        if self.picture is None or self.method.value is None:
            return
        shown, part = self.picture, self.picture
        if self.bench.shows_faces:
            if not self.faces:
                self.seen.value = markup.picture(self.picture, "Your picture; no face was found", 320)
                self.result.value = ""
                return
            chosen = int(self.face.value or 0)
            shown, part = (
                with_frames(self.picture, self.faces, chosen),
                crop_face(self.picture, self.faces[chosen]),
            )
        image = to_tensor(part, tuple(self.bench.data.images.shape[1:]))
        pieces = [
            markup.picture(shown, "Your picture" + (", faces framed" if self.faces else ""), 320, "Your picture"),
            markup.picture(image, "What the models see of it", 120, "What the models see"),
        ]
        self.seen.value = markup.row(pieces)
        self.result.value = bars_of(self.bench, self.method.value, image)
