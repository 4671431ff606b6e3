"""TIFF pictures of unusual numbers, and why some cannot be read."""

import io
import struct
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from PIL import Image, TiffImagePlugin

from diffcam_jax.errors import UserError

BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR_CONFIGURATION = 258, 262, 284
_COMPRESSION, _SAMPLE_FORMAT = 259, 339
_SIGNED, _FLOATING = 2, 3
_CAMERA_RAW = (32803, 34892)
_LAB = (8, 9, 10)


def grey_numbers(path: Path, image: Image.Image) -> UInt16[np.ndarray, "h w"]:
    """A grey picture of integers of 12, 16 or 32 bits, or of floating-point numbers.

    Integers are taken relative to the largest of their kind; 32-bit integers that all fit into 16
    bits were 16-bit ones before, and are taken as such. Floating-point numbers are 0 for black and
    1 for white.

    Args:
        path: for messages.
        image: as Pillow has it, decoded and upright.

    Returns:
        The picture with 16 bits.

    Raises:
        UserError: some numbers are negative, above 1 or not finite, so that white is unknown.
    """
    values = np.asarray(image)
    kind = _first(image.tag_v2.get(_SAMPLE_FORMAT), 1)
    if kind == _FLOATING:
        low, high, most, wanted = float(values.min()), float(values.max()), 1.0, "0 to 1"
    else:
        bits = max(image.tag_v2.get(BITS_PER_SAMPLE, (1,)))
        if kind != _SIGNED and bits == 32:
            values = values.view(np.uint32)
        low, high = float(values.min()), float(values.max())
        most = float(2 ** (bits - (kind == _SIGNED)) - 1)
        if bits == 32 and high < 65536:
            most = 65535.0
        wanted = "0 on"
    if not (low >= 0 and high <= most):  # also if one of them is no number
        raise UserError(
            f"{path}: its numbers go from {low:g} to {high:g}, and what is white is only known of "
            f"those from {wanted}; save it with 16 bits"
        )
    grey = np.round(values.astype(np.float64) * (65535 / most)).astype(np.uint16)
    return 65535 - grey if image.tag_v2.get(PHOTOMETRIC) == 0 else grey


def reason(data: bytes) -> str | None:
    """Why Pillow cannot open a TIFF picture.

    Args:
        data: content of the file.

    Returns:
        Half a sentence for people; None where it is no TIFF, or is damaged.
    """
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return None
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        stream = io.BytesIO(data)
        stream.seek(tags.next)
        tags.load(stream)
        bits = tags.get(BITS_PER_SAMPLE, (1,))
        colours, kind = tags[PHOTOMETRIC], _first(tags.get(_SAMPLE_FORMAT), 1)
        compression, most = tags.get(_COMPRESSION, 1), max(bits)
    except (KeyError, OSError, SyntaxError, TypeError, ValueError, struct.error):
        return None
    if colours in _CAMERA_RAW:
        return "a camera's raw data have no colours yet"
    if kind == _FLOATING:
        return f"colours as {most}-bit floating-point numbers are not known"
    if colours in _LAB:
        return f"LAB with {most} bits is not known"
    if kind == _SIGNED:
        return f"colours as signed {most}-bit numbers are not known"
    return (
        f"a TIFF of {len(bits)} x {most} bits, photometric {colours} and compression {compression} "
        "is not known"
    )


def _first(values: object, default: int) -> int:
    """The first of the values of a tag, which may be one number or several."""
    if isinstance(values, tuple):
        values = values[0] if values else default
    return values if isinstance(values, int) else default
