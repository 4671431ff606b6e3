"""Reading and writing photographs.

Pixels are numpy ``[h, w, 3]`` RGB, uint8 or uint16, upright (the EXIF orientation has been applied)
and in the colour space of the file: an RGB ICC profile travels along and is written back, so
wide-gamut pictures keep their colours. Alpha is kept beside the pixels and written back untouched.
Greyscale pictures become three equal channels and are written as RGB, because an edit may bring
colour. EXIF data other than the orientation is not kept.

Files are hostile until proven otherwise: size limits are checked on the header before a single
pixel is decoded, and only the formats of ``_FORMATS`` are ever handed to a decoder.
"""

import hashlib
import io
import os
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageCms, ImageOps

from diffcam_jax.errors import UserError
from diffcam_jax.files.trees import write_atomically

Pixels = UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]
Plane = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]

MIN_SIDE = 64  # pixels; the smallest picture in which a face can still be found and aligned
MAX_PIXELS = (
    120_000_000  # a 108-megapixel phone passes; Pillow itself refuses anything above 178 million
)
MAX_BYTES = 1 << 30
SUFFIXES = (
    ".avif",
    ".bmp",
    ".gif",
    ".heic",
    ".heif",
    ".jpeg",
    ".jpg",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
)
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP")
_STILL_WITH_PAGES = ("MPO", "TIFF")  # further frames are depth maps, previews or pages, not motion
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR_CONFIGURATION = 258, 262, 284


