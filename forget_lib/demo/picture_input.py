"""A picture from the browser, out of a file or the camera, as bytes in a message that no widget state keeps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from forget_lib.demo.images import MOST_BYTES

SCRIPT = Path(__file__).resolve().parent / "assets" / "picture_input.js"
WAITING = "The camera is on. Nothing leaves this page before you press Take the picture."


class PictureInput(anywidget.AnyWidget):
    """A button that chooses a file, one that turns the camera on, what it sees, and one that takes the picture.

    A file of more than `most_bytes` is refused in the browser: the server would close the line on it.
    """

    _esm = SCRIPT.read_text(encoding="utf-8")
    most_bytes = traitlets.Int(MOST_BYTES).tag(sync=True)

    def __init__(self, taken: Callable[[bytes], None], said: Callable[[str, bool], None]) -> None:
        """Args: taken: called with the bytes of a file. said: called with a sentence, and whether it is a problem."""
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
