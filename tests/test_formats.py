"""Readers of foreign files: against what NumPy and pickle say.

And against files made to do harm.
"""

import io
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict

import ml_dtypes
import numpy as np
import pytest

from diffcam_jax.errors import UserError
from diffcam_jax.formats import read_numpy_pickle, read_openvino_ir, read_torch
from tests.damaged import count_refused

# OpenVINO IR


def ir(layers: str, head: str = '<?xml version="1.0"?>') -> bytes:
    return f'{head}<net name="n" version="10"><layers>{layers}</layers></net>'.encode()


def const(name: str, element_type: str, shape: str, offset: int, size: int) -> str:
    data = f'<data element_type="{element_type}" shape="{shape}" offset="{offset}" size="{size}"/>'
    port = '<output><port id="0" precision="FP32"><dim>1</dim></port></output>'
    return f'<layer id="1" name="{name}" type="Const" version="opset1">{data}{port}</layer>'


def test_ir_gives_the_constants_in_file_order():
    weight, axis, half = np.arange(6, dtype="<f4"), np.array(7, "<i8"), np.array([1.5], "<f2")
    blob = weight.tobytes() + axis.tobytes() + half.tobytes()
    other = (
        '<layer id="0" name="in" type="Parameter"><data shape="1, 512" element_type="f32"/></layer>'
    )
    layers = (
        const("axis", "i64", "", 24, 8)
        + other
        + const("w", "f32", "2, 3", 0, 24)
        + const("h", "f16", "1", 32, 2)
    )
    constants = read_openvino_ir(ir(layers), blob)
    assert [name for name, _ in constants] == ["axis", "w", "h"]
    assert [(array.shape, array.dtype.name) for _, array in constants] == [
        ((), "int64"),
        ((2, 3), "float32"),
        ((1,), "float16"),
    ]
    assert constants[0][1] == 7
    np.testing.assert_array_equal(constants[1][1], [[0, 1, 2], [3, 4, 5]])
    assert constants[2][1][0] == 1.5


@pytest.mark.parametrize(
    "layer",
    [
        const("w", "f32", "2, 3", 8, 24),  # beyond the end
        const("w", "f32", "2, 3", -4, 24),
        const("w", "f32", "2, 3", 0, 20),  # size and shape disagree
        const("w", "f32", "-2, -3", 0, 24),
        const("w", "f32", "100000, 100000, 100000", 0, 4 * 10**15),
        const("w", "u1", "2", 0, 24),
        const("w", "f32", "two", 0, 24),
    ],
)
def test_ir_refuses_constants_that_do_not_fit(layer):
    with pytest.raises(UserError, match="OpenVINO"):
        read_openvino_ir(ir(layer), bytes(24))


def test_ir_refuses_doctype_entities_and_rubbish():
    laughs = '<!DOCTYPE net [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
    with pytest.raises(UserError, match="document type"):
        read_openvino_ir(ir("&b;", laughs), b"")
    for rubbish in (b"", b"\x00\x01", b"<net>", b"<net/><net/>"):
        with pytest.raises(UserError, match="OpenVINO"):
            read_openvino_ir(rubbish, b"")


# Pickles of arrays

ARRAYS = {
    "f4": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">f4"),
    "no_axes": np.array(2.5),
    "scalar": np.float32(1.25),
    "empty": np.zeros((0, 4), np.uint8),
    "bool": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_pickle_of_any_protocol(protocol):
    tree = {
        "net": ARRAYS,
        "list": [1, 2.5, "text", None, (True, b"raw")],
        "shared": [ARRAYS["f4"], ARRAYS["f4"]],
    }
    read = read_numpy_pickle(pickle.dumps(tree, protocol))
    assert read["list"] == tree["list"]
    assert read["shared"][0] is read["shared"][1]
    assert read["net"].keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert read["net"][name].dtype == array.dtype
        np.testing.assert_array_equal(read["net"][name], array)


