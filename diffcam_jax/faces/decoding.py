"""Decoding photographs of any format to upright RGB pixels of 8 or 16 bits.

Files are hostile until proven otherwise: size limits are checked on the header before a single
pixel is decoded, and only the formats of `_FORMATS` are ever passed to a decoder.
"""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageCms, ImageOps

from diffcam_jax.errors import UserError

Pixels = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
Plane = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]

MIN_SIDE = 64  # pixels; the smallest picture in which a face can still be found and aligned
# A 108-megapixel phone passes; Pillow itself refuses anything above 178 million.
MAX_PIXELS = 120_000_000
MAX_BYTES = 1 << 30
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP")
_STILL_WITH_PAGES = ("MPO", "TIFF")  # further frames are depth maps, previews or pages, not motion
_8_BIT_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR_CONFIGURATION = 258, 262, 284


def read_bytes(path: Path) -> bytes:
    """Reads a file of at most `MAX_BYTES`.

    Raises:
        UserError: the path is a folder, is missing, cannot be read, is empty or too large.
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not a picture; name a file inside it")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(
                f"{path}: {size / 1e6:,.0f} MB is too large a file; the limit is "
                f"{MAX_BYTES / 1e6:,.0f} MB"
            )
        # A device or a pipe has no size: read() is bounded for those.
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the name") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); check its permissions") from error
    if not data:
        raise UserError(f"{path}: the file is empty (0 bytes); get a fresh copy of it")
    return data


def open_header(path: Path, data: bytes, max_pixels: int) -> Image.Image:
    """Opens a picture without decoding it.

    Args:
        path: for messages.
        data: content of the file.
        max_pixels: largest accepted width x height.

    Raises:
        UserError: the content is not a picture of a known format, or is too large, too small or
            animated.
    """
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc"):
        raise UserError(f"{path}: HEIC pictures cannot be read; export it as JPEG or PNG")
    Image.init()  # registers the rarer formats
    try:
        image = Image.open(
            io.BytesIO(data), formats=[name for name in _FORMATS if name in Image.OPEN]
        )
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path}: the header claims far too many pixels ({error}); scale the picture down"
        ) from error
    except Exception as error:  # a hostile file can make a parser raise anything at all
        raise UserError(
            f"{path}: not a picture, or not one of {', '.join(_FORMATS)}; convert it to PNG"
        ) from error
    width, height = image.size
    if width * height > max_pixels:
        raise UserError(
            f"{path}: the header claims {width}x{height} pixels and the limit is "
            f"{max_pixels / 1e6:g} million; "
            "scale the picture down"
        )
    if min(width, height) < MIN_SIDE:
        raise UserError(
            f"{path}: {width}x{height} pixels are too few for a face; the smallest picture is "
            f"{MIN_SIDE}x{MIN_SIDE}"
        )
    if image.format not in _STILL_WITH_PAGES and getattr(image, "is_animated", False):
        raise UserError(f"{path}: is an animation; save the frame you want as PNG")
    return image


def decode(path: Path, data: bytes, image: Image.Image) -> tuple[Pixels, Plane | None]:
    """Decodes a picture and turns it upright.

    Args:
        path: for messages.
        data: content of the file.
        image: result of `open_header`.

    Returns:
        Pixels [h, w, 3] and alpha [h, w] (None when the file is opaque), of the file's bit depth.

    Raises:
        UserError: the content is damaged, or stored in a form that cannot be read.
    """
    try:
        return _decode_16(path, data, image) if _is_16_bit(image, data) else _decode_8(image)
    except UserError:
        raise
    except Exception as error:  # a hostile file can make a decoder raise anything at all
        raise UserError(
            f"{path}: the picture is truncated or damaged ({error}); get a fresh copy of it"
        ) from error


def _is_16_bit(image: Image.Image, data: bytes) -> bool:
    if image.format == "PNG":
        return data[24] == 16  # bit depth in IHDR, which always comes first
    return image.format == "TIFF" and max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))) == 16


def _decode_8(image: Image.Image) -> tuple[Pixels, Plane | None]:
    if image.mode not in _8_BIT_MODES:
        raise ValueError(f"pixels of kind {image.mode} are neither 8- nor 16-bit colours")
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    if image.mode == "CMYK" and profile:
        image = _cmyk_to_srgb(image, profile)
    if not image.has_transparency_data:
        return np.array(image.convert("RGB")), None
    rgba = np.array(image.convert("RGBA"))
    return np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3])


def _cmyk_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Converts by means of the profile, without which inks have no colour.

    A profile that is itself damaged leaves Pillow's plain conversion.
    """
    try:
        return ImageCms.profileToProfile(
            image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return image


def _decode_16(path: Path, data: bytes, image: Image.Image) -> tuple[Pixels, Plane | None]:
    """Decodes by means of OpenCV, because Pillow reduces 16-bit colour to 8 bits."""
    import cv2

    orientation = image.getexif().get(_ORIENTATION, 1)
    inverted = False
    if image.format == "TIFF":
        if (
            image.tag_v2.get(_PLANAR_CONFIGURATION, 1) != 1
            and len(image.tag_v2[_BITS_PER_SAMPLE]) > 1
        ):
            raise UserError(
                f"{path}: 16-bit TIFF with separate colour planes; save it with interleaved "
                "channels"
            )
        inverted = image.tag_v2.get(_PHOTOMETRIC) == 0
        orientation = 1  # OpenCV turns TIFF pictures by itself, and only those
    # Pillow refuses a damaged file without the many lines that OpenCV writes to stderr.
    image.load()
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16:
        raise ValueError("its 16-bit pixels cannot be decoded")
    stored = _upright(stored, orientation)
    if stored.ndim == 2:
        grey = 65535 - stored if inverted else stored
        return np.ascontiguousarray(np.broadcast_to(grey[..., None], (*grey.shape, 3))), None
    alpha = np.ascontiguousarray(stored[..., 3]) if stored.shape[2] == 4 else None
    return np.ascontiguousarray(stored[..., 2::-1]), alpha


def _upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation (1 to 8; anything else counts as 1)."""
    if orientation in (5, 6, 7, 8):
        stored = np.swapaxes(stored, 0, 1)
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    return stored
