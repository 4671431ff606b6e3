"""PyTorch checkpoints, in the zip layout (since 1.6) and the one before it."""

import io
import os
import struct
import zipfile
from typing import Any

import numpy as np

from diffcam_jax.formats.array_pickle import ArrayUnpickler, opened, resolve

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def read_torch(source: str | os.PathLike | bytes) -> dict[str, Any]:
    """Reads a PyTorch checkpoint without torch or running code.

    Args:
        source: the path of the file, or its content. Both of torch's layouts are read.

    Returns:
        The checkpoint's dict with tensors as read-only NumPy arrays (parameters, too); for a state
        dict that is parameter name -> array.

    Raises:
        UserError: the checkpoint is missing or damaged, or holds anything but containers, numbers,
            text, tensors and arrays.
    """
    with opened(source, "PyTorch checkpoint") as file:
        zipped = zipfile.is_zipfile(file)
        file.seek(0)
        tree = read_zip(file) if zipped else resolve(load_legacy(file), {})
        if not isinstance(tree, dict):
            raise ValueError(f"it holds a {type(tree).__name__}, not a dict of tensors")
        return tree


def read_zip(file: io.BufferedIOBase, unpickler: type[ArrayUnpickler] = ArrayUnpickler) -> Any:
    """Reads an archive that torch wrote as plain containers and read-only arrays.

    Arguments and exceptions as for `zip_tree`.
    """
    return resolve(zip_tree(file, unpickler), {})


def zip_tree(file: io.BufferedIOBase, unpickler: type[ArrayUnpickler]) -> Any:
    """Reads the tree in `data.pkl` of an archive that torch wrote.

    Args:
        file: the zip archive.
        unpickler: decides which names the pickle may ask for.

    Returns:
        The tree with its storages filled in; `resolve` then replaces its tensors by arrays.

    Raises:
        Exception: of nearly any type, when the archive is damaged or holds anything else.
    """
    with zipfile.ZipFile(file) as archive:

        def read(name: str) -> bytes:
            # torch stores without compression; insisting on it bounds the memory by the size of
            # the file.
            if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
                raise ValueError("its archive is compressed, which torch never does")
            return archive.read(name)

        pickles = [info for info in archive.namelist() if info.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it has no data.pkl, or several")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist() and read(f"{root}byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine")
        reader = unpickler(io.BytesIO(read(pickles[0])))
        tree = reader.load()
        for storage in reader.storages.values():
            storage.array = np.frombuffer(
                read(f"{root}data/{storage.key}"), storage.dtype, storage.count
            )
        return tree


def load_legacy(file: io.BufferedIOBase, unpickler: type[ArrayUnpickler] = ArrayUnpickler) -> Any:
    """Reads the tree in a file of the layout before torch 1.6.

    Args:
        file: positioned at the start of what torch wrote.
        unpickler: decides which names the pickle may ask for.

    Returns:
        The tree with its storages filled in; `resolve` then replaces its tensors by arrays.

    Raises:
        Exception: of nearly any type, when the file is damaged or holds anything else.
    """
    if ArrayUnpickler(file).load() != LEGACY_MAGIC or ArrayUnpickler(file).load() != 1001:
        raise ValueError("neither of torch's file layouts")
    if not ArrayUnpickler(file).load()["little_endian"]:
        raise ValueError("it was written on a big-endian machine")
    reader = unpickler(file)
    tree = reader.load()
    for key in ArrayUnpickler(file).load():
        storage = reader.storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        if count != storage.count:
            raise ValueError(f"storage of {count} elements where {storage.count} were announced")
        storage.array = np.frombuffer(
            file.read(count * storage.dtype.itemsize), storage.dtype, count
        )
    return tree
