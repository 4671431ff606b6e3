"""Reading an official checkpoint, whatever its container, into one flat table of arrays."""

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_jax import formats
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees

SIZE_LIMIT = 8 << 30
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".safetensors", ".npz")


@dataclass(frozen=True)
class State:
    """A checkpoint's content.

    Attributes:
        path: the file.
        arrays: name -> array. Nested dicts are joined by "/", so "state_dict/encoder.conv.weight"
            is the entry "encoder.conv.weight" of the dict under "state_dict".
        notes: everything that is not an array, under the same kind of name: training options, step
            counts.
        sha256: of the file.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    notes: dict[str, Any]
    sha256: str


def read_state(path: Path) -> State:
    """Reads a .pt, .pth, .pkl, .safetensors or .npz file; nothing in it is run.

    Raises:
        UserError: the file is missing, unreadable or not a checkpoint, or holds something that is
            not data.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the checkpoint's file in it")
    if not path.is_file():
        raise UserError(f"there is no {path}; --src is the checkpoint's file")
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise UserError(
                f"{path} is larger than {SIZE_LIMIT >> 30} GiB; it is not a checkpoint of this "
                "family"
            )
        with path.open("rb") as file:
            head = file.read(512)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); check its permissions") from error
    if not head:
        raise UserError(f"{path} is empty; download it again")
    if head.lstrip()[:1] == b"<":
        raise UserError(
            f"{path} is a web page, not a checkpoint: its download link is dead or asks for a login"
        )
    arrays: dict[str, np.ndarray] = {}
    notes: dict[str, Any] = {}
    _flatten(_read(path), "", arrays, notes)
    if not arrays:
        raise UserError(f"{path} holds no arrays; give the file with the network's weights")
    return State(path, arrays, notes, digest)


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        return trees.load(path)[0]
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(
                f"{path} is not a readable npz file of arrays ({error}); get it again"
            ) from error
    if path.suffix == ".pkl":
        networks = formats.read_persistent_pickle(path)
        return {
            name: {**network["state"], "init": network["init"]}
            for name, network in networks.items()
        }
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"{path}: files ending in {path.suffix!r} are not known; give one of "
            f"{', '.join(SUFFIXES)}"
        )
    return formats.read_torch(path)


def _flatten(
    tree: Mapping[Any, Any], prefix: str, arrays: dict[str, np.ndarray], notes: dict[str, Any]
) -> None:
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            _flatten(value, f"{path}/", arrays, notes)
        elif isinstance(value, np.ndarray) and value.dtype.kind not in "OUSM":
            arrays[path] = value
        else:
            notes[path] = value