@dataclass(frozen=True)
class Source:
    """Facts about the file that a photograph came from.

    Attributes:
        format: container, such as "JPEG" or "PNG".
        mode: Pillow's name for the stored channels, such as "L", "P", "RGBA", "CMYK" or "I;16".
        icc_profile: RGB colour profile to write back, or None for sRGB.
        dpi: horizontal and vertical resolution in dots per inch, or None.
    """

    format: str
    mode: str
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright photograph.

    Attributes:
        pixels: [h, w, 3] RGB, uint8 or uint16.
        alpha: [h, w] of the same dtype, or None when the file is opaque.
        source: what the file was.
    """

    pixels: Pixels
    alpha: Plane | None
    source: Source


def read_photo(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Photo:
    """Reads one photograph and turns it upright.

    Args:
        path: a file in one of the formats of `SUFFIXES`. Of a multi-page TIFF or MPO the first
            picture is taken.
        max_pixels: largest accepted width x height; the header is judged before anything is
            decoded.

    Returns:
        The photograph; 16-bit files keep 16 bits.

    Raises:
        UserError: the file is missing, a folder, empty, too large, no picture, animated, broken or
            too small.
    """
    path = Path(path)
    data = _read_bytes(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about odd metadata that does not matter here
        image = _open_header(path, data, max_pixels)
        mode, icc_profile, dpi = image.mode, image.info.get("icc_profile"), image.info.get("dpi")
        try:
            pixels, alpha = (
                _decode_16(path, data, image) if _is_16_bit(image, data) else _decode_8(image)
            )
        except UserError:
            raise
        except Exception as error:  # a hostile file can make a decoder raise anything at all
            raise UserError(
                f"{path}: the picture is cut short or damaged ({error}); get a fresh copy of it"
            ) from error
    # A grey or CMYK profile does not describe the RGB pixels that come out; CMYK was converted
    # through its own.
    if not icc_profile or icc_profile[16:20] != b"RGB ":
        icc_profile = None
    if not (isinstance(dpi, tuple) and len(dpi) == 2 and all(0 < float(d) < 1e6 for d in dpi)):
        dpi = None
    dpi = dpi and (float(dpi[0]), float(dpi[1]))
    return Photo(pixels, alpha, Source(image.format or "", mode, icc_profile, dpi))


def write_photo(path: str | os.PathLike[str], photo: Photo | Pixels) -> None:
    """Writes a PNG with the bit depth of the pixels, alpha, colour profile and resolution included.

    The file appears under its name only once it is complete. Missing folders are made.

    Args:
        path: file to write; it must end in .png.
        photo: a photograph, or bare pixels [h, w, 3].

    Raises:
        UserError: the name does not end in .png, or the place cannot be written to.
    """
    import cv2

    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: pictures are written as PNG; give a name that ends in .png")
    if not isinstance(photo, Photo):
        photo = Photo(photo, None, Source("PNG", "RGB"))
    channels = [photo.pixels[..., 2], photo.pixels[..., 1], photo.pixels[..., 0]]
    if photo.alpha is not None:
        channels.append(photo.alpha)
    _, encoded = cv2.imencode(".png", np.stack(channels, axis=-1), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    data = _with_png_chunks(encoded.tobytes(), photo.source)

    try:
        write_atomically(path, data)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); choose another output folder or free "
            "some space"
        ) from error


def to_8_bits(
    pixels: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"],
) -> UInt8[np.ndarray, "h w 3"]:
    """Rounds 16-bit pixels."""
    return (
        pixels
        if pixels.dtype == np.uint8
        else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    )


def list_photos(folder: str | os.PathLike[str]) -> list[Path]:
    """Lists the pictures directly inside a folder, sorted by name.

    Args:
        folder: an existing folder. Hidden files and other kinds of file are passed over.

    Returns:
        At least one path; the files are not opened.

    Raises:
        UserError: the folder is missing, unreadable or holds no picture.
    """
    folder = Path(folder)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be listed ({error.strerror}); give an existing folder"
        ) from error
    photos = [
        p
        for p in entries
        if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    ]
    if not photos:
        raise UserError(
            f"{folder}: no pictures in this folder; it needs files ending in {', '.join(SUFFIXES)}"
        )
    return photos


def photo_hash(pixels: Pixels) -> str:
    """Names the content of a photograph, for caching: sha256 over dtype, shape and pixel values.

    Args:
        pixels: [h, w, 3].

    Returns:
        64 hexadecimal digits, equal for equal pixels whatever file they came from.
    """
    digest = hashlib.sha256(f"{pixels.dtype.name} {pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not a picture; name a file inside it")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(
                f"{path}: {size / 1e6:,.0f} MB is too large a file; the limit is "
                f"{MAX_BYTES / 1e6:,.0f} MB"
            )
        # A device or a pipe has no size: the bound on read() holds for those too.
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the name") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); check its permissions") from error
    if not data:
        raise UserError(f"{path}: the file is empty (0 bytes); get a fresh copy of it")
    return data


def _open_header(path: Path, data: bytes, max_pixels: int) -> Image.Image:
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


def _is_16_bit(image: Image.Image, data: bytes) -> bool:
    if image.format == "PNG":
        return data[24] == 16  # bit depth in IHDR, which always comes first
    return image.format == "TIFF" and max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))) == 16


def _decode_8(image: Image.Image) -> tuple[Pixels, Plane | None]:
    if image.mode not in (
        "1",
        "L",
        "LA",
        "La",
        "P",
        "PA",
        "RGB",
        "RGBA",
        "RGBa",
        "RGBX",
        "CMYK",
        "YCbCr",
    ):
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
    """Inks have no colour without their profile.

    A profile that is itself broken leaves the plain conversion.
    """
    try:
        return ImageCms.profileToProfile(
            image, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        return image


def _decode_16(path: Path, data: bytes, image: Image.Image) -> tuple[Pixels, Plane | None]:
    """Decodes by OpenCV, because Pillow cuts 16-bit colour down to 8 bits."""
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
    # Pillow refuses a cut or damaged file without the pages that OpenCV then writes to stderr
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


def _with_png_chunks(png: bytes, source: Source) -> bytes:
    """Inserts colour profile and resolution behind the header chunk, which ends at byte 33."""
    chunks = b""
    if source.icc_profile:
        chunks += _png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(source.icc_profile))
    if source.dpi:
        x, y = (round(d / 0.0254) for d in source.dpi)
        chunks += _png_chunk(b"pHYs", struct.pack(">IIB", x, y, 1))
    return png[:33] + chunks + png[33:]


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
