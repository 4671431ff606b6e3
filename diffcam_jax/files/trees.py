"""Parameter trees in safetensors files.

A parameter tree is a nested dict of arrays. In a file its leaves are named by their path, joined
with "/", and the metadata's values are JSON. Arrays are read as NumPy arrays, to be moved to a
device where they are used.
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from diffcam_jax.errors import UserError
from diffcam_jax.files import drafts
from diffcam_jax.files.json_text import decode

Params = dict[str, Any]

_METADATA = "__metadata__"
_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "bool": "BOOL",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8",
}  # fmt: skip


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Names every leaf of a parameter tree by its path.

    Args:
        params: nested mapping; names are non-empty strings without "/".
        prefix: put in front of every name.

    Returns:
        "a/b/kernel" -> array, sorted by name.
    """
    flat = {}
    for name, value in params.items():
        if not isinstance(name, str) or not name or "/" in name or name == _METADATA:
            raise ValueError(
                f"parameter name {name!r} is not a non-empty string without '/', or is reserved"
            )
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}/"))
        else:
            flat[prefix + name] = np.asarray(value)
    return dict(sorted(flat.items()))


def unflatten(flat: Mapping[str, Any]) -> Params:
    """The inverse of `flatten`."""
    params: Params = {}
    for path, value in flat.items():
        *parents, leaf = path.split("/")
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"{path!r} lies below an array")
        if leaf in node:
            raise ValueError(f"{path!r} is both an array and a folder of arrays")
        node[leaf] = value
    return params


def tree_hash(params: Mapping[str, Any]) -> str:
    """The identity of a parameter tree: sha256 of its leaf names, dtypes, shapes and bytes.

    Args:
        params: nested mapping of arrays (NumPy or JAX).

    Returns:
        64 hexadecimal digits, the same for equal trees whatever file or order they come from.
    """
    digest = hashlib.sha256()
    for path, array in flatten(params).items():
        digest.update(f"{path}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(_little_endian(array))
    return digest.hexdigest()


def _little_endian(array: np.ndarray) -> np.ndarray:
    return (
        np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        .reshape(-1)
        .view(np.uint8)
    )


def save(path: str | os.PathLike, params: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Writes a parameter tree.

    The file appears whole or not at all, and equal trees give equal bytes.

    Args:
        path: the .safetensors file; its folder is created if it is missing.
        params: nested mapping of arrays.
        metadata: name -> any value that JSON can hold.

    Raises:
        OSError: the file cannot be written.
        ValueError: a name contains "/", or safetensors does not know the type of an array.
    """
    arrays = flatten(params)
    header: dict[str, Any] = {
        _METADATA: {name: json.dumps(value) for name, value in sorted(metadata.items())}
    }
    # The widest types first, which keeps every array aligned.
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)
    end = 0
    for name in order:
        array = arrays[name]
        if array.dtype.name not in _DTYPES:
            raise ValueError(
                f"parameter {name!r} is {array.dtype.name}; known are {', '.join(_DTYPES)}"
            )
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": _DTYPES[array.dtype.name],
            "shape": array.shape,
            "data_offsets": (start, end),
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(Path(path)) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(_little_endian(arrays[name]))


def load(path: str | os.PathLike) -> tuple[Params, dict[str, Any]]:
    """Reads what `save` wrote, or any safetensors file whose names use "/" for nesting.

    Args:
        path: the .safetensors file.

    Returns:
        Nested dict of NumPy arrays; metadata with JSON values decoded (text that is not JSON is
        kept as it is).

    Raises:
        UserError: the file is missing or is not a safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no weight file at {path}; check the path")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            notes = file.metadata() or {}
        return unflatten(arrays), {name: _decoded(text) for name, text in notes.items()}
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({error}); fetch or convert it again"
        ) from error


def _decoded(text: str) -> Any:
    try:
        return decode(text)
    except ValueError:
        return text


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file that appears whole or not at all; its folder is created if it is missing."""
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[io.BufferedIOBase]:
    """Opens a file that takes its name only once the block has ended without an exception.

    Its folder is created if it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, file = drafts.create(path)
    try:
        with file:
            yield file
            file.flush()
            os.replace(temporary, path)  # while it is locked, so that nobody takes it for a rest
    except BaseException:
        with contextlib.suppress(OSError):  # what stopped it is more useful to hear of
            temporary.unlink(missing_ok=True)
        raise
