"""What is sent becomes a job, or leaves nothing behind.

with Intake(context) as intake:
    intake.path("photo").write_bytes(content)
    job = intake.finish("me.jpg", {"attributes": {"smiling": 1}})
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffcam_jax.editing.config import METHODS, check_method
from diffcam_jax.errors import UserError
from diffcam_jax.faces.decoding import open_header
from diffcam_jax.service import clips
from diffcam_jax.service.context import Context
from diffcam_jax.service.settings import parse
from diffcam_jax.service.store import PARTS, Job

_NAME = 100  # characters of a name that are kept
_ONE_AT_A_TIME = threading.Lock()  # many large files at once would fill the memory


class Intake:
    """The folder of a job that is being sent; without `finish` it is removed at the end.

    Args:
        context: of the server.

    Raises:
        Full: as many jobs wait as may.
        OSError: there is no room on the disk.
    """

    def __init__(self, context: Context) -> None:
        self._context, self._finished = context, False
        context.queue.check_room()
        self._id, self._folder = context.store.new_folder()

    def __enter__(self) -> "Intake":
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._finished:
            self._context.store.remove(self._id)

    def path(self, part: str) -> Path:
        """Where a file is to be written.

        Args:
            part: of `store.PARTS`.
        """
        return self._folder / PARTS[PARTS.index(part)]

    def finish(self, name: str, given: Any) -> Job:
        """Checks what was sent, and lets it wait for a worker.

        Args:
            name: of the photograph's or the clip's file as its sender has it; it is only ever
                shown, and tells by its suffix that a file is to be a clip.
            given: settings, see `settings.parse`.

        Raises:
            UserError: a setting is wrong, or a file is nothing that can be edited.
            Full: as many jobs wait as may.
            OSError: there is no room on the disk.
        """
        context, name = self._context, shown_name(name)
        editor, edited = context.editor, self.path("edited").exists()
        settings = parse(given, context.directions, edited)
        check_method(settings.method, editor.networks.aligner is not None)
        if edited and (editor.config.window is None or settings.method not in METHODS):
            raise UserError(
                "an edit made elsewhere is taken in with the networks that ship and the method "
                f"{', '.join(METHODS)} only; leave out the method, or the file edited"
            )
        if not self.path("photo").exists():
            raise UserError("no photograph was sent; send it as the file photo")
        frames = 0
        if not settings.first_frame and clips.is_one(self.path("photo"), name):
            clips.check(self._folder, name, given, settings, editor)
            with _ONE_AT_A_TIME:
                frames = clips.length(self._folder, name, context.limits)
        for part, label in _labels(name).items() if not frames else ():
            if self.path(part).exists():
                pixels, first = context.limits.pixels, settings.first_frame
                _check_picture(self.path(part), label, pixels, first)
        job = context.store.add(self._id, name, given, frames)
        context.queue.submit(job)
        self._finished = True
        return job


def shown_name(name: str) -> str:
    """The last part of a name from outside, without what a terminal or a page would obey."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in last if c.isprintable()).strip()[:_NAME] or "photograph"


def _labels(name: str) -> Mapping[str, str]:
    """What messages call the files."""
    return {"photo": name, "mask": "the mask", "edited": "the edited picture"}


def _check_picture(path: Path, label: str, most_pixels: int, first_frame: bool) -> None:
    with _ONE_AT_A_TIME:
        content = path.read_bytes()
        if not content:
            raise UserError(f"{label}: the file is empty (0 bytes); get a fresh copy of it")
        open_header(Path(label), content, most_pixels, first_frame).close()
