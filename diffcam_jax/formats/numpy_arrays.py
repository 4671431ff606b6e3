"""NumPy's files: one array (.npy), and archives of named arrays (.npz).

Read by hand because NumPy's own reader makes room for whatever a file claims to hold, unpacks
archives without a limit, and ends damaged files in exceptions of many types.
"""

import io
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_jax.errors import refusing
from diffcam_jax.formats.array_pickle import opened, reason

# What an archive may unpack to, by its own size: numbers that were trained hardly shrink.
_GROWTH, _ALWAYS = 16, 64 << 20
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(data: bytes, read_objects: Callable[[bytes], Any] | None = None) -> Any:
    """Reads an array that `numpy.save` wrote.

    Args:
        data: the file's content.
        read_objects: reads the pickle behind the head of an array of objects, which is refused
            otherwise.

    Returns:
        The read-only array, or what `read_objects` made.

    Raises:
        UserError: the content is damaged, or an array of objects.
    """
    with refusing(lambda e: f"not a readable array of NumPy ({reason(e)}); get the file again"):
        return _array(data, read_objects)


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the arrays that `numpy.savez` wrote.

    Args:
        path: of the file.

    Returns:
        Name -> read-only array.

    Raises:
        UserError: the file is missing or damaged, holds anything but arrays of numbers and text, or
            unpacks to far more than its size.
    """
    left = _ALWAYS + _GROWTH * (Path(path).stat().st_size if Path(path).is_file() else 0)
    arrays = {}
    with opened(path, "npz file of arrays") as file, zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            left -= entry.file_size
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("its compression is not one that NumPy writes")
            if left < 0:
                raise ValueError("it unpacks to far more than its size")
            with archive.open(entry) as member:  # all of it at once could be more than it says
                content = member.read(entry.file_size + 1)
            arrays[entry.filename.removesuffix(".npy")] = _array(content)
    return arrays


def _array(data: bytes, read_objects: Callable[[bytes], Any] | None = None) -> Any:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"NumPy's format {version}")
    shape, fortran, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        if read_objects is None:
            raise ValueError("an array of objects")
        return read_objects(stream.read())
    start, count = stream.tell(), math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize > len(data) - start:
        raise ValueError(f"an array of shape {shape} and type {dtype} in {len(data)} bytes")
    if not count:
        return np.zeros(shape, dtype)
    return np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if fortran else "C")
