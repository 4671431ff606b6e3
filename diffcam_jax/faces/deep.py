"""Decoding of pictures with more than 8 bits, which Pillow would reduce to 8."""

from pathlib import Path

import numpy as np
from PIL import Image

from diffcam_jax.errors import UserError
from diffcam_jax.faces import boxes, heif, tiff

_RGB_OR_GREY = (0, 1, 2)  # photometric interpretations of TIFF


def bits(image: Image.Image, data: bytes) -> int:
    """Bits of each stored number; 8 where 8-bit decoding loses nothing, or is all there is.

    Args:
        image: as Pillow opened it.
        data: content of the file.
    """
    if image.format == "PNG":
        return max(data[24], 8)  # in IHDR, which always comes first
    if image.format == "TIFF":
        depth = max(image.tag_v2.get(tiff.BITS_PER_SAMPLE, (1,)))
        is_known = image.tag_v2.get(tiff.PHOTOMETRIC) in _RGB_OR_GREY
        return depth if depth > 8 and (is_known or image.mode in ("I", "F")) else 8
    if image.format == "JPEG2000":
        return boxes.jpeg2000_bits(data)
    return image.info.get("bit_depth", 8) if image.format == "HEIF" else 8


def decode(path: Path, data: bytes, image: Image.Image) -> np.ndarray:
    """Decodes a picture of more than 8 bits.

    Args:
        path: for messages.
        data: content of the file, without what decoders need not see.
        image: as Pillow opened it.

    Returns:
        uint16 [h, w] grey, or [h, w, c] with 1 to 4 channels in the order RGB, the last of 2 or 4
        being alpha. A TIFF or HEIF picture is upright, others are as they are stored.

    Raises:
        UserError: the picture is stored in a form that cannot be read.
        ValueError: its pixels are damaged.
    """
    if image.format == "HEIF":
        return heif.decode_deep(data)
    if image.format == "TIFF" and (image.mode in ("I", "F") or bits(image, data) != 16):
        image.load()
        return tiff.grey_numbers(path, image)
    if image.format == "TIFF" and _has_planes(image):
        raise UserError(
            f"{path}: 16-bit TIFF with separate colour planes; save it with interleaved channels"
        )
    inverted = image.format == "TIFF" and image.tag_v2.get(tiff.PHOTOMETRIC) == 0
    stored = _by_opencv(image, data)
    if image.format == "JPEG2000" and (depth := bits(image, data)) != 16:
        most = 2**depth - 1  # OpenCV leaves 12 bits, for example, as they are
        stored = np.round(stored * (65535 / most)).clip(0, 65535).astype(np.uint16)
    return 65535 - stored if inverted else stored


def _has_planes(image: Image.Image) -> bool:
    planar = image.tag_v2.get(tiff.PLANAR_CONFIGURATION, 1) != 1
    return planar and len(image.tag_v2[tiff.BITS_PER_SAMPLE]) > 1


def _by_opencv(image: Image.Image, data: bytes) -> np.ndarray:
    """uint16 [h, w] or [h, w, c] in the order RGB; of TIFF pictures OpenCV turns them upright."""
    import cv2

    # Pillow refuses a damaged file without the many lines that OpenCV writes to stderr.
    image.load()
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16:
        raise ValueError("its pixels of more than 8 bits cannot be decoded")
    if stored.ndim == 2:
        return stored
    return stored[..., [2, 1, 0, 3][: stored.shape[2]]] if stored.shape[2] > 2 else stored
