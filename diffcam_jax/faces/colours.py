"""Which colours the numbers of a photograph mean.

Pixels stay the file's own numbers, and the result says the same about them: by a profile, or by the
chunks of a PNG. Only inks (CMYK) and LAB, which a PNG cannot hold, have been converted to sRGB
before.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from diffcam_jax.faces import boxes, icc, png
from diffcam_jax.faces.exif import is_adobe_rgb

MAX_PROFILE = 16 << 20  # bytes; tables of the finest printers have 5 MiB
CONVERTED = ("CMYK", "LAB")  # Pillow's modes that are converted to sRGB
_GREY = ("1", "L", "I", "F")  # how Pillow's modes of one channel begin
# Chunks with the length of their body. Those of the first kind go before every profile, those of
# the second are for readers that find none.
_BEFORE_PROFILE = {b"cICP": 4, b"mDCV": 24, b"mDCv": 24, b"cLLI": 8, b"cLLi": 8}
_WITHOUT_PROFILE = {b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}
_BMP_HEADER = 14  # bytes before the second header, from which places are counted
_BT709, _SRGB_TRANSFER, _UNSPECIFIED = 1, 13, 2  # ITU-T H.273


@dataclass(frozen=True)
class Colours:
    """What is to be written beside the pixels of a result; nothing of it means sRGB.

    Attributes:
        icc_profile: RGB profile, or None.
        chunks: further chunks of a PNG.
        notes: what people should know, a line each.
    """

    icc_profile: bytes | None = None
    chunks: tuple[png.Chunk, ...] = ()
    notes: tuple[str, ...] = ()


def of_png(found: Sequence[png.Chunk]) -> bytes | None:
    """The colour profile in the chunks of a PNG; None where there is none that can be used."""
    bodies = [body for kind, body in found if kind == b"iCCP"]
    return png.profile(bodies[0], MAX_PROFILE) if bodies else None


def of_bmp(data: bytes) -> bytes | None:
    """The colour profile inside a BMP of version 5, which Pillow does not read."""
    if len(data) < _BMP_HEADER + 124 or data[_BMP_HEADER + 56 : _BMP_HEADER + 60] != b"DEBM":
        return None
    start, size = struct.unpack_from("<II", data, _BMP_HEADER + 112)
    return data[_BMP_HEADER + start : _BMP_HEADER + start + size]


def read(
    image: Image.Image, found: Sequence[png.Chunk], mode: str, exif: bytes, data: bytes
) -> Colours:
    """The colours of a picture.

    Args:
        image: as Pillow has it, with its profile among `info`.
        found: the chunks of a PNG; none of another file.
        mode: Pillow's name for the stored channels.
        exif: its EXIF data.
        data: content of the file.
    """
    if mode in CONVERTED:
        return Colours()
    given = image.info.get("icc_profile") or b""
    profile, notes = _usable(given, mode), []
    if profile is None and (given or any(kind == b"iCCP" for kind, _ in found)):
        notes.append(
            "the colour profile cannot be used and is left out; colours may look different"
        )
    kept = [_first(found, kind, length) for kind, length in _BEFORE_PROFILE.items()]
    if profile is None:
        kept += [_first(found, kind, length) for kind, length in _WITHOUT_PROFILE.items()]
        kept.append(_coded(image, data))
    chunks = tuple(chunk for chunk in kept if chunk is not None)
    if profile is None and not chunks and is_adobe_rgb(exif):
        profile = icc.adobe_rgb()
    return Colours(profile, chunks, tuple(notes))


def _usable(profile: bytes, mode: str) -> bytes | None:
    """A profile of RGB pixels that says what a profile says about the pixels of a file."""
    if not profile or len(profile) > MAX_PROFILE:
        return None
    if profile[16:20] == b"GRAY":
        return icc.rgb_of_grey(profile) if mode.startswith(_GREY) else None
    return profile if profile[16:20] == b"RGB " else None


def _first(found: Sequence[png.Chunk], kind: bytes, length: int) -> png.Chunk | None:
    """The first chunk of a kind; None where there is none of the right length."""
    chunk = next((chunk for chunk in found if chunk.kind == kind), None)
    return chunk if chunk is not None and len(chunk.body) == length else None


def _coded(image: Image.Image, data: bytes) -> png.Chunk | None:
    """The chunk cICP of a HEIC or AVIF picture whose primaries or transfer are not sRGB's."""
    coded = image.info.get("nclx_profile")
    if coded is not None:
        pair = coded.get("color_primaries", 0), coded.get("transfer_characteristics", 0)
    elif image.format == "AVIF":
        pair = boxes.coded_colours(data)
    else:
        pair = None
    if pair is None or not all(0 < number < 256 for number in pair):
        return None
    primaries = _BT709 if pair[0] == _UNSPECIFIED else pair[0]
    transfer = _SRGB_TRANSFER if pair[1] == _UNSPECIFIED else pair[1]
    if (primaries, transfer) == (_BT709, _SRGB_TRANSFER):
        return None
    return png.Chunk(b"cICP", bytes([primaries, transfer, 0, 1]))  # RGB, in its full range
