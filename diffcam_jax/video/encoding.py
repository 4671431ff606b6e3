"""How frames of a video are encoded: H.264 for people, FFV1 where no sample may change."""

import dataclasses
import functools
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_jax.video import ffmpeg, stored
from diffcam_jax.video.clip import VideoFacts
from diffcam_jax.video.planes import Colours, Layout, Planes, from_rgb, to_rgb, whole_chroma

# The number of threads is part of what x264 decides, so it is the same on every machine.
H264 = {"crf": "16", "preset": "medium", "threads": "4"}
FFV1 = {"level": "3", "slicecrc": "1", "slices": "4", "g": "1"}
_BT709 = Colours(0.2126, 0.0722, False)
_H264_BLOCKS = ((1, 1), (2, 1), (2, 2))
_BITEXACT = {"fflags": "+bitexact"}  # no random identifiers, no versions


def layout_for(facts: VideoFacts, lossless: bool) -> Layout:
    """The layout in which frames are encoded."""
    layout = facts.layout
    if lossless:
        return layout
    bits = 8 if layout.bits == 8 else 10
    if layout.kind == "gray":
        return Layout("yuv", bits, 2, 2)
    if layout.kind == "gbr" or (layout.across, layout.down) not in _H264_BLOCKS:
        return Layout("yuv", bits)
    return dataclasses.replace(layout, bits=bits)


def notes(facts: VideoFacts, lossless: bool, width: int, height: int) -> tuple[str, ...]:
    """What people should know about the encoding, a line each."""
    told = ["a grey clip stays grey"] if facts.layout.kind == "gray" else []
    if lossless:
        return tuple(told)
    made = layout_for(facts, False)
    if facts.layout.kind == "gbr":
        told.append("RGB is written as BT.709 with all its colour samples; --lossless keeps RGB")
    if made.bits < facts.layout.bits:
        told.append(f"H.264 keeps 10 of {facts.layout.bits} bits; --lossless keeps them all")
    if width % made.across or height % made.down:
        told.append(
            "H.264 needs even sizes: the last row or column is repeated once; --lossless keeps "
            f"{width}x{height}"
        )
    return tuple(told)


def prepared(planes: Planes, facts: VideoFacts, lossless: bool) -> Planes:
    """The planes in the layout of `layout_for`, of a size that can be encoded."""
    made, layout = layout_for(facts, lossless), facts.layout
    if made == layout and lossless:
        return planes
    if layout.kind == "gbr":
        deep = Layout("gbr", layout.bits)
        planes = from_rgb(to_rgb(planes, deep, _BT709), made, _BT709)
    else:
        if layout.kind == "gray":
            empty = np.full_like(planes[0], 1 << (layout.bits - 1))[::2, ::2]
            planes = (planes[0], empty, empty)
        elif (made.across, made.down) != (layout.across, layout.down):
            planes = whole_chroma(planes, layout)
        planes = tuple(_bits(plane, layout.bits, made.bits) for plane in planes)
    height, width = planes[0].shape
    more = (0, -height % made.down), (0, -width % made.across)
    return (np.pad(planes[0], more, mode="edge"), *planes[1:])


class Encoder:
    """Encodes one part, a file of Matroska.

    Args:
        path: to write.
        facts: about the video.
        lossless: FFV1 instead of H.264.
        width: of the frames as they are prepared.
        height: likewise.
    """

    def __init__(
        self, path: Path, facts: VideoFacts, lossless: bool, width: int, height: int
    ) -> None:
        av = ffmpeg.load()
        self._layout = layout_for(facts, lossless)
        self._facts, self._count = facts, 0
        rate = facts.rate.limit_denominator(100_000)
        self._file = av.open(
            f"file:{path.absolute()}", "w", format="matroska", container_options=_BITEXACT
        )
        stream = self._file.add_stream(
            "ffv1" if lossless else "libx264", rate=rate, options=_options(facts, lossless)
        )
        stream.width, stream.height = width, height
        stream.pix_fmt = "bgr0" if self._layout.name == "gbrp" else self._layout.name
        context = stream.codec_context
        context.time_base = 1 / rate
        context.sample_aspect_ratio = facts.aspect
        if lossless:
            context.thread_count = int(FFV1["slices"])
        else:
            context.thread_type = "FRAME"  # threads for slices would make frames larger
        self._tags = self._tagged(lossless)
        for name, value in self._tags.items():
            setattr(context, name, value)
        self._stream, self._time_base = stream, Fraction(1 / rate)

    def _tagged(self, lossless: bool) -> dict[str, int]:
        tags, kind = self._facts.tags, self._facts.layout.kind
        found = {
            "color_range": tags.range,
            "color_primaries": tags.primaries,
            "color_trc": tags.transfer,
            "colorspace": tags.matrix,
        }
        if kind == "gbr" and not lossless:
            return {**found, "color_range": 1, "colorspace": 1}
        if kind == "gray" and not lossless and tags.range == 0:
            return {**found, "color_range": 2}
        return found

    def write(self, planes: Planes) -> None:
        """Encodes a frame.

        Args:
            planes: see `prepared`.
        """
        frame = stored.frame_of(planes, self._layout)
        frame.pts, frame.time_base = self._count, self._time_base
        for name, value in self._tags.items():
            setattr(frame, name, value)
        self._count += 1
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Completes the file."""
        try:
            self._file.mux(self._stream.encode())
        finally:
            self._file.close()

    def abandon(self) -> None:
        """Closes the file, whatever becomes of it."""
        try:
            self._file.close()
        except Exception:  # it is thrown away
            return


def fingerprint(lossless: bool) -> dict[str, Any]:
    """What decides the bytes of an encoded part besides its frames."""
    av = ffmpeg.load()
    versions = {name: list(found) for name, found in av.library_versions.items()}
    return {"encoder": FFV1 if lossless else H264, "libraries": versions}


def _options(facts: VideoFacts, lossless: bool) -> dict[str, str]:
    siting = {"chroma_sample_location": facts.tags.siting} if facts.tags.siting else {}
    return {**(FFV1 if lossless else {**H264, **_reproducible()}), **siting}


@functools.cache
def _reproducible() -> dict[str, str]:
    """What makes x264 write the same bytes in every run.

    What its AVX-512 functions say of the same blocks differs from run to run, where rows are no
    multiple of their width; those of AVX2 agree with plain C.
    """
    try:
        has_it = "avx512" in Path("/proc/cpuinfo").read_text()
    except OSError:
        has_it = False
    return {"x264-params": "asm=AVX2"} if has_it else {}


def _bits(plane: np.ndarray, before: int, after: int) -> np.ndarray:
    """Samples of another depth, rounded to the nearest."""
    if after == before:
        return plane
    if after > before:
        return plane << (after - before)
    less = before - after
    rounded = (plane.astype(np.uint32) + (1 << (less - 1))) >> less
    return np.minimum(rounded, 2**after - 1).astype(plane.dtype)
