"""Frames of animated GIF, WebP and PNG files, as Pillow composes them."""

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diffcam_jax.errors import UserError, refusing
from diffcam_jax.video.clip import AnimationFacts, Clip, Frame, check_size

FORMATS = ("GIF", "WEBP", "PNG")
_MOST_FRAMES = 100_000
_LONGEST = 10_000_000  # milliseconds of a frame
_NO_TIME = 100  # milliseconds for which viewers show a frame that has no duration


def may_be(head: bytes) -> bool:
    """Whether a file that begins so is of a kind that may be animated."""
    return head.startswith((b"GIF8", b"\x89PNG")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def is_animated(path: Path) -> bool:
    """Whether a file has more than one frame; a damaged one has not."""
    try:
        with opened(path) as image:
            return getattr(image, "n_frames", 1) > 1
    except UserError:
        return False
    except Exception:  # a hostile file can make a parser raise anything at all
        return False


def open_animation(path: Path) -> Clip:
    """Opens an animated picture, see `opening.open_clip`."""
    with (
        refusing(lambda error: f"{path}: is truncated or damaged ({error}); get a fresh copy"),
        opened(path) as image,
    ):
        width, height = image.size
        check_size(path, width, height, "animation")
        frames = int(getattr(image, "n_frames", 1))
        if frames < 2:
            raise UserError(f"{path}: is a picture, not an animation; edit it as a photograph")
        if frames > _MOST_FRAMES:
            raise UserError(f"{path}: {frames} frames are too many; the limit is {_MOST_FRAMES}")
        loop = image.info.get("loop")
        kind = str(image.format)
    notes = []
    if kind == "GIF":
        notes.append(
            "a GIF frame has 256 colours: what is edited takes the nearest there is room for"
        )
    else:
        notes.append(
            f"{'an animated PNG' if kind == 'PNG' else 'WebP'} is written as lossless WebP"
        )
    facts = AnimationFacts(kind, loop if isinstance(loop, int) and 0 <= loop < 65536 else None)
    return Clip(path, "animation", width, height, frames, None, tuple(notes), animation=facts)


def read_animation(clip: Clip, start: int, damaged: list[str]) -> Iterator[Frame]:
    """Reads an animation, see `opening.read_frames`.

    `Frame.native` is a pair: RGBA pixels, and milliseconds for which they are shown.
    """
    began, shown = 0, np.zeros((clip.height, clip.width, 4), np.uint8)
    with opened(clip.path) as image:
        for number in itertools.count():
            reason = None
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # Pillow's, about what does not matter here
                    image.seek(number)
            except EOFError:
                break
            except Exception as error:  # a hostile file can make a decoder raise anything at all
                damaged.append(f"the file is damaged from frame {number} on ({error})")
                break
            try:
                shown = _composed(image, clip)
            except Exception as error:
                reason = str(error) or type(error).__name__
                damaged.append(f"frame {number} ({began / 1000:.2f} s): {reason}")
            milliseconds = _duration(image.info.get("duration"))
            if number >= start:
                pixels = np.ascontiguousarray(shown[..., :3])
                yield Frame(number, began / 1000, pixels, (shown, milliseconds), reason)
            began += milliseconds or _NO_TIME
    if clip.frames and number < clip.frames:
        damaged.append(f"the file ends after {number} of {clip.frames} frames")


def opened(path: Path) -> Any:
    """Opens a picture of a kind that may be animated.

    Raises:
        UserError: it is none, or damaged.
    """
    with (
        refusing(lambda error: f"{path}: is no animation ({error}); get a fresh copy of it"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        return Image.open(path, formats=FORMATS)


def _composed(image: Image.Image, clip: Clip) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rgba = np.array(image.convert("RGBA"))
    if rgba.shape != (clip.height, clip.width, 4):
        raise ValueError(f"it has {rgba.shape[1]}x{rgba.shape[0]} pixels")
    return rgba


def _duration(found: object) -> int:
    try:
        value = round(float(found if isinstance(found, int | float) else 0))
    except (ValueError, OverflowError):
        return 0
    return value if 0 <= value <= _LONGEST else 0
