"""Inverted codes kept on disk, so that editing a photograph again needs no second inversion.

One safetensors file for each picture in the cache folder, named by the sha256 of the aligned
picture and of the recipe, which is everything that determines the codes: generator, encoder, method
and settings. A file that cannot be read counts as absent and is overwritten.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.files.cache_dir import cache_dir, cache_key, tell_unkept

# Increase this when an inversion with the same settings gives other codes than before.
REVISION = 2


class CodeCache:
    """The codes of one inversion method with its networks and settings.

    Args:
        recipe: what the codes depend on besides the picture, `inversion.Inverter.recipe`; ready for
            JSON.
    """

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        self._recipe = {"revision": REVISION, **recipe}

    def path(self, aligned: UInt8[np.ndarray, "s s 3"]) -> Path:
        """The file in which the codes of an aligned picture are kept."""
        key = cache_key([self._recipe, aligned.shape], aligned)
        return cache_dir() / "codes" / f"{key}.safetensors"

    def load(self, aligned: UInt8[np.ndarray, "s s 3"]) -> Float[np.ndarray, "rows k"] | None:
        """The W+ codes of exactly this picture; None if it was not inverted this way before."""
        path = self.path(aligned)
        if not path.is_file():
            return None
        try:
            codes = trees.load(path)[0]["codes"]
        except (UserError, KeyError):
            return None
        return codes if codes.ndim == 2 and np.all(np.isfinite(codes)) else None

    def save(self, aligned: UInt8[np.ndarray, "s s 3"], codes: Float[np.ndarray, "rows k"]) -> None:
        """Keeps W+ codes; where they cannot be written, one line says so, and no edit fails."""
        path = self.path(aligned)
        try:
            trees.save(path, {"codes": np.asarray(codes, np.float32)}, self._recipe)
        except OSError as error:
            tell_unkept("codes", path.parent, error.strerror)
