"""Files taken into pieces and put together again, so that a changed piece reaches the reader.

Lengths, checksums and directories are made anew: a file with a wrong one would be refused at its
door. What is in a piece may itself have a structure (a pickle in an archive, say).
"""

import contextlib
import io
import json
import pickletools
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tests.hostile.mutations import changed
from tests.hostile.pieces import (
    Pieces,
    in_box,
    join_boxes,
    join_jpeg,
    join_png,
    join_riff,
    join_tiff,
    split_boxes,
    split_jpeg,
    split_png,
    split_riff,
    split_tiff,
)


class Structure(NamedTuple):
    """How files of a kind are made of pieces.

    Attributes:
        split: pieces of a file; may raise any exception for a file of another kind.
        join: a file of pieces.
        pool: pieces that are worth trying anywhere.
        inner: names the structure of what is in a piece, and its head that is no part of that.
        keyed: whether a piece of the pool takes the place of what is behind such a head only.
    """

    split: Callable[[bytes], Pieces]
    join: Callable[[Pieces], bytes]
    pool: Pieces = []
    inner: Callable[[bytes], tuple[str, int]] = lambda piece: ("", 0)
    keyed: bool = False


def mutated(
    rng: random.Random, data: bytes, kind: str, others: Sequence[bytes], drawn: Sequence[bytes] = ()
) -> bytes:
    """A file of the same structure with one to four pieces changed.

    Args:
        rng: decides what is changed.
        data: a file.
        kind: a name of `STRUCTURES`.
        others: further files, whose pieces may be taken over.
        drawn: pieces made for this change.
    """
    form = STRUCTURES[kind]
    try:
        pieces = form.split(data)
    except Exception:  # a file that was changed before may have lost its structure
        return changed(rng, data, others)
    pool = [*form.pool, *drawn, *drawn, *drawn]
    with contextlib.suppress(Exception):
        pool += form.split(rng.choice(others)) if others else []
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randrange(len(pieces)) if pieces else 0
        act = rng.choice(("change", "change", "change", "replace", "drop", "repeat", "insert"))
        if act in ("replace", "insert") and pool and form.keyed and pieces:
            _, head = form.inner(pieces[place])
            pieces[place] = pieces[place][:head] + rng.choice(pool)
        elif act in ("replace", "insert") and pool:
            pieces[place : place + (act == "replace")] = [rng.choice(pool)]
        elif act == "change" and pieces:
            pieces[place] = _changed_piece(rng, pieces[place], form)
        elif act == "drop":
            del pieces[place : place + 1]
        elif act == "repeat" and pieces:
            other = rng.randrange(len(pieces) + 1)
            times = rng.choice((1, 1, 3, 200)) if len(pieces[place]) < 1000 else 1
            pieces[other:other] = [pieces[place]] * times
    with contextlib.suppress(Exception):
        return form.join(pieces)
    return changed(rng, data, others)


def _changed_piece(rng: random.Random, piece: bytes, form: Structure) -> bytes:
    kind, head = form.inner(piece)
    if not kind or rng.random() < 0.2:
        return changed(rng, piece)
    return piece[:head] + mutated(rng, piece[head:], kind, ())


# ---------------------------------------------------------------- text, numbers and arrays

_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\w.+-]+|\s+|[^\w\s]', re.S)


def _split_text(data: bytes) -> Pieces:
    return _TOKENS.findall(data)


def _split_json(data: bytes) -> Pieces:
    """Of every value its place, and its text; of a container the bracket that begins it."""
    pieces = []

    def walk(value: Any, place: list[str | int]) -> None:
        named = isinstance(value, dict)
        pieces.append(f"{json.dumps(place)}\t{'{' if named else '['}".encode())
        for key, item in value.items() if named else enumerate(value):
            if item and isinstance(item, dict | list):
                walk(item, [*place, key])
            else:
                pieces.append(f"{json.dumps([*place, key])}\t{json.dumps(item)}".encode())

    tree = json.loads(data)
    if not isinstance(tree, dict | list):
        raise ValueError("neither an object nor a list")
    walk(tree, [])
    return pieces


def _join_json(pieces: Pieces) -> bytes:
    """Text of all values whose place is still there; a value may be any text."""
    inside: dict[tuple, tuple[bytes, list[tuple[Any, Any]]]] = {}
    for piece in pieces:
        place, _, text = piece.partition(b"\t")
        with contextlib.suppress(ValueError, TypeError):
            *parents, last = json.loads(place) or [None]
            value: Any = text
            if text in (b"{", b"["):
                key = (*parents, last) if last is not None else ()
                value = inside[key] = text, []
            if tuple(parents) in inside and last is not None:
                inside[tuple(parents)][1].append((last, value))

    def written(value: Any) -> bytes:
        if isinstance(value, bytes):
            return value
        begin, items = value
        named = begin == b"{"
        names = [f"{json.dumps(str(key))}: ".encode() if named else b"" for key, _ in items]
        parts = [name + written(value) for name, (_, value) in zip(names, items)]
        return begin + b", ".join(parts) + (b"}" if named else b"]")

    return written(inside.get((), b"null"))


def _split_safetensors(data: bytes) -> Pieces:
    (size,) = struct.unpack_from("<Q", data)
    return [data[8 : 8 + size], data[8 + size :]]


def _join_safetensors(pieces: Pieces) -> bytes:
    header, rest = (*pieces, b"", b"")[:2]
    return struct.pack("<Q", len(header)) + header + rest


def _split_npy(data: bytes) -> Pieces:
    (size,) = struct.unpack_from("<H", data, 8)
    return [data[:8], *_split_text(data[10 : 10 + size]), data[10 + size :]]


