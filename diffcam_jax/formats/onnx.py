"""ONNX files: the graph's nodes and its constants, read from the protobuf wire format without any
of its libraries.

A protobuf message is a sequence of fields, each a key (number and wire type) with a value: a
varint, four or eight bytes, or a counted string of bytes, which may be a message of its own. Only
what describes a network is read: no training information, no sub-graphs, no data outside the file.
"""

import math
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from diffcam_jax.errors import UserError

VARINT, FIXED64, COUNTED, FIXED32 = 0, 1, 2, 5
# A field takes a few bytes in a file and a hundred times that once read; real networks have some
# thousands.
MOST_FIELDS = 500_000
MOST_AXES = 32
_DTYPES = {1: "<f4", 2: "u1", 3: "i1", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}


class Node(NamedTuple):
    """One operation.

    Attributes:
      op: its type, "Conv" for instance.
      inputs: names of the values that it takes; an empty name stands for an optional one that is
        left out.
      outputs: names of the values that it makes.
      attributes: name -> int, float, str, array, or a tuple of ints, floats or strings.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


class Graph(NamedTuple):
    """A network: nodes in the order of the file, and its constants (read-only arrays) by name."""

    nodes: tuple[Node, ...]
    constants: dict[str, np.ndarray]


def read_onnx(data: bytes) -> Graph:
    """Reads an ONNX network.

    Args:
      data: the file's content.

    Returns: its nodes and constants.

    Raises:
      UserError: damaged, no ONNX file, or one that needs more than nodes, attributes and constants
        inside the file.
    """
    try:
        return _Reader().model(memoryview(data))
    except (ValueError, UnicodeDecodeError, struct.error) as error:
        raise UserError(f"not a readable ONNX network ({error}); get the file again") from error


class _Reader:
    def __init__(self) -> None:
        self._fields_left = MOST_FIELDS

    def _spend(self) -> None:
        self._fields_left -= 1
        if self._fields_left < 0:
            raise ValueError(f"more than {MOST_FIELDS} entries")

    def _varint(self, data: memoryview, at: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= len(data):
                raise ValueError("it ends in the middle of a number")
            value |= (data[at] & 0x7F) << shift
            at += 1
            if data[at - 1] < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at
        raise ValueError("a number of more than ten bytes")

    def _fields(self, data: memoryview) -> Iterator[tuple[int, int, Any]]:
        """(number, wire type, value) of every field of a message.

        The value an int for varints, bytes otherwise.
        """
        at = 0
        while at < len(data):
            self._spend()
            key, at = self._varint(data, at)
            number, wire = key >> 3, key & 7
            if wire == VARINT:
                value, at = self._varint(data, at)
                yield number, wire, value
                continue
            if wire == COUNTED:
                size, at = self._varint(data, at)
            elif wire in (FIXED32, FIXED64):
                size = 4 if wire == FIXED32 else 8
            else:
                raise ValueError(f"wire type {wire}")
            if size > len(data) - at:
                raise ValueError("it ends in the middle of an entry")
            yield number, wire, data[at : at + size]
            at += size

    def _numbers(self, wire: int, value: Any) -> Iterator[int]:
        """Integers of a repeated field, packed or not, as signed ones."""
        if wire == VARINT:
            yield _signed(value)
            return
        at, data = 0, _bytes(value)
        while at < len(data):
            self._spend()
            number, at = self._varint(data, at)
            yield _signed(number)

    def model(self, data: memoryview) -> Graph:
        graphs = [value for number, _, value in self._fields(data) if number == 7]
        if len(graphs) != 1:
            raise ValueError(f"{len(graphs)} graphs instead of one")
        nodes, constants = [], {}
        for number, _, value in self._fields(_bytes(graphs[0])):
            if number == 1:
                nodes.append(self._node(_bytes(value)))
            elif number == 5:
                name, array = self._tensor(_bytes(value))
                constants[name] = array
        return Graph(tuple(nodes), constants)

    def _node(self, data: memoryview) -> Node:
        op, names, attributes = "", {1: [], 2: []}, {}
        for number, _, value in self._fields(data):
            if number in names:
                names[number].append(_text(value))
            elif number == 4:
                op = _text(value)
            elif number == 5:
                name, content = self._attribute(_bytes(value))
                attributes[name] = content
        return Node(op, tuple(names[1]), tuple(names[2]), attributes)

    def _attribute(self, data: memoryview) -> tuple[str, Any]:
        name, single, many = "", None, []
        for number, wire, value in self._fields(data):
            if number == 1:
                name = _text(value)
            elif number == 2:
                single = struct.unpack("<f", _bytes(value))[0]
            elif number == 3:
                single = _signed(value)
            elif number == 4:
                single = _text(value)
            elif number == 5:
                single = self._tensor(_bytes(value))[1]
            elif number == 7:
                many.extend(np.frombuffer(_bytes(value), "<f4").tolist())
            elif number == 8:
                many.extend(self._numbers(wire, value))
            elif number == 9:
                many.append(_text(value))
            elif number in (6, 10, 11):
                raise ValueError(f"attribute {name!r} holds a part of a graph")
        return name, single if single is not None else tuple(many)

    def _tensor(self, data: memoryview) -> tuple[str, np.ndarray]:
        name, shape, dtype, raw, integers, parts = "", [], 0, None, [], []
        for number, wire, value in self._fields(data):
            if number == 1:
                shape.extend(self._numbers(wire, value))
            elif number == 2:
                dtype = value
            elif number == 8:
                name = _text(value)
            elif number == 9:
                raw = _bytes(value)
            elif number in (4, 10):
                parts.append(bytes(_bytes(value)))
            elif number in (5, 7):
                integers.extend(self._numbers(wire, value))
            elif number in (13, 14) and value:
                raise ValueError(f"the numbers of {name!r} lie in another file")
        if dtype not in _DTYPES:
            raise ValueError(f"{name!r} has the data type {dtype}")
        kind = np.dtype(_DTYPES[dtype])
        if raw is None and parts:
            raw = b"".join(parts)
        if raw is not None:
            array = np.frombuffer(raw, kind)
        elif kind == "<f2":  # given as the integers of their bits
            array = np.array(integers, "<i8").astype("<u2").view(kind)
        else:
            array = np.array(integers, "<i8").astype(kind)
        if len(shape) > MOST_AXES:  # their product would take long
            raise ValueError(f"{name!r} has {len(shape)} axes")
        if any(size < 0 for size in shape) or math.prod(shape) != array.size:
            raise ValueError(f"{name!r} has {array.size} numbers, which is not a shape of {shape}")
        array.flags.writeable = False
        return name, array.reshape(shape)


def _bytes(value: Any) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where bytes belong")
    return value


def _text(value: Any) -> str:
    return bytes(_bytes(value)).decode()


def _signed(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes where a number belongs")
    return value - (1 << 64) if value >> 63 else value
