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
WHOLE = model(
    field(2, "name"),
    field(1, field(1, "x") + field(1, "w") + field(2, "y") + field(4, "Conv")),
    field(5, tensor("w", WEIGHT)),
    field(11, b""),
)


def test_the_constants_of_a_graph():
    constants = onnx.read_onnx(WHOLE)
    assert list(constants) == ["w"] and constants["w"].dtype == np.float32
    np.testing.assert_array_equal(constants["w"], WEIGHT)


def test_the_ways_in_which_floats_are_stored():
    stored = {
        "packed": field(1, 2) + field(2, 1) + field(4, struct.pack("<2f", 1, 2)),
        "matrix": field(1, 2) + field(1, 1) + field(2, 1) + field(9, struct.pack("<2f", 1, 2)),
        "single": field(1, 1) + field(2, 1) + varint(4 << 3 | 5) + struct.pack("<f", 3),
        "scalar": field(2, 1) + field(9, struct.pack("<f", 9)),
        "empty": field(1, 0) + field(2, 1),
    }
    constants = onnx.read_onnx(
        model(*(field(5, content + field(8, name)) for name, content in stored.items()))
    )
    assert {name: array.tolist() for name, array in constants.items()} == {
        "packed": [1, 2],
        "matrix": [[1], [2]],
        "single": [3],
        "scalar": 9,
        "empty": [],
    }
    with pytest.raises(ValueError, match="read-only"):
        constants["packed"][0] = 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 graphs"),
        (b"<!DOCTYPE html><html>", "."),
        (model() + field(7, b""), "2 graphs"),
        (field(7, 3), "a number instead of bytes"),
        (model(field(5, field(1, b"x"))), "bytes instead of a number"),
        (model(field(5, tensor("w", WEIGHT, 7))), "data type 7"),
        # Data in another file: no bytes here.
        (model(field(5, field(1, 6) + field(2, 1) + field(13, b"") + field(14, 1))), "0 numbers"),
        (model(field(5, field(1, 1 << 40) + field(2, 1) + field(8, "w"))), "0 numbers"),
        (model(field(5, field(1, 0) + field(1, 1 << 62) * 2 + field(2, 1))), "."),
        (model(field(5, field(1, 1) * 1000 + field(2, 1))), "1000 axes"),
        (model(field(5, field(1, -1) + field(1, -6) + tensor("w", WEIGHT.reshape(-1)))), "shape"),
        (model(field(5, field(2, 1) + field(8, b"\xff\xfe"))), "utf-8"),
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
    for size in range(len(WHOLE)):
        with pytest.raises(UserError):
            onnx.read_onnx(WHOLE[:size])
    places = RNG.integers(0, len(WHOLE), 500)
    for place, value in zip(places, RNG.integers(0, 256, 500), strict=True):
        changed = bytearray(WHOLE)
        changed[place] = value
        with contextlib.suppress(UserError):
            onnx.read_onnx(bytes(changed))


def test_many_tiny_entries_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(onnx, "MOST_FIELDS", 1000)
    for data in (
        model(b"\x0a\x00" * 100_000),
        model(field(5, b"\x08\x01" * 100_000)),
    ):
        tracemalloc.start()
        with pytest.raises(UserError, match="more than 1000 entries"):
            onnx.read_onnx(data)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000
