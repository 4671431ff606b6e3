"""Checkpoints as people have them: whatever torch or a training script has pickled.

A file may hold options, dates, optimisers and whole modules beside its weights. Here every object
that is not data is an empty stand-in: its class is neither imported nor called, and what it was is
left out of the result. Modules give their parameters and buffers, as `state_dict` would. NVIDIA's
network pickles (StyleGAN2-ADA and later) hold the source code of their classes, which is never
used.
"""

import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from diffcam_jax.errors import UserError
from diffcam_jax.formats.array_pickle import (
    _TORCH_DTYPES,
    ArrayUnpickler,
    Storage,
    _Array,
    _Dict,
    _Dtype,
    _Reader,
    _Tensor,
    opened,
)
from diffcam_jax.formats.torch_checkpoint import LEGACY_MAGIC, load_legacy, zip_tree

ROOT = "G_ema"  # what a file that is nothing but one module is called
# A stand-in would make these harmless as well, but a checkpoint that asks for them is an attack.
_COMMANDS = {
    *("os", "posix", "nt", "subprocess", "commands", "pty", "shutil", "sys", "socket", "ctypes"),
    *("importlib", "runpy", "code", "webbrowser", "pickle", "_pickle", "marshal", "io", "_io"),
}
_BUILTINS = ("builtins", "__builtin__")
_CODE = {"eval", "exec", "execfile", "compile", "open", "getattr", "setattr", "__import__", "input"}
_TENSORFLOW = ("dnnlib.tflib", "tensorflow", "tfutil", "tflib")
_LEFT_OUT = object()


def read_checkpoint(source: str | os.PathLike | bytes) -> dict[str, Any]:
    """Reads what is data in a checkpoint of any origin; no code in it is run or compiled.

    Args:
        source: the path of the file, or its content: a torch file of either layout, or a pickle,
            whatever its name ends in.

    Returns:
        Nested dicts, lists, tuples, numbers, text and read-only arrays. A module is a dict of its
        arrays by their names in a state dict, with the keyword arguments it was built with under
        "init" where it tells them; a file that is a single module has it under `ROOT`.

    Raises:
        UserError: the file is missing or damaged, asks for commands, or is TensorFlow's.
    """
    with opened(source, "checkpoint") as file:
        try:
            tree = _load(file)
        except _TensorFlowError as error:
            name = "it" if isinstance(source, bytes) else str(source)
            raise UserError(
                f"{name} is a pickle of TensorFlow's StyleGAN ({error}), which only TensorFlow "
                "opens; convert it with legacy.py of NVIDIA's stylegan2-ada-pytorch "
                "(--source=IN.pkl --dest=OUT.pkl) and give OUT.pkl"
            ) from None
        found = _data({ROOT: tree} if _is_module(tree) else tree, {}, set())
        if not isinstance(found, dict):
            kind = "another object" if isinstance(tree, _Object) else f"a {type(tree).__name__}"
            raise ValueError(f"it holds {kind}, not a dict of arrays")
        return found


class _TensorFlowError(Exception):
    """The pickle holds networks of TensorFlow."""


def _load(file: io.BufferedIOBase) -> Any:
    head = file.read(64)
    file.seek(0)
    if zipfile.is_zipfile(file):
        file.seek(0)
        return zip_tree(file, _Unpickler)
    file.seek(0)
    if head.startswith(b"PK\x03\x04"):
        raise ValueError("its archive is cut short")
    if LEGACY_MAGIC.to_bytes(10, "little") in head or str(LEGACY_MAGIC).encode() in head:
        return load_legacy(file, _Unpickler)
    return _Unpickler(file).load()


class _Object(dict):
    """The stand-in for an object of any class: its entries and attributes, as far as it has any."""

    def __new__(cls, *_: Any, **__: Any) -> "_Object":
        """Ignores what the class would be made of."""
        made = super().__new__(cls)
        made.attributes = {}
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.attributes = state

    def __call__(self, *_: Any, **__: Any) -> "_Object":
        return _Object()

    def append(self, item: Any) -> None:
        """Leaves out an entry of a list, as `extend` and `add` do."""

    extend = add = append
    # Objects may be members of sets and keys of dicts, which are left out.
    __hash__ = object.__hash__
    __eq__ = object.__eq__


class _LenientArray(_Array):
    def __setstate__(self, state: tuple) -> None:
        """Leaves arrays of several objects, of text and of dates without content."""
        _, shape, dtype, _, _ = state
        if _numeric(dtype) or (isinstance(dtype, _Dtype) and shape == ()):
            super().__setstate__(state)


