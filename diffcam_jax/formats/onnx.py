"""The float32 constants of an ONNX file, read from the protobuf wire format without a library.

This is all that the one ONNX network of the store needs that is run in JAX (SFace); the `onnx`
package would be a dependency of several megabytes for it. Nodes, other types and data outside the
file are not read.

A protobuf message is a sequence of fields, each a key (number and wire type) with a value: a
varint, four or eight bytes, or a counted string of bytes, which may itself be a message.
"""

import math
from collections.abc import Iterator

import numpy as np

from diffcam_jax.errors import UserError

VARINT, FIXED64, COUNTED, FIXED32 = 0, 1, 2, 5
# A field takes a few bytes in a file and a hundred times that in memory; real networks have some
# thousands.
MOST_FIELDS = 500_000
MOST_AXES = 32
# Field numbers of onnx.proto.
_GRAPH, _INITIALIZER = 7, 5  # of ModelProto and GraphProto
_DIMS, _TYPE, _FLOATS, _NAME, _RAW = 1, 2, 4, 8, 9  # of TensorProto
_FLOAT = 1  # value of _TYPE


def read_onnx(data: bytes) -> dict[str, np.ndarray]:
    """Reads the constants (initializers) of an ONNX network.

    Args:
        data: the file's content.

    Returns:
        Name -> read-only float32 array.

    Raises:
        UserError: the content is damaged, is no ONNX network, or has constants of another type.
    """
    try:
        reader = _Reader()
        graphs = [value for number, value in reader.fields(memoryview(data)) if number == _GRAPH]
        if len(graphs) != 1:
            raise ValueError(f"{len(graphs)} graphs instead of one")
        graph = reader.fields(_bytes(graphs[0]))
        return dict(reader.tensor(_bytes(v)) for number, v in graph if number == _INITIALIZER)
    except ValueError as error:  # includes text that is not UTF-8
        raise UserError(f"not a readable ONNX network ({error}); get the file again") from error


class _Reader:
    def __init__(self) -> None:
        self._fields_left = MOST_FIELDS

    def fields(self, data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """(number, value) of every field of a message; the value is an int or bytes."""
        at = 0
        while at < len(data):
            self._fields_left -= 1
            if self._fields_left < 0:
                raise ValueError(f"more than {MOST_FIELDS} entries")
            key, at = _varint(data, at)
            number, wire = key >> 3, key & 7
            if wire == VARINT:
                value, at = _varint(data, at)
                yield number, value
                continue
            if wire == COUNTED:
                size, at = _varint(data, at)
            elif wire in (FIXED32, FIXED64):
                size = 4 if wire == FIXED32 else 8
            else:
                raise ValueError(f"wire type {wire}")
            if size > len(data) - at:
                raise ValueError("it ends in the middle of an entry")
            yield number, data[at : at + size]
            at += size

    def tensor(self, data: memoryview) -> tuple[str, np.ndarray]:
        """Name and content of a TensorProto."""
        name, shape, kind, content = "", [], 0, memoryview(b"")
        for number, value in self.fields(data):
            if number == _DIMS:
                shape.append(_integer(value))
            elif number == _TYPE:
                kind = _integer(value)
            elif number == _NAME:
                name = bytes(_bytes(value)).decode()
            elif number in (_FLOATS, _RAW):
                content = _bytes(value)
        if kind != _FLOAT:
            raise ValueError(f"{name!r} has the data type {kind}, only float32 is read")
        if len(shape) > MOST_AXES:  # their product would take long
            raise ValueError(f"{name!r} has {len(shape)} axes")
        array = np.frombuffer(content, "<f4")
        if math.prod(shape) != array.size:
            raise ValueError(f"{name!r} has {array.size} numbers, which is not a shape of {shape}")
        array.flags.writeable = False
        return name, array.reshape(shape)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it ends in the middle of a number")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
    raise ValueError("a number of more than ten bytes")


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number instead of bytes")
    return value


def _integer(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes instead of a number")
    return value
