"""Inverted codes kept on disk, so that editing a photograph again needs no second inversion.

One safetensors file a picture in the cache folder, named by the sha256 of the aligned picture and
of the recipe: generator, encoder, method and settings, all that leads to the codes. A file that
cannot be read counts as absent and is written anew.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from diffcam_jax.errors import UserError
from diffcam_jax.files import trees
from diffcam_jax.files.cache_dir import cache_dir

# To be raised when an inversion with the same settings finds other codes than before.
REVISION = 2


class CodeCache:
    """The codes of one way of inverting.

    Args:
        recipe: what the codes depend on besides the picture, `inversion.Inverter.recipe`.
    """

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        self._recipe = {"revision": REVISION, **recipe}

    def path(self, aligned: UInt8[np.ndarray, "s s 3"]) -> Path:
        """Where the codes of an aligned picture are kept."""
        digest = hashlib.sha256(json.dumps([self._recipe, aligned.shape], sort_keys=True).encode())
        digest.update(np.ascontiguousarray(aligned).reshape(-1))
        return cache_dir() / "codes" / f"{digest.hexdigest()}.safetensors"

    def load(self, aligned: UInt8[np.ndarray, "s s 3"]) -> Float[np.ndarray, "rows k"] | None:
        """The W+ codes of this very picture; None when it was not inverted this way before."""
        path = self.path(aligned)
        if not path.is_file():
            return None
        try:
            codes = trees.load(path)[0]["codes"]
        except (UserError, KeyError):
            return None
        return codes if codes.ndim == 2 and np.all(np.isfinite(codes)) else None

    def save(self, aligned: UInt8[np.ndarray, "s s 3"], codes: Float[np.ndarray, "rows k"]) -> None:
        """Keep W+ codes; a folder that cannot be written to is no reason to fail an edit."""
        try:
            trees.save(self.path(aligned), {"codes": np.asarray(codes, np.float32)}, self._recipe)
        except OSError:
            return
