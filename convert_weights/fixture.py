"""Parity fixtures: outputs of an official implementation, from weights that are given by a rule.

A fixture is a folder with a manifest.json (every key of the official state dict with its shape,
mean and standard deviation, inputs, outputs, notes) and a data.npz. Arrays are in the official
layout, NCHW.
"""

import functools
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_jax.errors import UserError
from diffcam_jax.files.json_text import decode
from diffcam_jax.formats import read_npz

_MOST_NUMBERS = 1 << 27


class Fixture:
    """One fixture.

    Attributes:
        path: its folder.
        manifest: the content of manifest.json.
        kind: what it checks; `checks.CHECKS` has one entry for each.
        outputs: name -> the stored array; a part of the full one where the manifest says "stride".
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            self.manifest: dict[str, Any] = decode((path / "manifest.json").read_text())
            self.kind: str = self.manifest["kind"]
            self._stored: dict[str, np.ndarray] = {}
            if (path / "data.npz").exists():
                self._stored = read_npz(path / "data.npz")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is not a parity fixture ({error}); give a folder with a manifest.json"
            ) from error
        self.outputs = {
            name[4:]: array for name, array in self._stored.items() if name.startswith("out/")
        }

    @property
    def has_data(self) -> bool:
        """Whether numbers are stored.

        Without them, a fixture is the list of keys and shapes of a checkpoint.
        """
        return bool(self.outputs)

    def shapes(self, prefix: str = "") -> dict[str, tuple[int, ...]]:
        """Shapes of the official state dict's entries under a prefix, which is removed."""
        entries = self.manifest["state_dict"].items()
        return {
            key[len(prefix) :]: tuple(entry["shape"])
            for key, entry in entries
            if key.startswith(prefix)
        }

    def state(self, prefix: str = "") -> dict[str, np.ndarray]:
        """The official state dict under a prefix, which is removed."""
        entries = self.manifest["state_dict"].items()
        return {
            key[len(prefix) :]: self._make(key, entry)
            for key, entry in entries
            if key.startswith(prefix)
        }

    @functools.cached_property
    def inputs(self) -> Mapping[str, np.ndarray]:
        """The inputs, in the official layout."""
        return {
            name: self._stored[f"in/{name}"]
            if f"in/{name}" in self._stored
            else self._make(name, entry, "input:")
            for name, entry in self.manifest["inputs"].items()
        }

    def description(self, output: str) -> str:
        """The manifest's description of an output; it is the only place of some arguments."""
        return self.manifest["outputs"][output].get("desc", "")

    def _make(self, key: str, entry: Mapping[str, Any], table: str = "") -> np.ndarray:
        rule, shape, dtype = (
            entry.get("rule", "normal"),
            tuple(entry["shape"]),
            entry.get("dtype", "float32"),
        )
        if math.prod(shape) > _MOST_NUMBERS:
            raise ValueError(f"{key} of shape {shape} is larger than any official array")
        if rule == "const":
            value = entry["value"] if "value" in entry else self._stored[f"const/{key}"]
            return np.broadcast_to(np.asarray(value, dtype), shape).copy()
        if rule == "zero":
            return np.zeros(shape, dtype)
        rng = np.random.default_rng(zlib.crc32(f"{self.manifest['salt']}:{table}{key}".encode()))
        value = np.asarray(entry["mean"] + entry["std"] * rng.standard_normal(shape))
        return (np.abs(value) if rule == "abs" else value).astype(np.float32)


def nhwc(array: np.ndarray) -> np.ndarray:
    """[b, c, h, w] to [b, h, w, c]."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1))


def nchw(array: Any) -> np.ndarray:
    """[b, h, w, c] to [b, c, h, w]."""
    return np.asarray(array).transpose(0, 3, 1, 2)
