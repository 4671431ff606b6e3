"""The ONNX reader on files built field by field, whole and damaged."""

import contextlib
import struct
import tracemalloc

import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.formats import onnx

RNG = np.random.default_rng(0)


def varint(value):
    out = b""
    value &= (1 << 64) - 1
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, content):
    """A varint for an int, a counted string for bytes and text."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name, array, dtype=1):
    dims = b"".join(field(1, size) for size in array.shape)
    return dims + field(2, dtype) + field(8, name) + field(9, array.tobytes())


def model(*parts):
    return field(1, 6) + field(2, "made for a test") + field(7, b"".join(parts))


WEIGHT = RNG.standard_normal((2, 3)).astype(np.float32)
SINGLE = varint(2 << 3 | 5) + struct.pack("<f", 0.5)
NODE = (
    field(1, "x")
    + field(1, "")
    + field(1, "w")
    + field(2, "y")
    + field(3, "a node")
    + field(4, "Conv")
    + field(5, field(1, "group") + field(3, 4) + field(20, 2))
    + field(5, field(1, "axis") + field(3, -1))
    + field(5, field(1, "epsilon") + SINGLE)
    + field(5, field(1, "mode") + field(4, "edge"))
    + field(5, field(1, "pads") + field(8, varint(1) + varint(-2)))
    + field(5, field(1, "strides") + field(8, 2) + field(8, 3))
    + field(5, field(1, "scales") + field(7, struct.pack("<2f", 1, 1.5)))
    + field(5, field(1, "names") + field(9, "a") + field(9, "b"))
    + field(5, field(1, "value") + field(5, tensor("", np.arange(3, dtype="<i8"), 7)))
)


def test_nodes_and_attributes():
    graph = onnx.read_onnx(
        model(field(2, "name"), field(1, NODE), field(5, tensor("w", WEIGHT)), field(11, b""))
    )
    (node,) = graph.nodes
    assert (node.op, node.inputs, node.outputs) == ("Conv", ("x", "", "w"), ("y",))
    np.testing.assert_array_equal(node.attributes.pop("value"), [0, 1, 2])
    assert node.attributes == {
        "group": 4,
        "axis": -1,
        "epsilon": 0.5,
        "mode": "edge",
        "pads": (1, -2),
        "strides": (2, 3),
        "scales": (1.0, 1.5),
        "names": ("a", "b"),
    }
    assert list(graph.constants) == ["w"]
    np.testing.assert_array_equal(graph.constants["w"], WEIGHT)


def test_the_ways_in_which_numbers_are_stored():
    half = np.array([1.5, -2], "<f2")
    stored = {
        "floats": field(1, 2) + field(2, 1) + field(4, struct.pack("<2f", 1, 2)),
        "doubles": field(1, 1) + field(2, 11) + field(10, struct.pack("<d", 0.1)),
        "single": field(1, 1) + field(2, 1) + varint(4 << 3 | 5) + struct.pack("<f", 3),
        "bytes": field(1, 2) + field(2, 3) + field(5, varint(-1) + varint(5)),
        "longs": field(1, varint(1) + varint(2))
        + field(2, 7)
        + field(7, varint(-(1 << 62)) + varint(7)),
        "half": field(1, 2)
        + field(2, 10)
        + field(5, b"".join(varint(int(v)) for v in half.view("<u2"))),
        "scalar": field(2, 1) + field(9, struct.pack("<f", 9)),
        "empty": field(1, 0) + field(2, 1),
    }
    graph = onnx.read_onnx(
        model(*(field(5, content + field(8, name)) for name, content in stored.items()))
    )
    found = {name: (array.dtype.str, array.tolist()) for name, array in graph.constants.items()}
    assert found == {
        "floats": ("<f4", [1, 2]),
        "doubles": ("<f8", [0.1]),
        "single": ("<f4", [3]),
        "bytes": ("|i1", [-1, 5]),
        "longs": ("<i8", [[-(1 << 62), 7]]),
        "half": ("<f2", [1.5, -2]),
        "scalar": ("<f4", 9),
        "empty": ("<f4", []),
    }
    with pytest.raises(ValueError, match="read-only"):
        graph.constants["floats"][0] = 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 graphs"),
        (b"<!DOCTYPE html><html>", "."),
        (model() + field(7, b""), "2 graphs"),
        (field(7, 3), "a number where bytes belong"),
        (model(field(1, field(5, field(3, b"x")))), "bytes where a number belongs"),
        (model(field(1, field(5, field(6, b"")))), "part of a graph"),
        (model(field(5, tensor("w", WEIGHT, 16))), "data type 16"),
        (model(field(5, tensor("w", WEIGHT) + field(14, 1))), "another file"),
        (model(field(5, field(1, 1 << 40) + field(2, 1) + field(8, "w"))), "0 numbers"),
        (model(field(5, field(1, 0) + field(1, 1 << 62) * 2 + field(2, 1))), "."),
        (model(field(5, field(1, 1) * 1000 + field(2, 1))), "1000 axes"),
        (model(field(5, field(1, -1) + field(1, -6) + tensor("w", WEIGHT.reshape(-1)))), "shape"),
        (model(field(1, field(4, b"\xff\xfe"))), "."),
        (b"\xff" * 20, "ten bytes"),
        (b"\x0b\x0c", "wire type 3"),
        (model(field(5, field(1, 1) + field(2, 1) + field(9, b"\0\0\0"))), "."),
    ],
)
def test_bad_files_are_refused_with_one_line(data, message):
    with pytest.raises(UserError, match=message) as caught:
        onnx.read_onnx(data)
    assert "get the file again" in str(caught.value)


def test_a_truncated_or_changed_file_never_ends_in_another_exception():
    whole = model(field(1, NODE), field(5, tensor("w", WEIGHT)))
    for size in range(len(whole)):
        with pytest.raises(UserError):
            onnx.read_onnx(whole[:size])
    for place, value in zip(
        RNG.integers(0, len(whole), 500), RNG.integers(0, 256, 500), strict=True
    ):
        changed = bytearray(whole)
        changed[place] = value
        with contextlib.suppress(UserError):
            onnx.read_onnx(bytes(changed))


def test_many_tiny_entries_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(onnx, "MOST_FIELDS", 1000)
    for data in (
        model(b"\x0a\x00" * 100_000),
        model(field(1, field(5, field(8, b"\x01" * 100_000)))),
    ):
        tracemalloc.start()
        with pytest.raises(UserError, match="more than 1000 entries"):
            onnx.read_onnx(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000
