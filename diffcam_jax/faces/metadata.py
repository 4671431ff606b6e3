"""What a photograph says about itself: EXIF, XMP and IPTC data, and the texts of a PNG.

A result keeps all of it: date, place, camera, author and rights are those of the photograph. Only
what would be wrong is changed: the orientation, for the pixels are upright, the size in pixels, and
thumbnails, which show the photograph before the edit.
"""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from diffcam_jax.faces import exif as exif_data
from diffcam_jax.faces import png
from diffcam_jax.faces.colours import CONVERTED

MAX_BYTES = 16 << 20  # of all metadata of a photograph; a page of text has 4 KiB
_TOO_MANY = f"are left out, for there are more than {MAX_BYTES >> 20} MiB of metadata"
_XMP = b"XML:com.adobe.xmp"
_RAW_XMP = b"Raw profile type xmp"
_RAW = (b"Raw profile type exif", b"Raw profile type APP1", _RAW_XMP)
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_IPTC_RESOURCE, _IPTC_TAG, _PHOTOSHOP_TAG = 0x0404, 33723, 34377
_IPTC_MARK = b"\x1c"  # that every record begins with


@dataclass(frozen=True)
class Metadata:
    """Metadata that belong to upright pixels.

    Attributes:
        exif: beginning with the byte order, or empty.
        xmp: an XML packet, UTF-8, or empty.
        iptc: records (IIM), or empty.
        texts: further chunks of text of a PNG.
    """

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    texts: tuple[png.Chunk, ...] = ()


def of_png(found: Sequence[png.Chunk], texts: Sequence[png.Text]) -> dict[str, bytes]:
    """EXIF and XMP data of a PNG, by the names that Pillow gives them in other files.

    Args:
        found: chunks of the file.
        texts: of the file.
    """
    info: dict[str, bytes] = {}
    for text in texts:
        if text.keyword in _RAW:
            content = png.raw_profile(text.text)
            is_xmp = text.keyword == _RAW_XMP or content.startswith(_XMP_PREFIX)
            info["xmp" if is_xmp else "exif"] = content.removeprefix(_XMP_PREFIX)
        elif text.keyword == _XMP:
            info["xmp"] = text.text
    for kind, body in found:
        if kind == b"eXIf":
            info["exif"] = body
    return info


def read(
    image: Image.Image, texts: Sequence[png.Text], mode: str, width: int, height: int
) -> tuple[Metadata, list[str]]:
    """The metadata of a picture that is decoded.

    Args:
        image: as Pillow has it.
        texts: of a PNG; none of another file.
        mode: Pillow's name for the stored channels.
        width: of the upright pixels.
        height: of the upright pixels.

    Returns:
        The metadata, and what there is to tell people: what is left out.
    """
    given = {
        "EXIF data": _exif(image),
        "XMP data": _bytes(image.info.get("xmp")),
        "IPTC data": _iptc(image),
    }
    left, notes = MAX_BYTES, []
    for name, content in given.items():
        if len(content) > left:
            notes.append(f"{name} {_TOO_MANY}")
            given[name] = b""
        left -= len(given[name])
    others = [text for text in texts if text.keyword not in (_XMP, *_RAW)]
    if sum(len(text.text) for text in others) > left:
        notes.append(f"texts {_TOO_MANY}")
        others = []
    exif, xmp, iptc = given.values()
    exif = exif_data.corrected(exif, width, height, to_srgb=mode in CONVERTED)
    xmp = corrected_xmp(xmp, width, height)
    return Metadata(exif, xmp, iptc, tuple(text.chunk for text in others)), notes


