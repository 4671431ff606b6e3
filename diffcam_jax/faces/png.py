"""Chunks of PNG files: what lies beside the pixels, taken out and put in.

Chunks of text and profiles can be damaged, huge or bombs without harm to the pixels, so decoders of
pixels never see them: they get `bare`, and this module reads the rest within limits.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = 33  # signature and IHDR, which always comes first
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_BESIDE_PIXELS = (*_TEXTS, b"iCCP", b"eXIf")


class Chunk(NamedTuple):
    """A chunk of a PNG file.

    Attributes:
        kind: four letters.
        body: what it holds.
    """

    kind: bytes
    body: bytes


class Text(NamedTuple):
    """A chunk of text.

    Attributes:
        keyword: what the text is.
        text: as it is stored, decompressed; Latin-1 or, in iTXt, UTF-8.
        chunk: that holds it.
    """

    keyword: bytes
    text: bytes
    chunk: Chunk


def is_png(data: bytes) -> bool:
    """Whether a file begins as a PNG does."""
    return data.startswith(SIGNATURE)


def chunks(data: bytes) -> list[Chunk]:
    """The chunks of a PNG file other than its pixels, without those that are damaged.

    Args:
        data: content of the file, which may be cut off anywhere.
    """
    found = []
    for kind, start, end in _places(data):
        if kind not in (b"IDAT", b"fdAT") and end + 4 <= len(data):
            body = data[start:end]
            if struct.unpack_from(">I", data, end)[0] == zlib.crc32(kind + body):
                found.append(Chunk(kind, body))
    return found


def bare(data: bytes) -> bytes:
    """A PNG file without its texts, its colour profile and its EXIF data."""
    kept, done = [], 0
    for kind, start, end in _places(data):
        if kind in _BESIDE_PIXELS and end + 4 <= len(data):
            kept.append(data[done : start - 8])
            done = end + 4
    return b"".join([*kept, data[done:]]) if kept else data


def inserted(png: bytes, added: Sequence[Chunk]) -> bytes:
    """A PNG file with further chunks, which come right after its header.

    Args:
        png: the whole file.
        added: in the order in which they are to come.
    """
    written = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in added
    )
    return png[:_HEADER_END] + written + png[_HEADER_END:]


def inflated(data: bytes, limit: int) -> bytes | None:
    """What zlib has compressed; None where that is damaged or has more than `limit` bytes."""
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(data, limit + 1)
    except zlib.error:
        return None
    return found if stream.eof and len(found) <= limit else None


def profile(body: bytes, limit: int) -> bytes | None:
    """The colour profile in the body of an iCCP chunk; None where it cannot be used.

    Args:
        body: name, compression method and compressed profile.
        limit: largest number of bytes.
    """
    name, _, compressed = body.partition(b"\0")
    return inflated(compressed[1:], limit) if name and compressed[:1] == b"\0" else None


def profile_chunk(icc_profile: bytes) -> Chunk:
    """The iCCP chunk of a colour profile."""
    return Chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile))


def texts(found: Sequence[Chunk], limit: int) -> tuple[list[Text], bool]:
    """The texts among chunks.

    Args:
        found: chunks of a file.
        limit: largest number of bytes of all texts together, and of what is decompressed for them.

    Returns:
        The texts, and whether some are left out: because they are damaged, or beyond the limit.
    """
    read, complete = [], True
    for chunk in found:
        if chunk.kind not in _TEXTS:
            continue
        keyword, _, _ = chunk.body.partition(b"\0")
        text = _text(chunk, limit)
        if text is None or not 1 <= len(keyword) <= 79:
            complete = False
            # What was decompressed in vain counts: zlib makes at most 1032 bytes of one.
            limit = max(limit - 1032 * len(chunk.body), 0)
        else:
            limit -= len(text)
            read.append(Text(keyword, text, chunk))
    return read, not complete


def _text(chunk: Chunk, limit: int) -> bytes | None:
    _, null, rest = chunk.body.partition(b"\0")
    found = rest if null else None
    if chunk.kind == b"zTXt":
        found = inflated(rest[1:], limit) if rest[:1] == b"\0" else None
    elif chunk.kind == b"iTXt":
        parts = rest[2:].split(b"\0", 2)  # language, translated keyword and text
        found = parts[2] if len(parts) == 3 else None
        if found is not None and rest[:1] == b"\1":
            found = inflated(found, limit)
    return found if found is not None and len(found) <= limit else None


def raw_profile(stored: bytes) -> bytes:
    """The bytes of a "Raw profile type ..." text: a name, a length, and hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(stored.split()[2:]).decode("ascii"))
    except ValueError:
        return b""


def raw_profile_chunk(name: str, content: bytes) -> Chunk:
    """A "Raw profile type ..." text as ImageMagick and ExifTool write it, compressed."""
    digits = content.hex()
    lines = "\n".join(digits[i : i + 72] for i in range(0, len(digits), 72))
    written = f"\n{name}\n{len(content):8}\n{lines}\n".encode("ascii")
    return Chunk(b"zTXt", f"Raw profile type {name}\0\0".encode("ascii") + zlib.compress(written))


def transparent_colour(found: Sequence[Chunk], bits: int) -> tuple[int, ...] | None:
    """The grey value or colour that a PNG without alpha calls transparent.

    Args:
        found: its chunks.
        bits: of the decoded pixels, 8 or 16.

    Returns:
        One number for a grey picture or three for a colour one, in the range of the decoded
        pixels; None where there is none, or the picture has a palette.
    """
    kinds = {kind: body for kind, body in reversed(found)}
    header, stored = kinds.get(b"IHDR", b""), kinds.get(b"tRNS", b"")
    if len(header) != 13 or header[9] not in (0, 2) or len(stored) != (2, 6)[header[9] == 2]:
        return None
    most = 2 ** header[8] - 1
    numbers = struct.unpack(f">{len(stored) // 2}H", stored)
    # The specification takes the low bits of samples with fewer than 16.
    return tuple((number & most) * (2**bits - 1) // most for number in numbers)


def _places(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the body of each chunk up to the end of the picture or the file."""
    place = len(SIGNATURE)
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        yield kind, place + 8, place + 8 + length
        if kind == b"IEND":
            return
        place += 12 + length