class Harm:
    """Unpickles to the result of a call."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("function", [os.system, eval, getattr, __import__, io.open, np.load])
def test_pickle_that_calls_functions_is_refused(tmp_path, function, protocol):
    mark = tmp_path / "mark"
    data = pickle.dumps({"a": Harm(function, f"touch {mark}")}, protocol)
    for read in (read_numpy_pickle, read_torch):
        with pytest.raises(UserError):
            read(data)
    assert not mark.exists()


def test_pickle_of_other_objects_is_refused():
    for thing in (
        types.SimpleNamespace(a=1),
        np.array([{}, 1], object),
        {1, 2},
        {(1, 2): 3},
        range(3),
    ):
        with pytest.raises(UserError, match="pickle of arrays"):
            read_numpy_pickle(pickle.dumps({"a": thing}))


def test_pickle_cannot_change_the_reader():
    # A name, then BUILD with {"mark": 1}, or with (None, {"mark": 1}): sets attributes on what the
    # name resolved to.
    for state in (b"}U\x04markK\x01s", b"(N}U\x04markK\x01st"):
        with pytest.raises(UserError, match="state for a"):
            read_numpy_pickle(b"\x80\x02ccollections\nOrderedDict\n" + state + b"b.")
    assert read_numpy_pickle(pickle.dumps(OrderedDict(a=1))) == {"a": 1}


def test_pickle_with_a_huge_memo_or_size_ends_at_once():
    for attack in (
        b"\x80\x04Nr\xff\xff\xff\xff.",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
        b"\x80\x05\x8e" + struct.pack("<Q", 1 << 40) + b".",
        b"(" * 100_000 + b"t" * 100_000 + b".",
    ):
        try:
            assert read_numpy_pickle(attack) in (None, b"")
        except UserError as error:
            assert "pickle of arrays" in str(error)


# PyTorch checkpoints, written by hand: torch is not needed


class FloatStorage:
    pass


class BFloat16Storage:
    pass


class LongStorage:
    pass


@pytest.fixture
def torch_names(monkeypatch):
    """The names that torch's pickles refer to, so that pickle can write them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for storage in (FloatStorage, BFloat16Storage, LongStorage):
        monkeypatch.setattr(storage, "__module__", "torch")
        setattr(torch, storage.__name__, storage)
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        function = types.FunctionType((lambda *_: None).__code__, {}, name)
        function.__module__, function.__qualname__ = "torch._utils", name
        setattr(utils, name, function)
    torch._utils = utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


class Stored:
    """A storage in a checkpoint."""

    def __init__(self, kind, key, array):
        self.kind, self.key, self.array = kind, key, array


def tensor(torch, storage, offset, shape, strides):
    return Harm(
        torch._utils._rebuild_tensor_v2, storage, offset, shape, strides, False, OrderedDict()
    )


def dump(tree, legacy: bool) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if isinstance(obj, Stored):
                pid = ("storage", obj.kind, obj.key, "cuda:0", obj.array.size)
                return (*pid, None) if legacy else pid
            return None

    file = io.BytesIO()
    Pickler(file, 2).dump(tree)
    return file.getvalue()


def zip_checkpoint(tree, storages, compression=zipfile.ZIP_STORED, byteorder=b"little") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("model/data.pkl", dump(tree, legacy=False))
        archive.writestr("model/byteorder", byteorder)
        for storage in storages:
            archive.writestr(f"model/data/{storage.key}", storage.array.tobytes())
    return file.getvalue()


def legacy_checkpoint(tree, storages) -> bytes:
    info = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    parts = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, info)]
    parts += [dump(tree, legacy=True), pickle.dumps([storage.key for storage in storages], 2)]
    parts += [
        struct.pack("<q", storage.array.size) + storage.array.tobytes() for storage in storages
    ]
    return b"".join(parts)


