"""Files of pictures taken into pieces and put together again: see `structures`."""

import struct
import zlib

Pieces = list[bytes]


def split_png(data: bytes) -> Pieces:
    """The signature, then kind and body of each chunk."""
    pieces, place = [data[:8]], 8
    while place + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, place)
        pieces.append(data[place + 4 : place + 8 + size])
        place += 12 + size
    return pieces


def join_png(pieces: Pieces) -> bytes:
    """With lengths and checksums."""
    return pieces[0] + b"".join(
        struct.pack(">I", max(len(piece) - 4, 0)) + piece + struct.pack(">I", zlib.crc32(piece))
        for piece in pieces[1:]
    )


def split_jpeg(data: bytes) -> Pieces:
    """Kind and body of each segment, then the coded pixels."""
    pieces, place = [], 2
    while data[place] == 0xFF and data[place + 1] not in (0xDA, 0xD9):
        (size,) = struct.unpack_from(">H", data, place + 2)
        pieces.append(data[place + 1 : place + 2] + data[place + 4 : place + 2 + size])
        place += 2 + size
    return [*pieces, data[place:]]


def join_jpeg(pieces: Pieces) -> bytes:
    """With marks and lengths."""
    segments = (p[:1] + struct.pack(">H", min(len(p) + 1, 65535)) + p[1:] for p in pieces[:-1])
    return b"\xff\xd8" + b"".join(b"\xff" + s for s in segments) + pieces[-1]


def split_boxes(data: bytes) -> Pieces:
    """Kind and body of each box."""
    pieces, place = [], 0
    while place + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, place)
        end = place + size if size >= 8 else len(data)
        pieces.append(data[place + 4 : end])
        place = end
    return pieces


def join_boxes(pieces: Pieces) -> bytes:
    """With lengths."""
    return b"".join(struct.pack(">I", len(piece) + 4) + piece for piece in pieces)


def in_box(piece: bytes) -> tuple[str, int]:
    """Boxes within some boxes."""
    head = {b"meta": 8}.get(piece[:4], 4)
    return ("boxes", head) if piece[:4] in (b"meta", b"iprp", b"ipco", b"jp2h") else ("", 0)


def split_riff(data: bytes) -> Pieces:
    """The kind of file, then kind and body of each chunk."""
    pieces, place = [data[8:12]], 12
    while place + 8 <= len(data):
        (size,) = struct.unpack_from("<I", data, place + 4)
        pieces.append(data[place : place + 4] + data[place + 8 : place + 8 + size])
        place += 8 + size + size % 2
    return pieces


def join_riff(pieces: Pieces) -> bytes:
    """With lengths."""
    chunks = (p[:4] + struct.pack("<I", max(len(p) - 4, 0)) + p[4:] for p in pieces[1:])
    body = pieces[0] + b"".join(chunk + bytes(len(chunk) % 2) for chunk in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def split_tiff(data: bytes) -> Pieces:
    """The file without its first list of entries, then the entries."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        raise ValueError("no TIFF")
    (place,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, place)
    starts = range(place + 2, place + 2 + 12 * count, 12)
    return [data, *(data[start : start + 12] for start in starts)]


def join_tiff(pieces: Pieces) -> bytes:
    """The list is written anew behind everything; places in the file stay what they were."""
    data, entries = pieces[0], pieces[1:]
    order = ">" if data[:2] == b"MM" else "<"
    listed = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack(f"{order}I", len(data)) + data[8:] + listed