def chunks(metadata: Metadata) -> list[png.Chunk]:
    """The chunks of a PNG that hold metadata."""
    found = []
    if metadata.exif:
        found.append(png.Chunk(b"eXIf", metadata.exif))
    if metadata.xmp:  # no compression, no language, no translated keyword
        found.append(png.Chunk(b"iTXt", _XMP + b"\0\0\0\0\0" + metadata.xmp))
    if metadata.iptc:
        head = struct.pack(">4sHHI", b"8BIM", _IPTC_RESOURCE, 0, len(metadata.iptc))
        block = head + metadata.iptc + bytes(len(metadata.iptc) % 2)
        found.append(png.raw_profile_chunk("iptc", block))
    return [*found, *metadata.texts]


def corrected_xmp(xmp: bytes, width: int, height: int) -> bytes:
    """XMP data for the upright pixels, see `exif.corrected`; empty where they are no UTF-8 text.

    Args:
        xmp: packet as in a file.
        width: of the upright pixels.
        height: of the upright pixels.
    """
    xmp = xmp.strip(b"\0")
    try:
        xmp.decode("utf-8")
    except UnicodeDecodeError:
        return b""
    if b"\0" in xmp:
        return b""
    values = {
        b"tiff:Orientation": 1,
        b"tiff:ImageWidth": width,
        b"exif:PixelXDimension": width,
        b"tiff:ImageLength": height,
        b"exif:PixelYDimension": height,
    }
    for name, value in values.items():  # as an attribute and as an element
        place = rb"(%s\s{0,9}=\s{0,9}[\"']|<%s>\s{0,9})\d{1,9}" % (name, name)
        xmp = re.sub(place, rb"\g<1>%d" % value, xmp)
    xmp = re.sub(rb"xmpNote:HasExtendedXMP\s?=\s?[\"']\w{1,64}[\"']", b"", xmp)  # it is not kept
    for name in (b"xmp:Thumbnails", b"xap:Thumbnails"):
        xmp = _without(xmp, b"<" + name, b"</" + name + b">")
    return xmp


def _without(text: bytes, begin: bytes, end: bytes) -> bytes:
    """A text without what lies between two marks, and without these."""
    kept, done = [], 0
    while (start := text.find(begin, done)) >= 0 and (stop := text.find(end, start)) >= 0:
        kept.append(text[done:start])
        done = stop + len(end)
    return b"".join([*kept, text[done:]])


def _bytes(found: object) -> bytes:
    """What Pillow found, which in a hostile TIFF may be a number."""
    return found if isinstance(found, bytes) else b""


def _exif(image: Image.Image) -> bytes:
    if image.format != "TIFF":
        return _bytes(image.info.get("exif"))
    try:
        return exif_data.of_tiff(image)
    except Exception:  # entries of a hostile file can be anything at all
        return b""


def _iptc(image: Image.Image) -> bytes:
    """IPTC records of any file but a PNG, which has them as a text."""
    blocks = image.info.get("photoshop")
    found = blocks.get(_IPTC_RESOURCE, b"") if isinstance(blocks, dict) else b""
    found = found or image.info.get("iptc", b"")
    if image.format == "TIFF":
        found = _tag(image, _IPTC_TAG) or _resource(_tag(image, _PHOTOSHOP_TAG), _IPTC_RESOURCE)
    return found if isinstance(found, bytes) and found.startswith(_IPTC_MARK) else b""


def _tag(image: Image.Image, tag: int) -> bytes:
    """Bytes in a TIFF as they are stored, for some programs call them 32-bit numbers.

    The values that Pillow makes of those are cut to the first; it reads the records so itself.
    """
    return getattr(image.tag_v2, "_tagdata", {}).get(tag, b"")


def _resource(block: bytes, wanted: int) -> bytes:
    """One of Photoshop's resources; empty where there is none."""
    place = 0
    while block[place : place + 4] == b"8BIM":
        if place + 7 > len(block):
            break
        (number,) = struct.unpack_from(">H", block, place + 4)
        named = place + 6 + 1 + block[place + 6]
        named += named % 2
        if named + 4 > len(block):
            break
        (size,) = struct.unpack_from(">I", block, named)
        if number == wanted:
            return block[named + 4 : named + 4 + size]
        place = named + 4 + size + size % 2
    return b""
