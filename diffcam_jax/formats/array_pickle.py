"""Pickles that hold nothing but containers, numbers, text, NumPy arrays and PyTorch tensors.

Written by hand because torch's and NumPy's own readers run code, need torch, or allocate what a
file claims to need.
"""

import contextlib
import io
import math
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from diffcam_jax.errors import UserError, refusing

_TORCH_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


def read_numpy_pickle(data: bytes) -> Any:
    """Reads a pickle of dicts, lists, tuples, strings, numbers and NumPy arrays.

    Args:
        data: the file's content.

    Returns:
        The same tree with read-only arrays.

    Raises:
        UserError: the content is damaged or holds anything else.
    """
    try:
        return resolve(ArrayUnpickler(io.BytesIO(data)).load(), {})
    except Exception as error:  # a damaged pickle can end in nearly any exception
        raise UserError(
            f"not a readable pickle of arrays ({reason(error)}); get the file again"
        ) from error


def reason(error: Exception) -> str:
    """The message of an exception, or its name when it has none."""
    return str(error) or type(error).__name__


@contextlib.contextmanager
def opened(source: str | os.PathLike | bytes, kind: str) -> Iterator[io.BufferedIOBase]:
    """Opens a file or its content for reading; inside, any exception becomes a `UserError`.

    Args:
        source: the path of the file, or its content.
        kind: what the file should be, for messages.

    Raises:
        UserError: the file is missing, or the block raised any exception.
    """
    name = f"the {kind}" if isinstance(source, bytes) else str(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise UserError(f"no {kind} at {name}; check the path")
    refused = refusing(lambda e: f"{name} is not a readable {kind} ({reason(e)}); get it again")
    with refused, io.BytesIO(source) if isinstance(source, bytes) else _Bounded(source) as file:
        yield file


class _Bounded(io.BufferedReader):
    """A file of which `read` makes room for no more than it still holds, whatever it is asked for.

    Pickles and archives say themselves how long their parts are.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = max(min(size, self._size - self.tell()), 0)
        return super().read(size)


class _Opaque:
    """A placeholder in a pickle for data that is read later; the pickle cannot change it."""

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"state for a {type(self).__name__}")


class Storage(_Opaque):
    """The memory behind tensors; `array` [count] is filled in once the pickle is read."""

    def __init__(self, dtype: np.dtype, key: str, count: int):
        self.dtype, self.key, self.count = dtype, key, count
        self.array: np.ndarray | None = None


class _Tensor(_Opaque):
    def __init__(
        self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
    ):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def resolve(self) -> np.ndarray:
        if not isinstance(self.storage, Storage) or self.storage.array is None:
            raise ValueError("a tensor without its storage")
        array, numbers = self.storage.array, (self.offset, *self.shape, *self.strides)
        if not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise ValueError(
                f"a tensor of shape {self.shape}, strides {self.strides}, offset {self.offset}"
            )
        count = math.prod(self.shape)
        last = self.offset + sum(
            (size - 1) * step for size, step in zip(self.shape, self.strides, strict=True)
        )
        if count > array.size or (count and last >= array.size):
            raise ValueError(
                f"a tensor of shape {self.shape}, strides {self.strides} in {array.size} elements"
            )
        if not count:
            return np.zeros(self.shape, array.dtype)
        strides = [step * array.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(
            array[self.offset :], self.shape, strides, writeable=False
        )


class _Dtype:
    def __init__(self, code: str):
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "biufcO":
            raise pickle.UnpicklingError(f"array of {self.dtype}")

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    def __init__(self):
        self.array: np.ndarray | None = None
        self.wrapped: list[Any] = []

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        if dtype.dtype.kind == "O":
            # numpy.save wraps a dictionary into an array of one object: this object is read, no
            # other array of objects is.
            if shape != () or not isinstance(content, list) or len(content) != 1:
                raise pickle.UnpicklingError(f"array of objects, shape {shape}")
            self.wrapped = content
            return
        flat = np.frombuffer(content, dtype.dtype)
        self.array = flat.reshape(shape, order="F" if fortran else "C")

    def resolve(self) -> np.ndarray:
        if self.array is None:
            raise ValueError("an array without content")
        return self.array


class _Reader(_Opaque):
    """A function that a pickle may call, but whose attributes it cannot change."""

    def __init__(self, function: Callable):
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


class _Dict(dict):
    def __setstate__(self, state: Any) -> None:
        """Drops the version notes that torch attaches to a state dict."""


class _Namespace(dict):
    """Options of a training script, whose attributes become entries."""

    def __setstate__(self, state: dict) -> None:
        self.update(state)


class ArrayUnpickler(pickle._Unpickler):
    """An unpickler that maps the few names that arrays need to our own readers.

    Every other name is refused. The base class is the unpickler written in Python, since the one in
    C lets a file of a few bytes claim a memo of gigabytes; likewise byte arrays, for which a pickle
    states a size to allocate, are read as bytes.
    """

    dispatch = pickle._Unpickler.dispatch | {pickle.BYTEARRAY8[0]: pickle._Unpickler.load_binbytes8}

    def __init__(self, file):
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """The reader for a name in the pickle; raises UnpicklingError for anything but data."""
        if module == "torch" and name in _TORCH_DTYPES:
            return name
        if (module, name) == ("numpy", "ndarray"):
            return "ndarray"
        if (module, name) == ("argparse", "Namespace"):
            return _Namespace  # made without a call, so it must be the class itself
        readers: dict[tuple[str, str], Callable] = {
            ("collections", "OrderedDict"): self._dict,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): self._parameter,
            ("numpy", "dtype"): self._dtype,
            ("numpy.core.multiarray", "_reconstruct"): self._array,
            ("numpy._core.multiarray", "_reconstruct"): self._array,
            ("numpy.core.multiarray", "scalar"): self._scalar,
            ("numpy._core.multiarray", "scalar"): self._scalar,
            ("numpy.core.numeric", "_frombuffer"): self._from_buffer,
            ("numpy._core.numeric", "_frombuffer"): self._from_buffer,
            ("_codecs", "encode"): self._encode,
            ("__builtin__", "bytes"): self._no_bytes,
            # Training scripts store these beside the weights; they are read as plain data.
            ("torch", "device"): self._text,
            ("torch", "Size"): tuple,
            ("pathlib", "PosixPath"): self._text,
            ("pathlib", "WindowsPath"): self._text,
        }
        if (module, name) not in readers:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
        return _Reader(readers[module, name])

    def persistent_load(self, pid: Any) -> Storage:
        """The storage that a tensor refers to; its content is filled in afterwards."""
        kind, storage_type, key, _, count, *view = pid
        if kind != "storage" or any(view) or not isinstance(count, int) or count < 0:
            raise pickle.UnpicklingError("a storage of an unknown kind")
        storage = self.storages.setdefault(
            key, Storage(np.dtype(_TORCH_DTYPES[storage_type]), key, count)
        )
        if storage.dtype != np.dtype(_TORCH_DTYPES[storage_type]):
            raise pickle.UnpicklingError("a storage that is read as two types")
        return storage

    def _dict(self, *items: Any) -> dict:
        return _Dict(*items)

    def _tensor(
        self, storage: Storage, offset: int, shape: tuple, strides: tuple, *_: Any
    ) -> _Tensor:
        return _Tensor(storage, offset, shape, strides)

    def _parameter(self, tensor: _Tensor, *_: Any) -> _Tensor:
        return tensor

    def _dtype(self, code: str, *_: Any) -> _Dtype:
        return _Dtype(code)

    def _array(self, *_: Any) -> _Array:
        return _Array()

    def _from_buffer(
        self, content: bytes, dtype: _Dtype, shape: tuple, order: str, axes: Any = None
    ) -> _Array:
        result = _Array()
        result.array = np.frombuffer(content, dtype.dtype).reshape(
            shape, order="C" if order == "K" else order
        )
        if axes is not None:
            result.array = result.array.transpose(axes)
        return result

    def _scalar(self, dtype: _Dtype, content: bytes) -> _Array:
        return self._from_buffer(content, dtype, (), "C")

    def _text(self, *parts: Any) -> str:
        return "/".join(map(str, parts))

    def _encode(self, text: str, codec: str) -> bytes:
        return text.encode("latin1")

    def _no_bytes(self) -> bytes:
        return b""


def resolve(value: Any, seen: dict[int, Any]) -> Any:
    """Replaces the placeholders of an `ArrayUnpickler` by arrays.

    Args:
        value: what an `ArrayUnpickler` loaded.
        seen: results by id, which keep shared parts shared and end loops; start with an empty dict.

    Returns:
        Plain dicts, lists, tuples, numbers, text and read-only arrays.

    Raises:
        ValueError: the value holds anything else, or a tensor does not fit its storage.
    """
    if id(value) in seen:
        return seen[id(value)]
    if isinstance(value, dict):
        if not all(isinstance(key, str | int) for key in value):
            raise ValueError("it has keys that are neither text nor integers")
        seen[id(value)] = result = {}
        result.update((key, resolve(item, seen)) for key, item in value.items())
    elif isinstance(value, list):
        seen[id(value)] = result = []
        result.extend(resolve(item, seen) for item in value)
    elif isinstance(value, tuple):
        result = seen[id(value)] = tuple(resolve(item, seen) for item in value)
    elif isinstance(value, _Array) and value.wrapped:
        result = seen[id(value)] = resolve(value.wrapped[0], seen)
    elif isinstance(value, _Tensor | _Array):
        result = seen[id(value)] = value.resolve()
    elif value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return value
    else:
        raise ValueError(f"it holds a {type(value).__name__}")
    return result
