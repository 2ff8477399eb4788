"""A camera in the browser: one picture at a time, as JPEG bytes, by a message that no widget state keeps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget

SCRIPT = Path(__file__).resolve().parent.parent / "templates" / "demo" / "camera.js"
WAITING = "The camera is on. Nothing leaves this page before you press Take the picture."


class Camera(anywidget.AnyWidget):
    """A button that turns the camera on, what it sees, and a button that takes the picture."""

    _esm = SCRIPT.read_text(encoding="utf-8")

    def __init__(self, taken: Callable[[bytes], None], said: Callable[[str, bool], None]) -> None:
        """Args: taken: called with the bytes of a JPEG. said: called with a sentence, and whether it is a problem."""
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
