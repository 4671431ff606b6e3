"""A clip as a job: checked when it comes, and edited like `edit.py CLIP` when it is its turn."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffcam_jax.command.progress import Listener
from diffcam_jax.editing.config import METHODS
from diffcam_jax.editor.editor import Editor
from diffcam_jax.errors import UserError, no_room
from diffcam_jax.files.trees import write_atomically
from diffcam_jax.service.limits import Limits
from diffcam_jax.service.settings import Settings
from diffcam_jax.service.store import Job
from diffcam_jax.video.clip import Clip
from diffcam_jax.video.clip_edit import ClipRequest, edit_clip
from diffcam_jax.video.curves import Curve
from diffcam_jax.video.opening import VIDEOS, is_clip, open_clip
from diffcam_jax.video.writing import result_name

# What says something about one photograph.
_FILES = ("mask", "edited")
_SETTINGS = ("mask_mode", "stages", "strip")


def is_one(path: Path, name: str) -> bool:
    """Whether a file that was sent is a clip, by its content or by its sender's name for it."""
    return is_clip(path) or Path(name).suffix.lower() in VIDEOS


def check(folder: Path, name: str, given: Any, settings: Settings, editor: Editor) -> None:
    """Whether a clip can be edited as it is asked for.

    Args:
        folder: of the job, with what was sent.
        name: of the clip, for people.
        given: settings as they were sent.
        settings: the same, checked.
        editor: that will edit it.

    Raises:
        UserError: something has no meaning for clips, or the networks cannot edit any.
    """
    useless = [part for part in _FILES if (folder / part).exists()]
    useless += [setting for setting in _SETTINGS if setting in given]
    if useless:
        raise UserError(
            f"{name} is a clip, for which {', '.join(useless)} has no meaning; leave it out"
        )
    if editor.networks.encoder is None or editor.config.window is None:
        raise UserError(
            f"{name} is a clip, and this server's networks edit photographs only; send a picture, "
            "or ask for first_frame of an animation"
        )
    if settings.method == "invertibility":
        raise UserError(f"{name} is a clip; choose its method from {', '.join((*METHODS, 'both'))}")


def length(folder: Path, name: str, limits: Limits) -> int:
    """The number of frames of a clip that was sent, or the most that it may have if none is known.

    Args:
        folder: of the job.
        name: of the clip, for people.
        limits: of the server.

    Raises:
        UserError: it is damaged, or larger than the limits.
    """
    with _as_sent(folder, name):
        clip = _opened(folder)
    if clip.width * clip.height > limits.pixels:
        raise UserError(
            f"{name}: frames of {clip.width}x{clip.height} pixels are too large; the limit is "
            f"{limits.pixels / 1e6:g} million; scale the clip down"
        )
    frames = clip.frames or limits.clip_frames
    _check_length(name, frames, limits)
    return frames


def do(
    editor: Editor, job: Job, settings: Settings, folder: Path, limits: Limits, progress: Listener
) -> None:
    """Edits the clip of a job; what an interrupted edit left in the job's folder is taken up.

    Args:
        editor: that edits.
        job: whose photograph is a clip.
        settings: of the job.
        folder: of the job.
        limits: of the server.
        progress: is told of every frame.

    Raises:
        UserError: the clip or a setting is at fault.
        OSError: there is no room on the disk.
    """

    def listen(stage: str, done: int = 0, steps: int = 1) -> None:
        if stage == "find faces":  # what a file says of its length need not be true
            _check_length(job.name, done + 1, limits)
        progress(stage, done, steps)

    request = ClipRequest(
        {name: Curve((0.0,), (strength,)) for name, strength in settings.attributes.items()},
        dataclasses.replace(editor.config, method=settings.method),
        settings.face,
        settings.aligned,
        editor.domain.tune if settings.tune is None else settings.tune,
        settings.raw_strength,
    )
    with _as_sent(folder, job.name):
        clip = _opened(folder)
        result = folder / f"result{result_name(clip, request.lossless)}"
        found = edit_clip(editor, clip, request, result, folder / "work", listen)
    told = {k: v for k, v in dataclasses.asdict(settings).items() if k not in _SETTINGS}
    report = {"photo": job.name, "settings": told, **found}
    write_atomically(folder / "report.json", (json.dumps(report, indent=1) + "\n").encode())


def _opened(folder: Path) -> Clip:
    return open_clip(folder / "photo")


def _check_length(name: str, frames: int, limits: Limits) -> None:
    if frames > limits.clip_frames:
        raise UserError(
            f"{name}: the clip has more than {limits.clip_frames} frames, the limit of this "
            "server; send a part of it, or edit the whole of it with edit.py"
        )


@contextlib.contextmanager
def _as_sent(folder: Path, name: str) -> Iterator[None]:
    """Lets messages name the clip as its sender does, and tells a full disk from a bad clip."""
    try:
        yield
    except UserError as error:
        cause = error.__cause__
        while isinstance(cause, UserError):
            cause = cause.__cause__
        if no_room(cause):
            raise cause from None  # to choose another folder is no advice for a client
        line = str(error).replace(f"{folder}/photo", name).replace("-i photo ", f"-i {name} ")
        raise UserError(line.replace(f"{folder}/", "")) from error
