"""Pictures as decoders hand them out, and planes."""

import re
from typing import Any

import numpy as np

from diffcam_jax.video.planes import UPRIGHT, Layout, Planes, Turn, layout_of, sizes

# Other arrangements of the same samples, which are taken apart without a loss.
_ARRANGED = {
    "nv12": "yuv420p", "nv21": "yuv420p", "nv16": "yuv422p", "nv24": "yuv444p", "nv42": "yuv444p",
    "yuyv422": "yuv422p", "uyvy422": "yuv422p", "yvyu422": "yuv422p",
    "p010le": "yuv420p10le", "p012le": "yuv420p12le", "p210le": "yuv422p10le",
    "rgb24": "gbrp", "bgr24": "gbrp", "rgb0": "gbrp", "bgr0": "gbrp", "0rgb": "gbrp",
    "0bgr": "gbrp", "rgb48le": "gbrp16le", "rgb48be": "gbrp16le", "monow": "gray", "monob": "gray",
}  # fmt: skip
_BIG = re.compile(r"(.*\d)be$")


def known(name: str) -> Layout | None:
    """The layout in which pictures of a format are kept without a loss; None for none."""
    if big := _BIG.match(name):
        name = f"{big[1]}le" if layout_of(f"{big[1]}le") else name
    return layout_of(_ARRANGED.get(name, name))


def planes_of(frame: Any, layout: Layout) -> Planes:
    """Copies the planes of a decoded frame.

    Args:
        frame: a `VideoFrame` of PyAV in a format that `known` knows.
        layout: of its format.
    """
    if layout_of(frame.format.name) is None or frame.format.name.endswith("be"):
        frame = frame.reformat(format=layout.name)
    dtype = np.dtype(np.uint8 if layout.bits == 8 else np.uint16)
    shapes = sizes(layout, frame.width, frame.height)
    return tuple(
        _rows(plane, dtype)[: shape[0], : shape[1]].copy()
        for plane, shape in zip(frame.planes, shapes)
    )


def frame_of(planes: Planes, layout: Layout) -> Any:
    """A `VideoFrame` of PyAV with copies of planes."""
    from diffcam_jax.video import ffmpeg

    height, width = planes[0].shape
    if layout.name == "gbrp":  # encoders want these 8 bits packed
        green, blue, red = planes
        packed = np.stack([blue, green, red, np.zeros_like(red)], -1).reshape(height, -1)
        planes, name = (packed,), "bgr0"
    else:
        name = layout.name
    frame = ffmpeg.load().VideoFrame(width, height, name)
    for plane, samples in zip(frame.planes, planes):
        rows = np.zeros((plane.height, plane.line_size // samples.itemsize), samples.dtype)
        rows[:, : samples.shape[1]] = samples
        plane.update(rows.tobytes())
    return frame


def turn_of(matrix: bytes) -> Turn | None:
    """How a display matrix makes pictures upright; None where it is no quarter turn.

    Args:
        matrix: nine int32, rows (a, b, u), (c, d, v), (x, y, w): x' = a x + c y, y' = b x + d y.
    """
    a, b, _, c, d = np.frombuffer(matrix[:20], np.int32).tolist()
    if not (b or c) and abs(a) == abs(d) > 0:
        return Turn(False, a < 0, d < 0)
    if not (a or d) and abs(b) == abs(c) > 0:
        return Turn(True, c < 0, b < 0)
    return UPRIGHT if not (a or b or c or d) else None


def _rows(plane: Any, dtype: np.dtype) -> np.ndarray:
    return np.frombuffer(plane, dtype).reshape(-1, plane.line_size // dtype.itemsize)