class _Unpickler(ArrayUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        root = module.partition(".")[0]
        if module.startswith(_TENSORFLOW):
            raise _TensorFlowError(f"it asks for {module}.{name}")
        if root in _COMMANDS or (module in _BUILTINS and name in _CODE):
            raise ValueError(f"it asks for {module}.{name}, which is not data")
        own = {
            ("torch_utils.persistence", "_reconstruct_persistent_obj"): _reconstruct,
            ("torch.storage", "_load_from_bytes"): _storage,
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_parameter_with_state"): self._parameter,
            ("torch._tensor", "_rebuild_from_type_v2"): _of_subclass,
            ("collections", "defaultdict"): lambda *_: _Dict(),
            ("copyreg", "_reconstructor"): _plain_object,
            ("copy_reg", "_reconstructor"): _plain_object,
            **{(builtins, "set"): frozenset for builtins in _BUILTINS},
            **{(builtins, "frozenset"): frozenset for builtins in _BUILTINS},
        }
        if (module, name) in own:
            return _Reader(own[module, name])
        if module == "torch.cuda" and name in _TORCH_DTYPES:
            return name
        try:
            return super().find_class(module, name)
        except Exception:  # a name that is not data
            return _Object

    def persistent_load(self, pid: Any) -> Any:
        # Storages of other types, such as quantised ones, are left out with their tensors.
        return super().persistent_load(pid) if pid[1] in _TORCH_DTYPES else _Object()

    def _tensor(self, storage: Any, *rest: Any) -> Any:
        return super()._tensor(storage, *rest) if isinstance(storage, Storage) else _Object()

    def _parameter(self, tensor: Any, *_: Any) -> Any:
        return tensor

    def _array(self, *_: Any) -> _Array:
        return _LenientArray()

    def _dtype(self, code: str, *rest: Any) -> Any:
        try:
            return super()._dtype(code, *rest)
        except Exception:  # text, dates, records
            return _Object()

    def _from_buffer(self, content: bytes, dtype: Any, *rest: Any) -> Any:
        return super()._from_buffer(content, dtype, *rest) if _numeric(dtype) else _Object()

    def _scalar(self, dtype: Any, content: bytes) -> Any:
        return super()._scalar(dtype, content) if _numeric(dtype) else _Object()


def _numeric(dtype: Any) -> bool:
    return isinstance(dtype, _Dtype) and dtype.dtype.kind != "O"


def _plain_object(cls: Any, *_: Any) -> Any:
    return cls() if isinstance(cls, type) and issubclass(cls, dict) else _Object()


def _of_subclass(rebuild: Any, _: Any, arguments: tuple, *__: Any) -> Any:
    return rebuild(*arguments) if isinstance(rebuild, _Reader) else _Object()


def _reconstruct(meta: Mapping[str, Any]) -> _Object:
    if meta["type"] != "class" or not isinstance(meta["state"], dict):
        raise ValueError("a persistent object of an unknown type")
    made = _Object()
    made.attributes = meta["state"]
    return made


def _storage(content: bytes) -> Storage:
    storage = load_legacy(io.BytesIO(content), _Unpickler)
    if not isinstance(storage, Storage):
        raise ValueError("a tensor whose storage is something else")
    return storage


def _is_module(value: Any) -> bool:
    return isinstance(value, _Object) and any(
        isinstance(value.attributes.get(table), dict)
        for table in ("_parameters", "_buffers", "_modules")
    )


def _arrays(module: _Object, prefix: str, seen: set[int]) -> Iterator[tuple[str, np.ndarray]]:
    # Each module is visited once: a few bytes could nest shared ones into more names than memory
    # can hold, or into an endless loop.
    seen.add(id(module))
    attributes = module.attributes
    passing = attributes.get("_non_persistent_buffers_set", ())
    for table in ("_parameters", "_buffers"):
        for name, value in (attributes.get(table) or {}).items():
            if value is not None and not (table == "_buffers" and name in passing):
                if not isinstance(value, _Tensor | _Array):
                    raise ValueError(f"{prefix}{name} is not a tensor")
                yield f"{prefix}{name}", value.resolve()
    for name, child in (attributes.get("_modules") or {}).items():
        if _is_module(child) and id(child) not in seen:
            yield from _arrays(child, f"{prefix}{name}.", seen)
        elif child is not None and not _is_module(child):
            raise ValueError(f"{prefix}{name} is not a module")


def _data(value: Any, seen: dict[int, Any], inside: set[int]) -> Any:
    """What is data in a value.

    Args:
        value: what the unpickler loaded.
        seen: results by id, which keep shared parts shared.
        inside: ids of the containers around the value, which it cannot hold again.
    """
    if id(value) in seen:
        return seen[id(value)]
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return value
    if id(value) in inside:
        return _LEFT_OUT
    inside = inside | {id(value)}
    if _is_module(value):
        found: Any = dict(_arrays(value, "", set()))
        init = _data(value.attributes.get("_init_kwargs"), seen, inside)
        if isinstance(init, dict):
            found["init"] = init
    elif isinstance(value, dict):
        entries = value or getattr(value, "attributes", {})
        parts = {key: _data(item, seen, inside) for key, item in entries.items()}
        found = {
            key: part
            for key, part in parts.items()
            if isinstance(key, str | int) and part is not _LEFT_OUT
        }
        if isinstance(value, _Object) and not found:
            found = _LEFT_OUT
    elif isinstance(value, list | tuple):
        parts = [_data(item, seen, inside) for item in value]
        found = type(value)(part for part in parts if part is not _LEFT_OUT)
    elif isinstance(value, _Array) and value.wrapped:
        found = _data(value.wrapped[0], seen, inside)
    elif isinstance(value, _Tensor):
        found = value.resolve()
    elif isinstance(value, _Array):
        found = _LEFT_OUT if value.array is None else value.array
    else:
        found = _LEFT_OUT
    seen[id(value)] = found
    return found
