"""EXIF data of photographs that are turned upright and edited.

EXIF data are a small TIFF file: lists of entries ("IFD") that name places in it. They are changed
where they stand and never written anew, so makers' notes, which count on their places, still hold.
What is damaged is left as it is; nothing outside the data is ever read.
"""

import struct
from collections.abc import Iterator, Sequence

from PIL import Image

ORIENTATION = 0x0112
_EXIF_IFD, _GPS_IFD, _INTEROPERABILITY_IFD = 0x8769, 0x8825, 0xA005
_WIDTHS, _HEIGHTS = (0x0100, 0xA002), (0x0101, 0xA003)
_COLOUR_SPACE, _INTEROPERABILITY_INDEX = 0xA001, 0x0001
_THUMBNAIL_PLACE, _THUMBNAIL_LENGTH = (0x0201, 0x0111), (0x0202, 0x0117)
_SHORT, _LONG = 3, 4
# Of a TIFF, whose other entries say how its own pixels are stored: description, maker, model,
# software, date, artist, computer, rating, copyright and the texts of Windows.
_OF_TIFF = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C)
_OF_TIFF += (0x4746, 0x4749, 0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F)


def corrected(exif: bytes, width: int, height: int, to_srgb: bool = False) -> bytes:
    """EXIF data for the upright pixels: without orientation, thumbnail and old size.

    Args:
        exif: as in a file, with or without "Exif" in front.
        width: of the upright pixels.
        height: of the upright pixels.
        to_srgb: whether the pixels were converted to sRGB.

    Returns:
        Beginning with the byte order, as PNG holds it; empty where the data are no EXIF data.
    """
    tree = _Tree(exif.removeprefix(b"Exif\0\0"))
    if not tree.sound:
        return b""
    tree.drop_thumbnail()
    for place in (tree.first, *tree.inner(tree.first, _EXIF_IFD)):
        tree.put(place, (ORIENTATION,), _SHORT, 1)
        tree.put(place, _WIDTHS, _LONG, width)
        tree.put(place, _HEIGHTS, _LONG, height)
        if to_srgb:
            tree.put(place, (_COLOUR_SPACE,), _SHORT, 1)
    return bytes(tree.data)


def is_adobe_rgb(exif: bytes) -> bool:
    """Whether EXIF data say that the pixels are Adobe RGB: uncalibrated, by the rules R03 of DCF.

    Some cameras write 2 for the colour space instead, which no standard knows.
    """
    tree = _Tree(exif.removeprefix(b"Exif\0\0"))
    for place in tree.inner(tree.first, _EXIF_IFD) if tree.sound else ():
        spaces = tree.values(place, (_COLOUR_SPACE,))
        if 2 in spaces:
            return True
        for rules in tree.inner(place, _INTEROPERABILITY_IFD) if 0xFFFF in spaces else ():
            for entry in tree.entries(rules, (_INTEROPERABILITY_INDEX,)):
                if tree.data[entry + 8 : entry + 11] == b"R03":
                    return True
    return False


def of_tiff(image: Image.Image) -> bytes:
    """EXIF data of a TIFF picture, whose own first entries hold them."""
    stored, exif = image.getexif(), Image.Exif()
    exif.endian = stored.endian
    for tag in _OF_TIFF:
        if tag in stored:
            exif[tag] = stored[tag]
    for tag in (_EXIF_IFD, _GPS_IFD):
        if inner := dict(stored.get_ifd(tag)):
            if inner.pop(_INTEROPERABILITY_IFD, None):
                inner[_INTEROPERABILITY_IFD] = dict(stored.get_ifd(_INTEROPERABILITY_IFD))
            exif[tag] = inner
    return exif.tobytes().removeprefix(b"Exif\0\0") if exif else b""


class _Tree:
    """EXIF data with their byte order.

    Args:
        exif: beginning with the byte order.
    """

    def __init__(self, exif: bytes) -> None:
        self.data = bytearray(exif)
        self._order = {b"II": "<", b"MM": ">"}.get(exif[:2], "")
        self.sound, self.first = False, 0
        if self._order and len(exif) >= 14 and self._number("H", 2) == 42:
            self.first = self._number("I", 4)
            self.sound = 8 <= self.first < len(exif) - 2

    def entries(self, place: int, tags: Sequence[int]) -> Iterator[int]:
        """Where the entries of these tags stand in the list at a place."""
        for i in range(self._count(place)):
            entry = place + 2 + 12 * i
            if self._number("H", entry) in tags:
                yield entry

    def values(self, place: int, tags: Sequence[int]) -> list[int]:
        """Numbers under these tags in the list at a place."""
        kinds = {_SHORT: "H", _LONG: "I"}
        return [
            self._number(kinds[kind], entry + 8)
            for entry in self.entries(place, tags)
            if (kind := self._number("H", entry + 2)) in kinds
        ]

    def inner(self, place: int, tag: int) -> list[int]:
        """The places of the lists that an entry of the list at a place names."""
        return [found for found in self.values(place, (tag,)) if found + 2 <= len(self.data)]

    def put(self, place: int, tags: Sequence[int], kind: int, value: int) -> None:
        """Replaces what is there under these tags by one number; nothing is added."""
        form = {_SHORT: "HIHxx", _LONG: "HII"}[kind]
        for entry in self.entries(place, tags):
            struct.pack_into(self._order + form, self.data, entry + 2, kind, 1, value)

    def drop_thumbnail(self) -> None:
        """Removes the second list, which is that of the thumbnail, and its picture."""
        end = self.first + 2 + 12 * self._count(self.first)
        if end + 4 > len(self.data):
            return
        second = self._number("I", end)
        self.data[end : end + 4] = bytes(4)
        if second + 2 > len(self.data):
            return
        starts = self.values(second, _THUMBNAIL_PLACE)
        lengths = self.values(second, _THUMBNAIL_LENGTH)
        self._clear(second, 2 + 12 * self._count(second) + 4)
        for start, length in zip(starts, lengths):
            self._clear(start, length)

    def _clear(self, start: int, length: int) -> None:
        """Removes what lies there, the head and the first list excepted; places stay."""
        end = min(start + length, len(self.data))
        first_end = self.first + 2 + 12 * self._count(self.first) + 4
        if start >= end or start < 8 or (start < first_end and end > self.first):
            return
        if end == len(self.data):
            del self.data[start:]
        else:
            self.data[start:end] = bytes(end - start)

    def _count(self, place: int) -> int:
        """How many entries of the list at a place lie in the data."""
        room = (len(self.data) - place - 2) // 12
        return min(self._number("H", place), room) if room >= 0 else 0

    def _number(self, kind: str, place: int) -> int:
        return struct.unpack_from(self._order + kind, self.data, place)[0]
