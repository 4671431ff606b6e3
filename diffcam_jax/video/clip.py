"""What is known about a clip, and its frames."""

import functools
import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_jax.errors import UserError
from diffcam_jax.faces.decoding import MIN_SIDE
from diffcam_jax.video.planes import UPRIGHT, Colours, Layout, Turn

MOST_PIXELS = 36_000_000  # of a frame; more than 8K, and than any level of H.264


def check_size(path: Path, width: int, height: int, kind: str) -> None:
    """Whether frames are of a size that can be edited.

    Args:
        path: of the clip.
        width: of a frame in pixels.
        height: likewise; 0 where it is not known yet.
        kind: of clip, for people.

    Raises:
        UserError: they are too large or too small.
    """
    if width * height > MOST_PIXELS:
        raise UserError(
            f"{path}: frames of {width}x{height} pixels are too large; the limit is "
            f"{MOST_PIXELS / 1e6:g} million; scale the {kind} down"
        )
    if 0 < min(width, height) < MIN_SIDE:
        raise UserError(
            f"{path}: frames of {width}x{height} pixels are too small; the least is "
            f"{MIN_SIDE}x{MIN_SIDE}"
        )


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a clip.

    Attributes:
        number: from 0, in the order in which frames are shown.
        time: seconds since the clip's first frame.
        pixels: [h, w, 3] RGB, upright, uint8; of clips of more than 8 bits uint16, 0 to 65535.
        native: what the file stored, upright, for the way back: `Samples` of a video, RGBA pixels
            of an animation, a photograph or None of a folder.
        damaged: why the decoder does not trust it, or None; such a frame is kept as it is.
    """

    number: int
    time: float
    pixels: np.ndarray
    native: Any
    damaged: str | None = None


@dataclass(frozen=True, eq=False)
class Samples:
    """What a video stored of a frame.

    Attributes:
        planes: upright, in the order of the layout.
        pts: when it is shown, in units of the clip's time base.
        duration: for how long, in the same units; 0 where the file does not say.
    """

    planes: tuple[np.ndarray, ...]
    pts: int
    duration: int


@dataclass(frozen=True)
class Tags:
    """What a video says about its colours, as the numbers of ISO/IEC 23091-2; 2 is "not said".

    Attributes:
        range: 1 limited, 2 full, 0 not said.
        primaries: of the colours.
        transfer: function from light to samples.
        matrix: from RGB to samples.
        siting: FFmpeg's name of the place of chroma samples, such as "left"; None is "not said".
    """

    range: int = 0
    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    siting: str | None = None


@dataclass(frozen=True)
class VideoFacts:
    """What reading and writing a video need.

    Attributes:
        layout: of the stored planes, upright.
        colours: of the stored planes.
        tags: that say so.
        turn: that makes stored pictures upright.
        rate: frames in a second, on average.
        time_base: seconds of a unit of `Samples.pts`.
        aspect: width of an upright pixel over its height.
        sound: codecs of the streams of sound.
        text: codecs of the subtitles.
        start: microseconds by which a stream's clock is ahead, as in broadcasts; times of pictures
            and sound are less by it.
    """

    layout: Layout
    colours: Colours
    tags: Tags
    rate: Fraction
    time_base: Fraction
    turn: Turn = UPRIGHT
    aspect: Fraction = Fraction(1)
    sound: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    start: int = 0

    @property
    def ahead(self) -> int:
        """`start` in units of the time base."""
        return round(self.start / 1_000_000 / self.time_base)


@dataclass(frozen=True)
class AnimationFacts:
    """What reading and writing an animation need.

    Attributes:
        format: "GIF", "WEBP" or "PNG".
        loop: how often it is shown, 0 for ever; None where the file does not say.
    """

    format: str
    loop: int | None


@dataclass(frozen=True)
class Clip:
    """Facts about a clip; nothing is held open.

    Attributes:
        path: a file, or a folder of frames.
        kind: "video", "animation" or "folder".
        width: of the upright picture in pixels.
        height: likewise.
        frames: how many; an estimate where no number is stored, or None.
        seconds: how long it takes, or None.
        notes: what people should know, a line each.
        video: facts about a video.
        animation: facts about an animation.
        files: of a folder, in their order.
    """

    path: Path
    kind: str
    width: int
    height: int
    frames: int | None
    seconds: float | None
    notes: tuple[str, ...] = ()
    video: VideoFacts | None = None
    animation: AnimationFacts | None = None
    files: tuple[Path, ...] = ()

    @functools.cached_property
    def fingerprint(self) -> str:
        """What tells the clip from others, wherever it lies: 64 hexadecimal digits.

        A file is known by its content, a folder by names, sizes and times of its files.

        Raises:
            UserError: a file cannot be read.
        """
        try:
            if not self.files:
                with self.path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            facts = [(p.name, (s := p.stat()).st_size, s.st_mtime_ns) for p in self.files]
        except OSError as error:
            raise UserError(
                f"{self.path}: cannot be read ({error.strerror}); check its permissions"
            ) from error
        return hashlib.sha256(repr(facts).encode()).hexdigest()
