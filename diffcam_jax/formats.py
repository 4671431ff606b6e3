"""Readers for the files that pretrained parts come in, written so that a hostile file cannot run code or fill the memory.

OpenVINO IR (an XML graph beside one file of constants), PyTorch checkpoints (zip and legacy layout) and pickles of NumPy arrays.
All return NumPy arrays as stored: no change of layout, names or range. Nothing here imports torch or OpenVINO.
"""

import io
import math
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.parsers import expat

import ml_dtypes
import numpy as np

from diffcam_jax.errors import UserError

_IR_DTYPES = {
    "f64": "<f8", "f32": "<f4", "f16": "<f2", "i64": "<i8", "i32": "<i4", "i16": "<i2", "i8": "i1", "u8": "u1", "boolean": "?",
}  # fmt: skip

_TORCH_STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?", "BFloat16Storage": ml_dtypes.bfloat16,
}  # fmt: skip

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read_openvino_ir(xml_bytes: bytes, bin_bytes: bytes) -> list[tuple[str, np.ndarray]]:
    """The constants of an OpenVINO IR network.

    Args:
      xml_bytes: the graph, version 10 or 11. A document type is refused, so there are no entities to expand.
      bin_bytes: the constants it points into.

    Returns: (layer name, read-only array) of every Const layer in file order. Names may repeat.

    Raises:
      UserError: not such a file, or a constant that does not fit into `bin_bytes`.
    """
    constants: list[tuple[str, np.ndarray]] = []
    layer: dict[str, str] = {}

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal layer
        if tag == "layer":
            layer = attributes
        elif tag == "data" and layer.get("type") == "Const":
            constants.append((layer["name"], _ir_constant(attributes, bin_bytes)))

    def refuse_doctype(*_) -> None:
        raise UserError("the network's XML declares a document type, which OpenVINO never writes; get the file again")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse_doctype
    try:
        parser.Parse(xml_bytes, True)
    except (expat.ExpatError, KeyError, ValueError) as error:
        raise UserError(f"not a readable OpenVINO network ({error}); get the .xml and .bin files again") from error
    return constants


def _ir_constant(attributes: dict[str, str], bin_bytes: bytes) -> np.ndarray:
    shape = [int(size) for size in attributes["shape"].split(",") if size.strip()]
    dtype = np.dtype(_IR_DTYPES[attributes["element_type"]])
    offset, size = int(attributes["offset"]), int(attributes["size"])
    if min([offset, *shape]) < 0 or size != math.prod(shape) * dtype.itemsize or offset + size > len(bin_bytes):
        raise ValueError(f"constant of {size} bytes at {offset} with shape {shape} in {len(bin_bytes)} bytes")
    return np.frombuffer(bin_bytes, dtype, math.prod(shape), offset).reshape(shape)


def read_numpy_pickle(data: bytes) -> Any:
    """Read a pickle of dicts, lists, tuples, strings, numbers and NumPy arrays.

    Args:
      data: the file's content.

    Returns: the same tree with read-only arrays.

    Raises:
      UserError: damaged, or it holds anything else.
    """
    try:
        return _resolve(_ArrayUnpickler(io.BytesIO(data)).load(), {})
    except Exception as error:  # a damaged pickle can end in nearly any exception
        raise UserError(f"not a readable pickle of arrays ({error}); get the file again") from error