def _join_npy(pieces: Pieces) -> bytes:
    header = b"".join(pieces[1:-1])
    return pieces[0] + struct.pack("<H", len(header) % 65536) + header + pieces[-1]


def _split_pickle(data: bytes) -> Pieces:
    places = []
    with contextlib.suppress(Exception):  # what follows the first pickle is one last piece
        places = [place for _, _, place in pickletools.genops(data) if place is not None]
    ends = [*places[1:], len(data)]
    return [data[start:end] for start, end in zip(places, ends)] or [data]


def _split_protobuf(data: bytes) -> Pieces:
    pieces, place = [], 0
    while place < len(data):
        start = place
        key, place = _varint(data, place)
        size = {0: 0, 1: 8, 5: 4}.get(key & 7)
        if size is None or key & 7 == 0:
            size, place = _varint(data, place) if key & 7 == 2 else (0, _varint(data, place)[1])
        place += size
        pieces.append(data[start:place])
    return pieces


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        value |= (data[place] & 127) << shift
        place, shift = place + 1, shift + 7
        if data[place - 1] < 128:
            return value, place


# ---------------------------------------------------------------- archives


def _split_zip(data: bytes) -> Pieces:
    """Of every member: whether it is compressed, its name, and its content behind a zero."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [
            bytes([int(entry.compress_type > 0)]) + entry.filename.encode() + b"\0" + content
            for entry in archive.infolist()
            for content in (archive.read(entry),)
        ]


def _join_zip(pieces: Pieces) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for piece in pieces:
            name, _, content = piece[1:].partition(b"\0")
            entry = zipfile.ZipInfo(name.decode("utf-8", "replace") or "x")
            entry.compress_type = zipfile.ZIP_DEFLATED if piece[:1] == b"\1" else zipfile.ZIP_STORED
            with archive.open(entry, "w") as member:
                member.write(content)
    return held.getvalue()


def _in_zip(piece: bytes) -> tuple[str, int]:
    name, _, _ = piece[1:].partition(b"\0")
    kinds = {b"npy": "npy", b"pkl": "pickle", b"png": "png", b"son": "text"}
    return kinds.get(name[-3:], ""), len(name) + 2


def _after_tab(piece: bytes) -> tuple[str, int]:
    return "text", piece.find(b"\t") + 1


def _in_safetensors(piece: bytes) -> tuple[str, int]:
    return ("json", 0) if piece[:1] == b"{" else ("", 0)


_VALUES = [
    *(b"null", b"true", b"-1", b"0", b"1", b"1e999", b"NaN", b"-Infinity", b"0.5", b'""', b'"x"'),
    *(b"[]", b"{}", b"[[]]", b'{"a": 1}', b"9" * 400, b"9" * 5000, b"1" + b"0" * 18, b"1048576"),
    *(b"[" * 100_000, b'{"a":' * 20_000, b'"\\ud800"', b'"\\u0000"', b"\xff", b'"../../x"'),
    *(b"/etc/passwd", b'"/"', b"\x1b[2J", b"\r\n", b"\n", b",", b"4294967296", b"(1, 2)", b"True"),
]
_OPCODES = [
    *(b"N", b"K\x01", b"]", b"}", b")", b"(", b"t", b"u", b"b", b"R", b"\x81", b"a", b"s", b"e"),
    *(b"0", b"2", b"\x94", b"h\0", b"q\0", b"j\0\0\0\0", b".", b"Q", b"\x90", b"\x91", b"\x92"),
    *(b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nFloatStorage\n", b"cnumpy\ndtype\n"),
    *(b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"X\1\0\0\0a"),
    *(b"cnumpy.core.multiarray\nscalar\n", b"cnumpy.core.numeric\n_frombuffer\n", b"}b", b")R"),
    *(b"\x8a\x08\0\0\0\0\0\0\0\x7f", b"I99999999999999999999\n", b"F1e400\n", b"G\x7f\xf0" * 3),
    *(b"r\xff\xff\xff\xff", b"\x95" + b"\xff" * 8, b"\x8e" + b"\xff" * 8, b"(" * 2000, b"]" * 2000),
]
_CHUNKS = [
    b"IHDR" + struct.pack(">IIBBBBB", 60_000, 2_000, 16, 6, 0, 0, 0),
    b"IHDR" + struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 1),
    *(b"tRNS\0\0\0\0\0\0", b"PLTE" + bytes(768), b"acTL\0\0\0\2\0\0\0\0", b"IEND", b"gAMA\0\0\0\0"),
    *(b"eXIfII*\0\x08\0\0\0\xff\xff", b"iCCPx\0\0" + zlib.compress(bytes(200)), b"zTXtx\0\0x"),
    b"zTXtx\0\0" + zlib.compress(bytes(1 << 22)),
]
STRUCTURES = {
    "png": Structure(split_png, join_png, _CHUNKS),
    "jpeg": Structure(split_jpeg, join_jpeg),
    "boxes": Structure(split_boxes, join_boxes, inner=in_box),
    "riff": Structure(split_riff, join_riff),
    "tiff": Structure(split_tiff, join_tiff),
    "text": Structure(_split_text, b"".join, _VALUES),
    "json": Structure(_split_json, _join_json, _VALUES, _after_tab, keyed=True),
    "safetensors": Structure(_split_safetensors, _join_safetensors, inner=_in_safetensors),
    "npy": Structure(_split_npy, _join_npy, _VALUES),
    "pickle": Structure(_split_pickle, b"".join, _OPCODES),
    "protobuf": Structure(_split_protobuf, b"".join),
    "zip": Structure(_split_zip, _join_zip, inner=_in_zip),
}
