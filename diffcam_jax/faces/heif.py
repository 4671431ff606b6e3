"""HEIC and other HEIF pictures, by means of the optional package pillow-heif."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from diffcam_jax.errors import UserError


def open_heif(path: Path, data: bytes) -> Image.Image:
    """Opens the main picture of a HEIF file without decoding it.

    Its orientation belongs to the decoding (ISO/IEC 23008-12), so EXIF data say that it is upright.

    Args:
        path: for messages.
        data: content of the file.

    Raises:
        UserError: the package is missing, or the file is damaged.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise UserError(
            f"{path}: HEIC pictures need the package pillow-heif; run pip install '.[heic]', or "
            "export it as JPEG or PNG"
        ) from error
    try:
        return pillow_heif.HeifImageFile(io.BytesIO(data))
    except Exception as error:  # a hostile file can make a parser raise anything at all
        raise UserError(
            f"{path}: the HEIC picture is damaged, or of a kind that cannot be read ({error}); "
            "export it as JPEG or PNG"
        ) from error


def decode_deep(data: bytes) -> np.ndarray:
    """The upright main picture of a HEIF file with more than 8 bits.

    Args:
        data: content of the file.

    Returns:
        uint16 [h, w] grey or [h, w, c] with 1 to 4 channels, the last of 2 or 4 being alpha; the
        numbers of the file are scaled to 16 bits.
    """
    import pillow_heif

    opened = pillow_heif.HeifFile(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    main = opened[opened.primary_index]
    stored = np.asarray(main).astype(np.uint32)
    most = 2 ** main.info["bit_depth"] - 1
    return ((stored * 65535 + most // 2) // most).astype(np.uint16)
