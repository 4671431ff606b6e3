"""Finished parts of a video: encoded frames, and the times at which they are shown."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_jax.files.json_text import decode
from diffcam_jax.files.trees import write_atomically
from diffcam_jax.video import encoding, ffmpeg, joining
from diffcam_jax.video.clip import Clip, Frame, Samples
from diffcam_jax.video.planes import Planes, replaced


def suffix(clip: Clip, lossless: bool) -> str:
    """Of the result."""
    assert clip.video is not None
    return joining.suffix(clip.video, lossless)


def notes(clip: Clip, lossless: bool) -> tuple[str, ...]:
    """What people should know about the encoding and the file, a line each."""
    assert clip.video is not None
    return (
        *encoding.notes(clip.video, lossless, clip.width, clip.height),
        *joining.notes(clip.video, lossless),
    )


def fingerprint(lossless: bool, part: int) -> dict[str, Any]:
    """What decides the bytes of parts besides their frames."""
    return {**encoding.fingerprint(lossless), "part": part}


class VideoParts:
    """Encodes frames in parts.

    Args:
        clip: a video.
        work: folder of the parts, which are those of this clip and these settings.
        lossless: see `encoding`.
        length: frames of a part.
    """

    def __init__(self, clip: Clip, work: Path, lossless: bool, length: int) -> None:
        assert clip.video is not None
        self._clip, self._facts, self._work = clip, clip.video, work
        self._lossless, self._length = lossless, length
        self._finished = _found(work, length)
        self._draft, self._encoder = work / "unfinished.tmp", None
        self._times: list[int] = []
        self._durations: list[int] = []
        self.done = sum(len(part.times) for part in self._finished)

    def write(self, frame: Frame, pixels: np.ndarray, touched: np.ndarray) -> None:
        """Encodes a frame; the last one of a part completes it."""
        native: Samples = frame.native
        planes = replaced(
            native.planes, frame.pixels, pixels, touched, self._facts.layout, self._facts.colours
        )
        planes = encoding.prepared(planes, self._facts, self._lossless)
        try:
            with ffmpeg.written(self._draft):
                self._encode(planes)
            self._times.append(native.pts)
            self._durations.append(native.duration)
            if len(self._times) == self._length:
                self.complete()
        except BaseException:
            self._abandon()
            raise

    def _encode(self, planes: Planes) -> None:
        if self._encoder is None:
            height, width = planes[0].shape
            self._encoder = encoding.Encoder(
                self._draft, self._facts, self._lossless, width, height
            )
        self._encoder.write(planes)

    def complete(self) -> None:
        """Completes a part of however many frames."""
        encoder, self._encoder = self._encoder, None
        if encoder is None:
            return
        with ffmpeg.written(self._draft):
            encoder.close()
        path = _path(self._work, len(self._finished))
        facts = {"times": self._times, "durations": self._durations}
        write_atomically(path.with_suffix(".json"), json.dumps(facts).encode())
        with self._draft.open("rb") as file:
            os.fsync(file.fileno())
        self._draft.replace(path)
        self._finished.append(joining.Part(path, self._times, self._durations))
        self._times, self._durations = [], []

    def join(self, out: Path) -> None:
        """Writes all parts and the sound to a file."""
        joining.join(self._clip, self._finished, out, suffix(self._clip, self._lossless))

    def _abandon(self) -> None:
        if self._encoder is not None:
            self._encoder.abandon()
            self._encoder = None
        with contextlib.suppress(OSError):
            self._draft.unlink(missing_ok=True)


def _path(work: Path, number: int) -> Path:
    return work / f"{number:05d}.mkv"


def _found(work: Path, length: int) -> list[joining.Part]:
    """Complete parts without a gap; one that is short is the last."""
    found: list[joining.Part] = []
    while not found or len(found[-1].times) == length:
        path = _path(work, len(found))
        try:
            facts = decode(path.with_suffix(".json").read_text())
        except (OSError, ValueError, RecursionError):
            break
        if not path.is_file():
            break
        found.append(joining.Part(path, facts["times"], facts["durations"]))
    return found