@pytest.fixture
def example(torch_names):
    """A checkpoint's tree, its storages, and the arrays it should give."""
    base = np.random.default_rng(0).standard_normal(24).astype(np.float32)
    brain = np.arange(4, dtype=np.float32).astype(ml_dtypes.bfloat16)
    first, second = Stored(FloatStorage, "0", base), Stored(BFloat16Storage, "1", brain)
    count = Stored(LongStorage, "2", np.array([7]))
    weight = tensor(torch_names, first, 0, (2, 3, 2), (6, 2, 1))
    state = OrderedDict(
        {
            "weight": weight,
            "transposed": tensor(torch_names, first, 12, (3, 4), (1, 3)),
            "parameter": Harm(torch_names._utils._rebuild_parameter, weight, True, OrderedDict()),
            "brain": tensor(torch_names, second, 1, (3,), (1,)),
            "count": tensor(torch_names, count, 0, (), ()),
            "none": tensor(torch_names, first, 0, (0, 5), (5, 1)),
        }
    )
    state._metadata = OrderedDict({"": {"version": 1}})
    expected = {
        "weight": base[:12].reshape(2, 3, 2),
        "transposed": base[12:].reshape(4, 3).T,
        "parameter": base[:12].reshape(2, 3, 2),
        "brain": brain[1:],
        "count": np.array(7),
        "none": np.zeros((0, 5), np.float32),
    }
    return {"state_dict": state, "epoch": 3, "name": "x"}, [first, second, count], expected


@pytest.mark.parametrize("write", [zip_checkpoint, legacy_checkpoint])
@pytest.mark.parametrize("as_path", [True, False])
def test_torch_checkpoint(tmp_path, example, write, as_path):
    tree, storages, expected = example
    source = write(tree, storages)
    if as_path:
        (tmp_path / "x.pt").write_bytes(source)
        source = tmp_path / "x.pt"
    read = read_torch(source)
    assert (read["epoch"], read["name"]) == (3, "x")
    assert read["state_dict"].keys() == expected.keys()
    for name, array in expected.items():
        assert read["state_dict"][name].dtype == array.dtype
        np.testing.assert_array_equal(read["state_dict"][name], array)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (5, 5), (5, 1)),  # 25 elements of 24
        (20, (5,), (1,)),
        (0, (4,), (8,)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2, 2), (1,)),
        (0, (1 << 40,), (0,)),
        (0, ("2",), (1,)),
    ],
)
def test_torch_tensor_outside_its_storage_is_refused(torch_names, offset, shape, strides):
    storage = Stored(FloatStorage, "0", np.zeros(24, np.float32))
    source = zip_checkpoint({"w": tensor(torch_names, storage, offset, shape, strides)}, [storage])
    with pytest.raises(UserError, match="PyTorch"):
        read_torch(source)


def test_torch_files_of_other_kinds_are_refused(tmp_path, example):
    tree, storages, _ = example
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("model/readme", "")
    sources = {
        "compressed": zip_checkpoint(tree, storages, zipfile.ZIP_DEFLATED),
        "big-endian": zip_checkpoint(tree, storages, byteorder=b"big"),
        "data.pkl": empty.getvalue(),
        "not a dict": zip_checkpoint([1, 2], []),
        "no item named": zip_checkpoint(tree, storages[:1]),
        "EOFError": b"",
        "checkpoint": b"PK\x03\x04 and no more",
    }
    for message, source in sources.items():
        with pytest.raises(UserError, match=message):
            read_torch(source)
    with pytest.raises(UserError, match="no PyTorch checkpoint at"):
        read_torch(tmp_path / "missing.pt")


@pytest.mark.parametrize("write", [zip_checkpoint, legacy_checkpoint])
def test_torch_damaged_files_never_end_in_another_error(example, write):
    tree, storages, _ = example
    good = write(tree, storages)
    assert count_refused(read_torch, good, seed=1, trials=150, cut=0.3) > 50
