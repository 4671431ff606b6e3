"""Where everything lies that can be made or fetched again."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """The per-user folder of pretrained parts and computed codes.

    Returns: $DIFFCAM_HOME, else $XDG_CACHE_HOME/diffcam_jax, else ~/.cache/diffcam_jax. It need not
    exist yet.
    """
    if home := os.environ.get("DIFFCAM_HOME"):
        return Path(home).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "diffcam_jax"
