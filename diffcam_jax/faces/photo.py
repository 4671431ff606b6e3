"""Reading and writing photographs.

Pixels are numpy [h, w, 3] RGB, uint8 or uint16, upright (the EXIF orientation has been applied) and
in the colour space of the file. What the file says about its colours is kept and written back, so
wide-gamut pictures keep their colours (`colours`), and so are date, place, author and rights
(`metadata`). Alpha is kept beside the pixels and written back unchanged. Greyscale pictures become
three equal channels and are written as RGB, because an edit may add colour.
"""

import dataclasses
import os
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from diffcam_jax.errors import UserError
from diffcam_jax.faces import colours, metadata, png
from diffcam_jax.faces.decoding import MAX_PIXELS, Pixels, Plane, decode, open_header, read_bytes
from diffcam_jax.faces.metadata import Metadata
from diffcam_jax.files.trees import write_atomically

SUFFIXES = (
    ".avif",
    ".bmp",
    ".gif",
    ".heic",
    ".heif",
    ".hif",
    ".j2k",
    ".jfif",
    ".jp2",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
)


@dataclass(frozen=True)
class FileInfo:
    """Facts about the file that a photograph came from.

    Attributes:
        format: container, such as "JPEG" or "PNG".
        mode: Pillow's name for the stored channels, such as "L", "P", "RGBA", "CMYK" or "I;16".
        icc_profile: RGB colour profile to write back, or None for sRGB.
        dpi: horizontal and vertical resolution in dots per inch, or None.
        colour_chunks: further chunks of a PNG that say what the colours are.
        metadata: of the upright picture.
        notes: what people should know about the file, a line each.
    """

    format: str
    mode: str
    icc_profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    colour_chunks: tuple[png.Chunk, ...] = ()
    metadata: Metadata = Metadata()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Photo:
    """An upright photograph.

    Attributes:
        pixels: [h, w, 3] RGB, uint8 or uint16.
        alpha: [h, w] of the same dtype, or None when the file is opaque.
        source: facts about its file.
    """

    pixels: Pixels
    alpha: Plane | None
    source: FileInfo


def read_photo(
    path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, first_frame: bool = False
) -> Photo:
    """Reads one photograph and turns it upright.

    Args:
        path: a file in one of the formats of `SUFFIXES`. Of a multi-page TIFF or MPO the first
            picture is taken.
        max_pixels: largest accepted width x height; the header is checked before anything is
            decoded.
        first_frame: takes the first frame of an animation, which is refused otherwise.

    Returns:
        The photograph; 16-bit files keep 16 bits.

    Raises:
        UserError: the file is missing, a folder, empty, too large, not a picture, animated, damaged
            or too small.
    """
    path = Path(path)
    return decode_photo(read_bytes(path), path, max_pixels, first_frame)


def decode_photo(
    data: bytes, name: Path, max_pixels: int = MAX_PIXELS, first_frame: bool = False
) -> Photo:
    """Decodes the content of a file as `read_photo` does.

    Args:
        data: of the file.
        name: of the file, for messages.
        max_pixels: see `read_photo`.
        first_frame: see `read_photo`.

    Raises:
        UserError: see `read_photo`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about odd metadata that does not matter here
        opened = open_header(name, data, max_pixels, first_frame)
        image = opened.image
        mode = image.mode
        pixels, alpha = decode(name, opened)
        height, width, _ = pixels.shape
        kept, left_out = metadata.read(image, opened.texts, mode, width, height)
        meant = colours.read(image, opened.chunks, mode, kept.exif, data)
    source = FileInfo(
        image.format or "",
        mode,
        meant.icc_profile,
        _resolution(image.info.get("dpi")),
        meant.chunks,
        kept,
        (*opened.notes, *left_out, *meant.notes),
    )
    return Photo(pixels, alpha, source)


def _resolution(found: object) -> tuple[float, float] | None:
    """What Pillow found as a resolution, which in a hostile file may be anything."""
    try:
        x, y = map(float, found if isinstance(found, tuple) else ())
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
    return (x, y) if 0 < x < 1e6 and 0 < y < 1e6 else None


def without_metadata(photo: Photo) -> Photo:
    """The photograph without date, place, author and the like; it keeps its colours."""
    source = dataclasses.replace(photo.source, metadata=Metadata())
    return dataclasses.replace(photo, source=source)


def write_photo(path: str | os.PathLike[str], photo: Photo | Pixels) -> None:
    """Writes a PNG with the bit depth of the pixels, alpha, colours, resolution and metadata.

    The file appears under its name only once it is complete. Missing folders are created.

    Args:
        path: file to write; it must end in .png.
        photo: a photograph, or bare pixels [h, w, 3].

    Raises:
        UserError: the name does not end in .png, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: pictures are written as PNG; give a name that ends in .png")
    if not isinstance(photo, Photo):
        photo = Photo(photo, None, FileInfo("PNG", "RGB"))
    data = encode_photo(photo)
    try:
        write_atomically(path, data)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); choose another output folder or free "
            "some space"
        ) from error


def encode_photo(photo: Photo) -> bytes:
    """The content of the PNG that `write_photo` writes."""
    import cv2

    channels = [photo.pixels[..., 2], photo.pixels[..., 1], photo.pixels[..., 0]]
    if photo.alpha is not None:
        channels.append(photo.alpha)
    _, encoded = cv2.imencode(".png", np.stack(channels, axis=-1), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return png.inserted(encoded.tobytes(), _chunks(photo.source))


def as_mask(
    pixels: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"],
) -> Float[np.ndarray, "h w"]:
    """A picture as a mask: float32 [h, w], 0 where it is black and 1 where it is white."""
    return (pixels.mean(-1) / np.iinfo(pixels.dtype).max).astype(np.float32)


def to_8_bits(
    pixels: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"],
) -> UInt8[np.ndarray, "h w 3"]:
    """Rounds 16-bit pixels to 8 bits; 8-bit pixels are returned unchanged."""
    return (
        pixels
        if pixels.dtype == np.uint8
        else ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    )


def list_photos(folder: str | os.PathLike[str]) -> list[Path]:
    """Lists the pictures directly inside a folder, sorted by name.

    Args:
        folder: an existing folder. Hidden files and other kinds of file are ignored.

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


def _chunks(source: FileInfo) -> list[png.Chunk]:
    """What a PNG says beside its pixels."""
    found = list(source.colour_chunks)
    if source.icc_profile:
        found.append(png.profile_chunk(source.icc_profile))
    if source.dpi:
        x, y = (round(d / 0.0254) for d in source.dpi)
        found.append(png.Chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    return [*found, *metadata.chunks(source.metadata)]
