"""The per-user cache folder, and the keys under which results are kept in it."""

import functools
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from diffcam_jax.errors import UserError


def cache_dir() -> Path:
    """The per-user folder of pretrained parts and computed codes; everything in it can be remade.

    Returns:
        $DIFFCAM_HOME, else $XDG_CACHE_HOME/diffcam_jax, else ~/.cache/diffcam_jax. The folder need
        not exist yet.

    Raises:
        UserError: the user has no home folder, and none is named.
    """
    try:
        if home := os.environ.get("DIFFCAM_HOME"):
            return Path(home).expanduser()
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(base).expanduser() / "diffcam_jax"
    except RuntimeError as error:
        raise UserError(
            "there is no home folder for the cache; set DIFFCAM_HOME to a folder for it"
        ) from error


@functools.cache
def tell_unkept(what: str, folder: Path, reason: str | None) -> None:
    """Says, once for a process, that work goes on without one of the caches.

    Args:
        what: is not kept.
        folder: of the cache.
        reason: why, in the words of the system.
    """
    print(
        f"note: {what} are not kept, {folder} cannot be written to ({reason}); free some space, "
        "or set DIFFCAM_HOME to a folder that can",
        file=sys.stderr,
    )


def cache_key(recipe: Any, *arrays: np.ndarray) -> str:
    """Names a result by what it was computed from.

    Args:
        recipe: settings and identities, ready for JSON.
        *arrays: inputs whose bytes count; put their shapes into the recipe.

    Returns:
        The sha256 of both, in hexadecimal.
    """
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
