"""Decoding photographs of any format to upright RGB pixels of 8 or 16 bits.

Files are hostile until proven otherwise: size limits are checked on the header before a single
pixel is decoded, and only the formats of `_FORMATS` are ever passed to a decoder.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageCms

from diffcam_jax.errors import UserError
from diffcam_jax.faces import boxes, colours, deep, heif, metadata, png, tiff
from diffcam_jax.faces.exif import ORIENTATION

Pixels = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
Plane = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]

MIN_SIDE = 16  # pixels; a smaller picture shows nothing that could be edited
# A 108-megapixel phone passes; Pillow itself refuses anything above 178 million.
MAX_PIXELS = 120_000_000
_DEEP_WITH_ALPHA = bytes([16, 6])  # bits and colour type in a PNG's header
MAX_BYTES = 1 << 30
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "TIFF", "WEBP")
# Further frames of these are depth maps, previews, bursts or pages, not motion.
_STILL_WITH_PAGES = ("HEIF", "MPO", "TIFF")
_8_BIT_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr")
_JP2_LAB = 14


@dataclass(frozen=True)
class Opened:
    """A picture whose header is known and whose pixels are not decoded yet.

    Attributes:
        image: as Pillow has it; `info` holds profile, EXIF and XMP data of every kind of file.
        data: content of the file; of a PNG without what decoders of pixels need not see.
        chunks: of a PNG.
        texts: of a PNG.
        notes: what people should know about the file, a line each.
    """

    image: Image.Image
    data: bytes
    chunks: Sequence[png.Chunk] = ()
    texts: Sequence[png.Text] = ()
    notes: Sequence[str] = ()

    def close(self) -> None:
        """Frees what the picture holds."""
        self.image.close()


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
        bound = size if path.is_file() else MAX_BYTES
        with path.open("rb") as file:
            data = file.read(bound)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the name") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); check its permissions") from error
    if not data:
        raise UserError(f"{path}: the file is empty (0 bytes); get a fresh copy of it")
    return data


def open_header(path: Path, data: bytes, max_pixels: int, first_frame: bool = False) -> Opened:
    """Opens a picture without decoding it.

    Args:
        path: for messages.
        data: content of the file.
        max_pixels: largest accepted width x height.
        first_frame: whether the first frame of an animation will do.

    Raises:
        UserError: the content is not a picture of a known format, or is too large, too small or
            animated.
    """
    opened = _opened(path, data)
    image = opened.image
    width, height = image.size
    if png.is_png(data) and data[24:26] == _DEEP_WITH_ALPHA:
        max_pixels = max_pixels * 3 // 4  # each takes a third more memory
    if width * height > max_pixels:
        raise UserError(
            f"{path}: the header claims {width}x{height} pixels and the limit is "
            f"{max_pixels / 1e6:g} million; "
            "scale the picture down"
        )
    if min(width, height) < MIN_SIDE:
        raise UserError(
            f"{path}: {width}x{height} pixels are too few; the smallest picture is "
            f"{MIN_SIDE}x{MIN_SIDE}"
        )
    try:
        animated = image.format not in _STILL_WITH_PAGES and getattr(image, "is_animated", False)
    except Exception as error:  # Pillow looks for a second frame, which may be damaged
        raise UserError(
            f"{path}: the picture is truncated or damaged ({error}); get a fresh copy of it"
        ) from error
    if animated and not first_frame:
        raise UserError(
            f"{path}: is an animation; save the frame you want as PNG, or edit the first one with "
            "--first-frame (in the service first_frame)"
        )
    return opened


def _opened(path: Path, data: bytes) -> Opened:
    """A picture of any known format, with the same names in `info` for all of them."""
    if boxes.is_heic(data):
        return Opened(heif.open_heif(path, data), data)
    found = png.chunks(data) if png.is_png(data) else []
    if found:
        data = png.bare(data)
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
        if reason := tiff.reason(data):
            raise UserError(f"{path}: {reason}; save it as TIFF or PNG of 8 or 16 bits") from error
        raise UserError(
            f"{path}: not a picture, or not one of {', '.join((*_FORMATS, 'HEIC'))}; convert it to "
            "PNG"
        ) from error
    if image.format == "JPEG2000":
        image.info.update(boxes.jp2_info(data))
    if image.format == "BMP" and (profile := colours.of_bmp(data)):
        image.info["icc_profile"] = profile
    texts, incomplete = png.texts(found, metadata.MAX_BYTES)
    if found:
        image.info.update(metadata.of_png(found, texts))
        if profile := colours.of_png(found):
            image.info["icc_profile"] = profile
    note = f"texts are left out: damaged, or more than {metadata.MAX_BYTES >> 20} MiB"
    return Opened(image, data, found, texts, [note] if incomplete else [])


def decode(path: Path, opened: Opened) -> tuple[Pixels, Plane | None]:
    """Decodes a picture and turns it upright.

    Args:
        path: for messages.
        opened: result of `open_header`.

    Returns:
        Pixels [h, w, 3] and alpha [h, w] (None when the file is opaque), of the file's bit depth.

    Raises:
        UserError: the content is damaged, or stored in a form that cannot be read.
    """
    image, data = opened.image, opened.data
    if image.info.get("colour_space") == _JP2_LAB:
        raise UserError(f"{path}: LAB in JPEG 2000 is not known; save it as TIFF or PNG")
    try:
        bits = 16 if deep.bits(image, data) > 8 else 8
        stored = deep.decode(path, data, image) if bits == 16 else _decode_8(image)
        stored = _upright(stored, _orientation(image))
    except UserError:
        raise
    except Exception as error:  # a hostile file can make a decoder raise anything at all
        raise UserError(
            f"{path}: the picture is truncated or damaged ({error}); get a fresh copy of it"
        ) from error
    stored = stored[..., None] if stored.ndim == 2 else stored
    alpha = stored[..., -1] if stored.shape[2] in (2, 4) else None
    pixels = np.broadcast_to(stored[..., :1], (*stored.shape[:2], 3))
    if stored.shape[2] > 2:
        pixels = stored[..., :3]
    if (clear := png.transparent_colour(opened.chunks, bits)) is not None:
        most = stored.dtype.type(np.iinfo(stored.dtype).max)
        alpha = np.where((pixels == np.array(clear)).all(-1), stored.dtype.type(0), most)
    return np.ascontiguousarray(pixels), None if alpha is None else np.ascontiguousarray(alpha)


def _decode_8(image: Image.Image) -> np.ndarray:
    """A picture as it is stored, uint8 [h, w, 3] or with alpha [h, w, 4]."""
    if image.mode not in (*_8_BIT_MODES, *colours.CONVERTED):
        raise ValueError(f"pixels of kind {image.mode} are neither 8- nor 16-bit colours")
    image.load()
    converted: Image.Image = image
    if image.mode in colours.CONVERTED:
        converted = _to_srgb(image, image.info.get("icc_profile"))
    return np.array(converted.convert("RGBA" if converted.has_transparency_data else "RGB"))


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts inks by means of their profile, without which they have no colour, and LAB by D50.

    A profile that is missing or itself damaged leaves Pillow's plain conversion of inks.
    """
    srgb = ImageCms.createProfile("sRGB")
    if image.mode == "LAB":  # lcms' quick tables would be eight levels off
        exact = ImageCms.Flags.NOOPTIMIZE
        lab = ImageCms.createProfile("LAB")
        return ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB", flags=exact)
    try:
        return ImageCms.profileToProfile(image, io.BytesIO(profile or b""), srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of decoded pixels, 1 where there is none."""
    if image.format in ("HEIF", "TIFF"):  # their decoders turn them
        return 1
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF data do not damage the pixels
        return 1


def _upright(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes an EXIF orientation (1 to 8; anything else counts as 1)."""
    if orientation in (5, 6, 7, 8):
        stored = np.swapaxes(stored, 0, 1)
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1]
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1]
    return stored
