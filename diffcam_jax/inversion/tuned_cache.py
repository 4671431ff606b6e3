"""Tuned parameters kept on disk, so that the next edit of a photograph takes seconds.

One safetensors file for each photograph and window, named by the sha256 of the aligned picture, of
the code and of the recipe: those of other networks have other names. The folder is kept below a
size limit; the least recently used files are removed first. A file that cannot be read counts as
absent.
"""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.files.cache_dir import cache_dir, cache_key, tell_unkept
from diffcam_jax.inversion.tuned_parts import Deltas
from diffcam_jax.ops.window import Window

# Increase this when a tuning with the same settings gives other changes than before.
REVISION = 1
LIMIT = 512 << 20  # bytes of all files
LARGEST = 3 << 20  # bytes of one file; those of a StyleGAN2 are larger and are not kept


class Entry(NamedTuple):
    """A tuning: the window, the changes without a batch axis, and the final loss."""

    window: Window
    deltas: Deltas
    loss: float


class TunedCache:
    """The tunings of one photograph.

    Args:
        aligned: the picture.
        codes: its pivot.
        recipe: generator and settings, ready for JSON.
    """

    def __init__(
        self,
        aligned: UInt8[np.ndarray, "s s 3"],
        codes: Float[np.ndarray, "n k"],
        recipe: Mapping[str, Any],
    ) -> None:
        self._name = cache_key([REVISION, dict(recipe), aligned.shape], aligned, codes)
        self.folder = cache_dir() / "tuned"

    def load(self) -> list[Entry]:
        """All tunings of this photograph, the most recently used window first."""
        entries = []
        for path in sorted(
            self.folder.glob(f"{self._name}_*.safetensors"), key=_used, reverse=True
        ):
            try:
                tree, metadata = trees.load(path)
                window = Window(*(int(number) for number in metadata["window"]))
                deltas = {tuple(name.split(".")): array for name, array in tree.items()}
                usable = all(np.isfinite(array).all() for array in deltas.values())
                entry = Entry(window, deltas, float(metadata["loss"]))
            except (UserError, KeyError, TypeError, ValueError):
                continue
            if usable:
                entries.append(entry)
        return entries

    def touch(self, window: Window) -> None:
        """Marks an entry as used."""
        try:
            os.utime(self._path(window))
        except OSError:
            return

    def save(self, entry: Entry) -> None:
        """Keeps an entry; where it cannot be written, one line says so, and no edit fails."""
        if sum(array.nbytes for array in entry.deltas.values()) > LARGEST:
            return
        window = entry.window.numbers
        tree = {".".join(path): np.asarray(x, np.float16) for path, x in entry.deltas.items()}
        try:
            metadata = {"kind": "tuned", "window": window, "loss": float(entry.loss)}
            trees.save(self._path(entry.window), tree, metadata)
            self._evict()
        except OSError as error:
            tell_unkept("tunings", self.folder, error.strerror)

    def _path(self, window: Window) -> Path:
        place = "_".join(map(str, window.numbers))
        return self.folder / f"{self._name}_{place}.safetensors"

    def _evict(self) -> None:
        files = sorted(self.folder.glob("*.safetensors"), key=_used, reverse=True)
        kept = 0
        for path in files:
            with contextlib.suppress(FileNotFoundError):  # removed by another process meanwhile
                kept += path.stat().st_size
                if kept > LIMIT:
                    path.unlink()


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
