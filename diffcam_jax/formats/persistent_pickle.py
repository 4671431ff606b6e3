"""NVIDIA's network pickles (StyleGAN2-ADA and later), which store whole module objects.

An object is stored as a call of a function that compiles the source code of its class, which is
part of the file, and fills in the object's attributes. Here the call gives the attributes alone:
the source is never used, and the parameters are gathered from the attributes as `state_dict` would.
"""

import io
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from diffcam_jax.formats.array_pickle import (
    ArrayUnpickler,
    Storage,
    _Dict,
    _Reader,
    opened,
    resolve,
)
from diffcam_jax.formats.torch_checkpoint import load_legacy


def read_persistent_pickle(
    source: str | os.PathLike | bytes,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Reads the networks of a file like NVIDIA's ffhq.pkl without torch.

    No code in it is run or compiled.

    Args:
        source: the path of the file, or its content.

    Returns:
        For each network ("G", "D", "G_ema"): {"state": names as in a state dict -> read-only array,
        "init": the keyword arguments it was built with}. Entries that are not networks are left
        out.

    Raises:
        UserError: the file is missing or damaged, or holds anything but persistent objects,
            containers, numbers, text and tensors.
    """
    with opened(source, "network pickle") as file:
        tree = _PersistentUnpickler(file).load()
        found = {key: value for key, value in tree.items() if isinstance(value, _Module)}
        if not found:
            raise ValueError("it holds no network")
        return {
            key: {"state": dict(_arrays(module, "", set())), "init": _init(module)}
            for key, module in found.items()
        }


class _Module(dict):
    """The attributes of a persistent object."""

    def __setstate__(self, state: Any) -> None:
        """Ignores what a file would add afterwards; persistent objects come complete."""


class _PersistentUnpickler(ArrayUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("dnnlib.util", "EasyDict"), ("dnnlib", "EasyDict")):
            return _Dict  # made without a call, so it must be the class itself
        functions = {
            ("torch_utils.persistence", "_reconstruct_persistent_obj"): _reconstruct,
            ("torch.storage", "_load_from_bytes"): _storage,
            ("builtins", "set"): frozenset,
            ("__builtin__", "set"): frozenset,
        }
        return (
            _Reader(functions[module, name])
            if (module, name) in functions
            else super().find_class(module, name)
        )


def _reconstruct(meta: Mapping[str, Any]) -> _Module:
    if meta["type"] != "class" or not isinstance(meta["state"], dict):
        raise ValueError("a persistent object of an unknown type")
    return _Module(meta["state"])


def _storage(content: bytes) -> Storage:
    storage = load_legacy(io.BytesIO(content))
    if not isinstance(storage, Storage):
        raise ValueError("a tensor whose storage is something else")
    return storage


def _arrays(module: _Module, prefix: str, seen: set[int]) -> Iterator[tuple[str, np.ndarray]]:
    # Each module is visited once: a few bytes could nest shared ones into more names than memory
    # can hold, or into an endless loop.
    seen.add(id(module))
    passing = module.get("_non_persistent_buffers_set", ())
    for table in ("_parameters", "_buffers"):
        for name, value in module.get(table, {}).items():
            if value is not None and not (table == "_buffers" and name in passing):
                array = resolve(value, {})
                if not isinstance(array, np.ndarray):
                    raise ValueError(f"{prefix}{name} is not a tensor")
                yield f"{prefix}{name}", array
    for name, child in module.get("_modules", {}).items():
        if isinstance(child, _Module) and id(child) not in seen:
            yield from _arrays(child, f"{prefix}{name}.", seen)
        elif child is not None and not isinstance(child, _Module):
            raise ValueError(f"{prefix}{name} is not a persistent module")


def _init(module: _Module) -> dict[str, Any]:
    return resolve(module.get("_init_kwargs", {}), {})
