"""Writes PyTorch checkpoints without torch, in the layout of `torch.load(weights_only=True)`."""

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_jax.files.trees import replacing

_STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "int16": "ShortStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
# Every member of the archive carries the zip format's earliest time: equal trees give equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


class _Global:
    """A name that the reader of the pickle will look up; it need not exist here."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class _Storage:
    def __init__(self, key: int, array: np.ndarray):
        self.id = (
            "storage",
            _Global("torch", _STORAGES[array.dtype.name]),
            str(key),
            "cpu",
            array.size,
        )


class _Tensor:
    def __init__(self, storage: _Storage, shape: tuple[int, ...]):
        strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
        self.arguments = (storage, 0, shape, strides, False, {})


class _Pickler(pickle._Pickler):
    """The pickler written in Python: the one in C can only write names that can be imported."""

    dispatch = pickle._Pickler.dispatch.copy()

    def persistent_id(self, obj: Any) -> tuple | None:
        return obj.id if isinstance(obj, _Storage) else None

    def save_name(self, obj: _Global) -> None:
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())

    def save_tensor(self, obj: _Tensor) -> None:
        self.save(_Global("torch._utils", "_rebuild_tensor_v2"))
        self.save(obj.arguments)
        self.write(pickle.REDUCE)

    dispatch[_Global] = save_name
    dispatch[_Tensor] = save_tensor


def write_torch(path: Path, tree: Mapping[str, Any]) -> None:
    """Writes a checkpoint; the file appears whole or not at all, and equal trees give equal bytes.

    Args:
        path: the .pt file.
        tree: nested dict of arrays, numbers and text.

    Raises:
        OSError: the file cannot be written.
        ValueError: torch does not have the type of an array.
    """
    arrays: list[np.ndarray] = []

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: plain(item) for name, item in value.items()}
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype.name not in _STORAGES:
            raise ValueError(f"torch has no arrays of {value.dtype}")
        arrays.append(np.ascontiguousarray(value))
        return _Tensor(_Storage(len(arrays) - 1, value), value.shape)

    stream = io.BytesIO()
    _Pickler(stream, protocol=2).dump(plain(tree))
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in {
            "data.pkl": stream.getvalue(),
            "byteorder": b"little",
            "version": b"3\n",
        }.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", _EPOCH), content)
        for key, array in enumerate(arrays):
            archive.writestr(zipfile.ZipInfo(f"archive/data/{key}", _EPOCH), array.tobytes())