def read_torch(source: str | os.PathLike | bytes) -> dict[str, Any]:
    """Read a PyTorch checkpoint without torch.

    Args:
      source: the path of the file, or its content. Both of torch's layouts are read.

    Returns: the checkpoint's dict with tensors as read-only NumPy arrays (parameters, too); for a state dict that is
      parameter name -> array.

    Raises:
      UserError: missing, damaged, or it holds anything but containers, numbers, text, tensors and arrays.
    """
    name = "the checkpoint" if isinstance(source, bytes) else str(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise UserError(f"no checkpoint at {name}; check the path")
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")
        with file:
            zipped = zipfile.is_zipfile(file)
            file.seek(0)
            tree = _read_torch_zip(file) if zipped else _read_torch_legacy(file)
            if not isinstance(tree, dict):
                raise ValueError(f"it holds a {type(tree).__name__}, not a dict of tensors")
            return tree
    except Exception as error:  # a damaged pickle can end in nearly any exception
        raise UserError(f"{name} is not a readable PyTorch checkpoint ({error}); get it again") from error


def _read_torch_zip(file) -> Any:
    with zipfile.ZipFile(file) as archive:
        # torch stores without compression; holding it to that keeps what is read within the size of the file.
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise ValueError("its archive is compressed, which torch never does")
        pickles = [info for info in archive.namelist() if info.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it has no data.pkl, or several")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")

        def read(storage: _Storage) -> np.ndarray:
            return np.frombuffer(archive.read(f"{root}data/{storage.key}"), storage.dtype, storage.count)

        unpickler = _ArrayUnpickler(io.BytesIO(archive.read(pickles[0])))
        tree = unpickler.load()
        for storage in unpickler.storages.values():
            storage.array = read(storage)
        return _resolve(tree, {})


def _read_torch_legacy(file) -> Any:
    if _ArrayUnpickler(file).load() != _LEGACY_MAGIC or _ArrayUnpickler(file).load() != 1001:
        raise ValueError("neither of torch's file layouts")
    if not _ArrayUnpickler(file).load()["little_endian"]:
        raise ValueError("it was written on a big-endian machine")
    unpickler = _ArrayUnpickler(file)
    tree = unpickler.load()
    for key in _ArrayUnpickler(file).load():
        storage = unpickler.storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        if count != storage.count:
            raise ValueError(f"storage of {count} elements where {storage.count} were announced")
        storage.array = np.frombuffer(file.read(count * storage.dtype.itemsize), storage.dtype, count)
    return _resolve(tree, {})


class _Opaque:
    """An object in a pickle that stands for data to come; a pickle cannot reach inside it."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"state for a {type(self).__name__}")


class _Storage(_Opaque):
    def __init__(self, dtype: np.dtype, key: str, count: int):
        self.dtype, self.key, self.count = dtype, key, count
        self.array: np.ndarray | None = None


class _Tensor(_Opaque):
    def __init__(self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def resolve(self) -> np.ndarray:
        if not isinstance(self.storage, _Storage) or self.storage.array is None:
            raise ValueError("a tensor without its storage")
        numbers = (self.offset, *self.shape, *self.strides)
        if not all(isinstance(number, int) and number >= 0 for number in numbers) or len(self.shape) != len(self.strides):
            raise ValueError(f"a tensor of shape {self.shape}, strides {self.strides}")
        count, array = math.prod(self.shape), self.storage.array
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))
        if count > array.size or (count and last >= array.size):
            raise ValueError(f"a tensor of shape {self.shape}, strides {self.strides} in {array.size} elements")
        if not count:
            return np.zeros(self.shape, array.dtype)
        strides = [step * array.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(array[self.offset :], self.shape, strides, writeable=False)


class _Dtype:
    def __init__(self, code: str):
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "biufc":
            raise pickle.UnpicklingError(f"array of {self.dtype}")

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    def __init__(self):
        self.array: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        flat = np.frombuffer(content, dtype.dtype)
        self.array = flat.reshape(shape, order="F" if fortran else "C")

    def resolve(self) -> np.ndarray:
        if self.array is None:
            raise ValueError("an array without content")
        return self.array


class _Dict(dict):
    def __setstate__(self, state: Any) -> None:
        """Drop the version notes that torch hangs on a state dict."""


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler for which the few names that arrays need mean our own readers, and every other name is refused."""

    def __init__(self, file):
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _TORCH_STORAGES:
            return name
        if (module, name) == ("numpy", "ndarray"):
            return "ndarray"
        # Methods, not classes or functions: a pickle can set attributes on what it is given, and a method takes none.
        readers: dict[tuple[str, str], Callable] = {
            ("collections", "OrderedDict"): self._dict,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
            ("numpy", "dtype"): self._dtype,
            ("numpy.core.multiarray", "_reconstruct"): self._array,
            ("numpy._core.multiarray", "_reconstruct"): self._array,
            ("_codecs", "encode"): self._encode,
        }
        if (module, name) not in readers:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
        return readers[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage_type, key, _, count, *view = pid
        if kind != "storage" or any(view) or not isinstance(count, int) or count < 0:
            raise pickle.UnpicklingError("a storage of an unknown kind")
        return self.storages.setdefault(key, _Storage(np.dtype(_TORCH_STORAGES[storage_type]), key, count))

    def _dict(self, *items: Any) -> dict:
        return _Dict(*items)

    def _tensor(self, storage: _Storage, offset: int, shape: tuple, strides: tuple, *_: Any) -> _Tensor:
        return _Tensor(storage, offset, shape, strides)

    def _parameter(self, tensor: _Tensor, *_: Any) -> _Tensor:
        return tensor

    def _dtype(self, code: str, *_: Any) -> _Dtype:
        return _Dtype(code)

    def _array(self, *_: Any) -> _Array:
        return _Array()

    def _encode(self, text: str, codec: str) -> bytes:
        return text.encode("latin1")


def _resolve(value: Any, seen: dict[int, Any]) -> Any:
    """Put arrays in the place of what stood for them; `seen` keeps shared parts shared."""
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, dict):
        seen[id(value)] = result = {}
        result.update((key, _resolve(item, seen)) for key, item in value.items())
    elif isinstance(value, list):
        seen[id(value)] = result = []
        result.extend(_resolve(item, seen) for item in value)
    elif isinstance(value, tuple):
        result = seen[id(value)] = tuple(_resolve(item, seen) for item in value)
    elif isinstance(value, _Tensor | _Array):
        result = seen[id(value)] = value.resolve()
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return value
    else:
        raise ValueError(f"it holds a {type(value).__name__}")
    return result
