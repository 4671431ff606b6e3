"""The result of a clip, written in parts that survive a kill.

Finished parts lie in a folder until all are there. A part appears under its name once it is
complete, so whoever comes next goes on behind the last one. Parts of another clip or of other
settings are removed.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from diffcam_jax.errors import UserError, no_room
from diffcam_jax.files import drafts
from diffcam_jax.files.json_text import decode
from diffcam_jax.files.trees import write_atomically
from diffcam_jax.video import animation_writing, frame_folders, video_parts
from diffcam_jax.video.clip import Clip, Frame

PART = 48  # frames of a part of a video
_FACTS = "clip.json"  # what the parts in a folder are of


def result_name(clip: Clip, lossless: bool) -> str:
    """The suffix of the result; "" for a folder."""
    if clip.video is not None:
        return video_parts.suffix(clip, lossless)
    if clip.animation is not None:
        return animation_writing.suffix(clip)
    return ""


def notes(clip: Clip, lossless: bool) -> tuple[str, ...]:
    """What people should know about how the result is written, a line each."""
    return video_parts.notes(clip, lossless) if clip.video is not None else ()


class ClipWriter:
    """Writes the frames of a clip, in their order.

    Args:
        clip: that is edited.
        out: file or folder of the result, see `result_name`.
        work: folder of its own for unfinished parts; made if it is missing.
        lossless: whether a video keeps every sample that is not touched.
        settings: whatever else decides the edited pixels; other parts are not taken over.
        part: frames of a part of a video.

    Attributes:
        done: number of frames that are finished; `write` goes on with that one.

    Raises:
        UserError: the name does not fit, or the folder cannot be written.
    """

    def __init__(
        self,
        clip: Clip,
        out: Path,
        work: Path,
        lossless: bool = False,
        settings: str = "",
        part: int = PART,
    ) -> None:
        self._clip, self._out, self._work = clip, Path(out), Path(work)
        wanted = result_name(clip, lossless)
        if wanted and self._out.suffix.lower() != wanted:
            raise UserError(f"{out}: the result is written as {wanted}; give a name that ends so")
        facts = {"clip": clip.fingerprint, "settings": settings, "kind": clip.kind}
        with _room(self._work):
            if clip.video is not None:
                facts |= video_parts.fingerprint(lossless, part)
            _prepare(self._work, facts)
            self._parts: video_parts.VideoParts | animation_writing.AnimationParts | _Folder
            if clip.video is not None:
                self._parts = video_parts.VideoParts(clip, self._work, lossless, part)
            elif clip.animation is not None:
                self._parts = animation_writing.AnimationParts(clip, self._work)
            else:
                self._parts = _Folder(clip, self._work)
        self.done = self._next = self._parts.done

    def write(self, frame: Frame, pixels: np.ndarray, touched: Bool[np.ndarray, "h w"]) -> None:
        """Writes a frame.

        Args:
            frame: the next one of the clip.
            pixels: [h, w, 3] as `frame.pixels`, edited.
            touched: outside of it the clip's own samples are kept, whatever `pixels` says; a
                damaged frame is kept as a whole.

        Raises:
            UserError: nothing more can be written; finished parts stay.
            ValueError: it is not the turn of this frame.
        """
        if frame.number != self._next:
            raise ValueError(f"frame {frame.number} is written in the place of {self._next}")
        if frame.damaged:
            touched = np.zeros_like(touched)
        with _room(self._work):
            self._parts.write(frame, pixels, touched)
        self._next += 1

    def finish(self) -> Path:
        """Completes the result, which takes its name as the last step, and removes the parts.

        Raises:
            UserError: there is no frame, or nothing more can be written; finished parts stay.
        """
        if not self._next:
            raise UserError(f"{self._clip.path}: holds no frame that can be decoded")
        with _room(self._out):
            self._parts.complete()
            self._out.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(self._parts, _Folder):
                self._parts.move(self._out)
            else:
                draft, file = drafts.create(self._out)
                try:
                    with file:  # open, so that the draft is locked
                        self._parts.join(draft)
                        draft.replace(self._out)
                except BaseException:
                    with contextlib.suppress(OSError):
                        draft.unlink(missing_ok=True)
                    raise
        _remove(self._work)
        return self._out


class _Folder:
    """Finished frames of a folder, under their final names."""

    def __init__(self, clip: Clip, work: Path) -> None:
        self._clip, self._made = clip, work / "frames"
        self._made.mkdir(exist_ok=True)
        names = [frame_folders.result_name(file) for file in clip.files]
        self.done = next(
            (i for i, name in enumerate(names) if not (self._made / name).exists()), len(names)
        )

    def write(self, frame: Frame, pixels: np.ndarray, touched: np.ndarray) -> None:
        frame_folders.write(
            self._clip.files[frame.number], frame.native, pixels, touched, self._made
        )

    def complete(self) -> None:
        """Every frame is a part."""

    def move(self, out: Path) -> None:
        frame_folders.move(self._made, out)


@contextlib.contextmanager
def _room(path: Path) -> Iterator[None]:
    """Says in one line that the system writes no more; what is finished stays."""
    try:
        yield
    except UserError as error:
        if not no_room(error.__cause__):
            raise
        raise _full(path) from error
    except OSError as error:
        if no_room(error):
            raise _full(path) from error
        why = error.strerror or str(error)
        raise UserError(f"{path}: cannot be written ({why}); choose another folder") from error


def _full(path: Path) -> UserError:
    return UserError(
        f"{path}: the disk is full or not to be written; make room, then run the same command "
        "again: finished frames are kept"
    )


def _prepare(work: Path, facts: dict[str, object]) -> None:
    path = work / _FACTS
    others = work.iterdir() if work.is_dir() and not path.exists() else ()
    if any(not other.name.startswith(".") for other in others):
        raise UserError(f"{work}: holds other files; give a folder for unfinished parts alone")
    try:
        same = decode(path.read_text()) == facts
    except (OSError, ValueError, RecursionError):
        same = False
    if not same:
        _remove(work)
        work.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(facts).encode())


def _remove(work: Path) -> None:
    """Removes a folder of parts; last what marks it as one, so that a kill leaves it marked."""
    for path in work.iterdir() if work.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != _FACTS:
            path.unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)
