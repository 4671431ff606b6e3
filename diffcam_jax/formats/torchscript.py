"""TorchScript archives: the tensors of a saved program, without the program.

Such a file is a zip archive like a checkpoint's. Its `data.pkl` holds module objects, whose classes
are defined by code in the same archive; here an object of any of them is the dict of its
attributes, and the code is never looked at.
"""

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_jax.errors import UserError
from diffcam_jax.formats.array_pickle import ArrayUnpickler, _Reader, reason
from diffcam_jax.formats.torch_checkpoint import read_zip

# What wraps lists and dicts whose elements have a declared type; here the value is all that counts.
_TYPED = (
    "build_intlist",
    "build_doublelist",
    "build_boollist",
    "build_tensorlist",
    "restore_type_tag",
)


def read_torchscript(source: str | os.PathLike | bytes) -> dict[str, np.ndarray]:
    """Read the parameters and buffers of a TorchScript archive without torch; nothing in it is run.

    Args:
      source: the path of the file, or its content.

    Returns: read-only arrays by their names in the program ("net.layers.conv.weight"), in file
      order. A module that the program holds twice is listed under its first name.

    Raises:
      UserError: missing, damaged, or it holds anything but modules, containers, numbers, text and
        tensors.
    """
    name = "the TorchScript archive" if isinstance(source, bytes) else str(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise UserError(f"no TorchScript archive at {name}; check the path")
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
            tree = read_zip(file, _ScriptUnpickler)
        if not isinstance(tree, dict):
            raise ValueError(f"it holds a {type(tree).__name__}, not a module")
        return dict(_arrays(tree, "", set()))
    except Exception as error:  # a damaged pickle can end in nearly any exception
        raise UserError(
            f"{name} is not a readable TorchScript archive ({reason(error)}); get it again"
        ) from error


def _arrays(
    tree: Mapping[Any, Any], prefix: str, seen: set[int]
) -> Iterator[tuple[str, np.ndarray]]:
    # Each object once: a few bytes could nest shared objects into more names than there is memory
    # for, or endlessly.
    seen.add(id(tree))
    for key, value in tree.items():
        if isinstance(value, np.ndarray):
            yield f"{prefix}{key}", value
        elif isinstance(value, dict) and id(value) not in seen:
            yield from _arrays(value, f"{prefix}{key}.", seen)


class _Object(dict):
    """The attributes of an object of one of the program's classes."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.update(state)


class _ScriptUnpickler(ArrayUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "__torch__":
            return _Object  # made without a call, so it must be the class itself
        if module == "torch.jit._pickle" and name in _TYPED:
            return _Reader(lambda value, *_: value)
        return super().find_class(module, name)
