"""One job from the photograph or clip that was sent to the files and the report of its result."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from diffcam_jax.command.progress import Listener, tell
from diffcam_jax.editor.editor import Editor
from diffcam_jax.editor.results import EditResult
from diffcam_jax.editor.stages import write_stages
from diffcam_jax.errors import UserError
from diffcam_jax.faces import align
from diffcam_jax.faces.panel import grey
from diffcam_jax.faces.photo import (
    Photo,
    as_mask,
    decode_photo,
    to_8_bits,
    without_metadata,
    write_photo,
)
from diffcam_jax.files.trees import write_atomically
from diffcam_jax.service import clips
from diffcam_jax.service.limits import Limits
from diffcam_jax.service.settings import Settings, parse
from diffcam_jax.service.store import Job, JobStore


def on_devices(editor: Editor) -> list[tuple[jax.Device, Editor]]:
    """The same editor for every device of this process; the one given serves the first."""
    first, *others = jax.local_devices()
    copies = (
        Editor(
            jax.device_put(editor.networks, device),
            editor.directions,
            editor.config,
            domain=editor.domain,
        )
        for device in others
    )
    return [(first, editor), *zip(others, copies, strict=True)]


def worker(
    editor: Editor, device: jax.Device, store: JobStore, limits: Limits
) -> Callable[[Job, Listener], None]:
    """What does jobs on one device.

    Args:
        editor: whose networks are on that device.
        device: that computes.
        store: of the jobs.
        limits: of photographs and clips.
    """

    def work(job: Job, progress: Listener) -> None:
        with jax.default_device(device):
            do(editor, job, store.folder(job), limits, progress)

    return work


def do(editor: Editor, job: Job, folder: Path, limits: Limits, progress: Listener) -> None:
    """Edits the photograph or clip of a job, and writes what comes of it into the job's folder.

    Args:
        editor: that edits.
        job: what is asked for.
        folder: of the job, with its inputs.
        limits: see `worker`.
        progress: is told of every stage.

    Raises:
        UserError: the photograph, the clip, the mask, the picture that was edited elsewhere, or a
            setting is at fault.
        OSError: there is no room on the disk.
    """
    elsewhere = "edited" in job.inputs
    settings = parse(job.settings, editor.directions, elsewhere)
    if job.frames:
        clips.do(editor, job, settings, folder, limits, progress)
        return
    choice = limits.pixels, settings.first_frame
    photo = _read(folder / "photo", job.name, *choice)
    photo = without_metadata(photo) if settings.strip else photo
    mask = None
    if "mask" in job.inputs:
        mask = as_mask(_read(folder / "mask", "the mask", *choice).pixels)
    choices: dict[str, Any] = {
        "face": settings.face,
        "aligned": settings.aligned,
        "user_mask": mask,
        "config": dataclasses.replace(
            editor.config, method=settings.method, user_mask=settings.mask_mode
        ),
    }
    if elsewhere:
        edited = _read(folder / "edited", "the edited picture", *choice).pixels
        tell(progress, "blend")
        result = editor.blend(photo.pixels, edited, tuple(settings.attributes), **choices)
    else:
        result = editor.edit(
            photo.pixels,
            settings.attributes,
            tune=settings.tune if editor.config.window is not None else 0,
            raw_strength=settings.raw_strength,
            progress=progress,
            **choices,
        )
    tell(progress, "write")
    try:
        _write(folder, job, settings, photo, result)
    except UserError as error:
        if isinstance(cause := error.__cause__, OSError):
            raise cause from None  # to choose another folder is no advice for a client
        raise


def _read(path: Path, name: str, most_pixels: int, first_frame: bool) -> Photo:
    """A picture that was sent; messages name it as its sender does."""
    return decode_photo(path.read_bytes(), Path(name), most_pixels, first_frame)


def _mask(photo: Photo, result: EditResult) -> np.ndarray:
    """How far each pixel of the photograph takes the edit, over all faces [h, w]."""
    height, width = photo.pixels.shape[:2]
    places = [align.photo_mask(f.paste_mask, f.quad, height, width) for f in result.faces]
    return np.max(places, axis=0)


def _write(folder: Path, job: Job, settings: Settings, photo: Photo, result: EditResult) -> None:
    if settings.stages:
        write_stages(folder / "stages", photo, result)
    shown = dataclasses.replace(without_metadata(photo), pixels=to_8_bits(photo.pixels), alpha=None)
    write_photo(folder / "before.png", shown)
    write_photo(folder / "mask.png", grey(_mask(photo, result)))
    write_photo(folder / "result.png", dataclasses.replace(photo, pixels=result.image))
    report = {"photo": job.name, "settings": dataclasses.asdict(settings), **result.report}
    write_atomically(folder / "report.json", (json.dumps(report, indent=1) + "\n").encode())
