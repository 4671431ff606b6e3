"""Reading an official checkpoint, whatever its container, into one flat table of arrays."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_jax import formats
from diffcam_jax.errors import UserError
from diffcam_jax.files import trees

SIZE_LIMIT = 8 << 30
MOST_ENTRIES = 1_000_000
SUFFIXES = (".pt", ".pth", ".tar", ".bin", ".ckpt", ".pkl", ".pickle", ".safetensors", ".npz")
_NOT_CHECKPOINTS = {
    b"<": "a web page, not a checkpoint: its download link is dead or asks for a login",
    b"version https://git-lfs": "a Git LFS pointer, not the file it stands for; get that with "
    "git lfs pull",
    b"\x89HDF": "an HDF5 file of Keras or TensorFlow; give a checkpoint of PyTorch",
}


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
    """Reads a checkpoint; nothing in it is run.

    What is no array, such as options and optimisers, is skipped or kept as a note.

    Raises:
        UserError: the file is missing, unreadable or not a checkpoint, or asks for commands.
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
    for begins, what in _NOT_CHECKPOINTS.items():
        if head.lstrip().startswith(begins):
            raise UserError(f"{path} is {what}")
    if head[257:262] == b"ustar":
        raise UserError(f"{path} is an archive; unpack it (tar -xf) and give the file in it")
    arrays: dict[str, np.ndarray] = {}
    notes: dict[str, Any] = {}
    _flatten(_read(path), "", arrays, notes)
    if len(arrays) + len(notes) > MOST_ENTRIES:
        raise UserError(f"{path} holds more than {MOST_ENTRIES} entries; it is not a checkpoint")
    if not arrays:
        raise UserError(f"{path} holds no arrays; give the file with the network's weights")
    return State(path, arrays, notes, digest)


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        return trees.load(path)[0]
    if path.suffix == ".npz":
        return formats.read_npz(path)
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"{path}: files ending in {path.suffix!r} are not known; give one of "
            f"{', '.join(SUFFIXES)}"
        )
    return formats.read_checkpoint(path)  # by its content: people rename these files


def _flatten(
    tree: Mapping[Any, Any], prefix: str, arrays: dict[str, np.ndarray], notes: dict[str, Any]
) -> None:
    for name, value in tree.items():
        if len(arrays) + len(notes) > MOST_ENTRIES:  # shared parts can nest into any number
            return
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            _flatten(value, f"{path}/", arrays, notes)
        elif isinstance(value, np.ndarray) and value.dtype.kind not in "OUSM":
            arrays[path] = value
        else:
            notes[path] = value
