"""Boxes of AVIF, HEIC and JPEG 2000 files: what Pillow does not say about them.

(ISO/IEC 14496-12, 23008-12 and 15444-1.) Boxes are only ever looked at, within their bounds.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

_MOST_BOXES = 10_000
_AVIF, _HEIC = (b"avif", b"avis"), (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")
_JP2_BEGIN = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"  # markers SOC and SIZ
_UUIDS = {
    b"JpgTiffExif->JP2": "exif",
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
}


def is_heic(data: bytes) -> bool:
    """Whether a file is HEIC or another HEIF that is not AVIF, told by all of its brands.

    The first brand alone does not tell: both kinds may begin with "mif1".
    """
    if data[4:8] != b"ftyp":
        return False
    (length,) = struct.unpack_from(">I", data, 0)
    brands = [data[i : i + 4] for i in (8, *range(16, min(length, len(data), 512) - 3, 4))]
    if any(brand in _AVIF for brand in brands):
        return False
    return any(brand in (*_HEIC, b"mif1", b"msf1") for brand in brands)


def coded_colours(data: bytes) -> tuple[int, int] | None:
    """Primaries and transfer (ITU-T H.273) that the main picture of an AVIF file has by its box.

    Returns:
        Two numbers of the standard; None where there is no such box.
    """
    meta = next((body for kind, body in _boxes(data) if kind == b"meta"), b"")
    inside = dict(_boxes(meta, 4))
    properties = dict(_boxes(inside.get(b"iprp", b"")))
    listed = list(_boxes(properties.get(b"ipco", b"")))
    try:
        main = _main_item(inside[b"pitm"])
        wanted = _properties_of(properties[b"ipma"], main)
    except (KeyError, struct.error):
        return None
    for number in wanted:
        if 1 <= number <= len(listed):
            kind, body = listed[number - 1]
            if kind == b"colr" and body[:4] == b"nclx" and len(body) >= 8:
                return struct.unpack_from(">HH", body, 4)
    return None


def jp2_info(data: bytes) -> Mapping[str, Any]:
    """What a JPEG 2000 file says beside its pixels.

    Returns:
        As Pillow calls it, where it is there: "icc_profile", "exif", "xmp"; "iptc" records; and
        "colour_space", a number of ISO/IEC 15444-1.
    """
    info: dict[str, Any] = {}
    if not data.startswith(_JP2_BEGIN):
        return info
    for kind, body in _boxes(data):
        if kind == b"uuid" and body[:16] in _UUIDS:
            info[_UUIDS[body[:16]]] = body[16:]
        for inner, colours in _boxes(body) if kind == b"jp2h" else ():
            if inner == b"colr" and colours[:1] in (b"\2", b"\3"):
                info["icc_profile"] = colours[3:]
            elif inner == b"colr" and colours[:1] == b"\1" and len(colours) >= 7:
                (info["colour_space"],) = struct.unpack_from(">I", colours, 3)
    return info


def jpeg2000_bits(data: bytes) -> int:
    """Bits of each number in a JPEG 2000 file; 8 where that cannot be found."""
    place = data.find(_CODESTREAM) + 42  # behind sizes and the number of channels
    return (data[place] & 127) + 1 if 42 <= place < len(data) else 8


def _boxes(data: bytes, place: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of the boxes that follow each other from a place on."""
    for _ in range(_MOST_BOXES):
        if place + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, place)
        start = place + 8
        if length == 1 and start + 8 <= len(data):
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = place + length if length else len(data)
        if end < start or end > len(data):
            return
        # Pixels may be large; nothing here looks into them.
        yield kind, b"" if kind in (b"mdat", b"jp2c") else data[start:end]
        place = end


def _main_item(pitm: bytes) -> int:
    return struct.unpack_from(">I" if pitm[:1] != b"\0" else ">H", pitm, 4)[0]


def _properties_of(ipma: bytes, item: int) -> list[int]:
    """Numbers, from 1 on, of the properties of an item."""
    version, flags = ipma[:1], ipma[3:4]
    (count,) = struct.unpack_from(">I", ipma, 4)
    place, id_form, form = 8, ">H" if version == b"\0" else ">I", ">H" if flags == b"\1" else ">B"
    id_size, size = struct.calcsize(id_form), struct.calcsize(form)
    for _ in range(min(count, _MOST_BOXES)):
        (found,) = struct.unpack_from(id_form, ipma, place)
        (own,) = struct.unpack_from(">B", ipma, place + id_size)
        place += id_size + 1
        if found == item:
            mask = 0x7FFF if size == 2 else 0x7F  # the first bit says whether it is essential
            values = [struct.unpack_from(form, ipma, place + size * i)[0] for i in range(own)]
            return [value & mask for value in values]
        place += size * own
    return []
