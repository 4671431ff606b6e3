"""Parameter trees in and out of safetensors files.

A parameter tree is a nested dict of arrays. In a file its leaves are named by their path, joined with "/", and the
metadata's values are JSON. Arrays come back as NumPy arrays, to be moved to a device where they are used.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from diffcam_jax.errors import UserError

Params = dict[str, Any]


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Name every leaf of a parameter tree by its path.

    Args:
      params: nested mapping; names are non-empty strings without "/".
      prefix: put in front of every name.

    Returns: "a/b/kernel" -> array, sorted by name.
    """
    flat = {}
    for name, value in params.items():
        if not isinstance(name, str) or not name or "/" in name:
            raise ValueError(f"parameter name {name!r} is not a non-empty string without '/'")
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
    """The identity of a parameter tree: sha256 over its sorted leaf names, dtypes, shapes and bytes.

    Args:
      params: nested mapping of arrays (NumPy or JAX).

    Returns: 64 hexadecimal digits, the same for equal trees whatever file or order they come from.
    """
    digest = hashlib.sha256()
    for path, array in flatten(params).items():
        digest.update(f"{path}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def save(path: str | os.PathLike, params: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Write a parameter tree; the file appears whole or not at all.

    Args:
      path: the .safetensors file; its folder is made when missing.
      params: nested mapping of arrays.
      metadata: name -> anything that JSON can hold.

    Raises:
      OSError: the file cannot be written.
    """
    path = Path(path)
    arrays = {name: np.asarray(array, order="C") for name, array in flatten(params).items()}
    notes = {name: json.dumps(value) for name, value in sorted(metadata.items())}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(arrays, temporary, metadata=notes)
        temporary.chmod(0o644)  # the library makes its files readable by the owner alone
        os.replace(temporary, path)
    except SafetensorError as error:  # in writing, a full disk or the like
        raise OSError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | os.PathLike) -> tuple[Params, dict[str, Any]]:
    """Read what `save` wrote, or any safetensors file whose names use "/" for nesting.

    Args:
      path: the .safetensors file.

    Returns: nested dict of NumPy arrays; metadata with JSON values decoded (text that is not JSON is kept as it is).

    Raises:
      UserError: the file is missing or is not a safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no weight file at {path}; check the path")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            notes = file.metadata() or {}
        return unflatten(arrays), {name: _decoded(text) for name, text in notes.items()}
    except (SafetensorError, ValueError, OSError) as error:
        raise UserError(f"{path} is not a readable safetensors file ({error}); fetch or convert it again") from error


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all; its folder is made when missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
