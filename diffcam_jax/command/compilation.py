"""Compiled programs on disk: the second start of a command skips the compiler."""

import functools
import re
import sys
import tempfile
import warnings
from pathlib import Path

import jax

from diffcam_jax.files.cache_dir import cache_dir

_TROUBLE = re.compile(r"Error (reading|writing) persistent compilation cache entry for '([^']+)'")


def keep_compiled_programs() -> None:
    """Turns on JAX's persistent compilation cache in the per-user cache folder.

    An entry that is damaged, as a full disk leaves them, is removed and made anew. Where the folder
    cannot be written to, one line says so, and everything is compiled at every start.
    """
    folder = cache_dir() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for entry in folder.glob("*-cache"):
            if entry.stat().st_size == 0:
                entry.unlink(missing_ok=True)
    except OSError as error:
        print(
            f"note: compiled programs are not kept, {folder} cannot be written to "
            f"({error.strerror}); set DIFFCAM_HOME to a folder that can",
            file=sys.stderr,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    # Caches of XLA's own would make the folder's path a part of every entry's key.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    _mend_silently(folder)


@functools.cache
def _mend_silently(folder: Path) -> None:
    """Removes entries that JAX warns of, in the place of the warning; JAX then writes them anew."""
    shown = warnings.showwarning

    def show(message, category, filename, lineno, file=None, line=None):
        trouble = _TROUBLE.match(str(message))
        if trouble is None:
            shown(message, category, filename, lineno, file, line)
        elif trouble[1] == "reading":
            for entry in folder.glob(f"{trouble[2]}-*-cache"):
                entry.unlink(missing_ok=True)

    warnings.showwarning = show
