"""Animations written from finished frames, one of which is in memory at a time.

A finished frame is a PNG, for GIF with the palette it will have there. Durations and the number of
frames of the result are those of the clip.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import GifImagePlugin, Image

from diffcam_jax.errors import UserError
from diffcam_jax.files.json_text import decode
from diffcam_jax.files.trees import replacing, write_atomically
from diffcam_jax.video import animation_reading
from diffcam_jax.video.clip import Clip, Frame
from diffcam_jax.video.palettes import indexed

_WEBP_SIDE = 16383
_SUFFIXES = {"GIF": ".gif", "WEBP": ".webp", "PNG": ".webp"}
_TOLD = ("icc_profile", "exif", "xmp")
_RESTORE = 2  # disposal: the frame is cleared before the next one


def suffix(clip: Clip) -> str:
    """Of the result."""
    assert clip.animation is not None
    return _SUFFIXES[clip.animation.format]


class AnimationParts:
    """Keeps finished frames of an animation.

    Args:
        clip: an animation.
        work: folder of finished frames, which are those of this clip and these settings.

    Raises:
        UserError: its frames are too large for the format of the result.
    """

    def __init__(self, clip: Clip, work: Path) -> None:
        self._clip, self._work, self._suffix = clip, work, suffix(clip)
        if self._suffix == ".webp" and max(clip.width, clip.height) > _WEBP_SIDE:
            raise UserError(
                f"{clip.path}: {clip.width}x{clip.height} pixels are more than WebP can hold "
                f"({_WEBP_SIDE} a side); scale the animation down"
            )
        self.done = 0
        while self._path(self.done).exists():
            self.done += 1
        self._count = self.done

    def write(self, frame: Frame, pixels: np.ndarray, touched: np.ndarray) -> None:
        """Keeps a frame."""
        rgba, milliseconds = frame.native
        made = rgba.copy()
        made[..., :3][touched] = pixels[touched]
        image = indexed(made, touched) if self._suffix == ".gif" else Image.fromarray(made)
        path = self._path(frame.number)
        write_atomically(path.with_suffix(".json"), json.dumps(milliseconds).encode())
        with replacing(path) as file:
            image.save(file, "PNG", compress_level=3)
        self._count = frame.number + 1

    def complete(self) -> None:
        """Every frame is a part."""

    def join(self, out: Path) -> None:
        """Writes all frames to a file."""
        assert self._clip.animation is not None
        durations = [
            decode(self._path(i).with_suffix(".json").read_text()) for i in range(self._count)
        ]
        frames = (self._read(i) for i in range(self._count))
        loop = self._clip.animation.loop
        if self._suffix == ".gif":
            _write_gif(out, frames, durations, loop, (self._clip.width, self._clip.height))
            return
        reel = _Reel(self._read, self._count)
        with animation_reading.opened(self._clip.path) as source:
            told = {name: source.info.get(name) for name in _TOLD}
            told = {name: value for name, value in told.items() if isinstance(value, bytes)}
        # WebP, unlike the others, counts how often it is shown in all; none said is once.
        reel.save(
            out, "WEBP", save_all=True, lossless=True, duration=durations,
            loop=1 if loop is None else loop, **told,
        )  # fmt: skip

    def _path(self, number: int) -> Path:
        return self._work / f"{number:06d}.png"

    def _read(self, number: int) -> Image.Image:
        with Image.open(self._path(number), formats=["PNG"]) as image:
            image.load()
            return image


class _Reel(Image.Image):
    """Pictures as the frames of one, each read when it is sought."""

    def __init__(self, read: Any, count: int) -> None:
        super().__init__()
        self._pictures, self.n_frames = read, count
        self._at = -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        if frame != self._at:
            image = self._pictures(frame)
            self._im, self._mode, self._size = image.im, image.mode, image.size
            self._at = frame

    def tell(self) -> int:
        return self._at


def _write_gif(
    out: Path,
    frames: Iterator[Image.Image],
    durations: list[int],
    loop: int | None,
    size: tuple[int, int],
) -> None:
    """Writes whole frames, each with a palette of its own."""
    with out.open("wb") as file:
        file.write(b"GIF89a" + struct.pack("<HHBBB", *size, 0x70, 0, 0))
        if loop is not None:
            file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<H", loop) + b"\0")
        for image, milliseconds in zip(frames, durations, strict=True):
            options: dict[str, Any] = {"duration": milliseconds, "include_color_table": True}
            clear = image.info.pop("transparency", None)
            if clear is not None:
                options |= {"transparency": _index(clear), "disposal": _RESTORE}
            for block in GifImagePlugin.getdata(image, **options):
                file.write(block)
        file.write(b";")


def _index(transparency: int | bytes) -> int:
    """The transparent entry of a palette, of which PNG keeps the opacity of each."""
    return transparency if isinstance(transparency, int) else transparency.index(0)
