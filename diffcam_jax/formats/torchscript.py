"""TorchScript archives: the tensors of a saved program, without the program.

Such a file is a zip archive like that of a checkpoint. Its `data.pkl` holds module objects, whose
classes are defined by code in the same archive; here an object of any of these classes becomes the
dict of its attributes, and the code is never read.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from diffcam_jax.formats.array_pickle import ArrayUnpickler, _Reader, opened
from diffcam_jax.formats.torch_checkpoint import read_zip

# Wrappers of lists and dicts whose elements have a declared type; only the value matters here.
_TYPED = (
    "build_intlist",
    "build_doublelist",
    "build_boollist",
    "build_tensorlist",
    "restore_type_tag",
)


def read_torchscript(source: str | os.PathLike | bytes) -> dict[str, np.ndarray]:
    """Reads the parameters and buffers of a TorchScript archive without torch or running code.

    Args:
        source: the path of the file, or its content.

    Returns:
        Read-only arrays by their names in the program ("net.layers.conv.weight"), in file order. A
        module that the program holds twice is listed under its first name.

    Raises:
        UserError: the archive is missing or damaged, or holds anything but modules, containers,
            numbers, text and tensors.
    """
    with opened(source, "TorchScript archive") as file:
        tree = read_zip(file, _ScriptUnpickler)
        if not isinstance(tree, dict):
            raise ValueError(f"it holds a {type(tree).__name__}, not a module")
        return dict(_arrays(tree, "", set()))


def _arrays(
    tree: Mapping[Any, Any], prefix: str, seen: set[int]
) -> Iterator[tuple[str, np.ndarray]]:
    # Each object is visited once: a few bytes could nest shared objects into more names than memory
    # can hold, or into an endless loop.
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
