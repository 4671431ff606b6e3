"""Compiled programs on disk: the second start of a command skips the compiler."""

import contextlib
import errno
import functools
import os
import re
import stat
import sys
import tempfile
import warnings
from pathlib import Path

import jax

from diffcam_jax.command.kept_jit import keep_programs
from diffcam_jax.files.cache_dir import cache_dir

_TROUBLE = re.compile(r"Error (reading|writing) persistent compilation cache entry for '([^']+)'")


def keep_compiled_programs(ahead: bool = False) -> None:
    """Turns on JAX's persistent compilation cache, and lets functions of `kept_jit` keep programs.

    Both are below $JAX_COMPILATION_CACHE_DIR, or else in the per-user cache folder. An entry that
    is damaged, as a full disk leaves them, is removed and made anew. Where the folder cannot be
    written to, or anyone may write to it, one line says so, and everything is compiled at every
    start: entries are machine code.

    Args:
        ahead: load the programs that were used last in a thread; JAX's devices start with it.
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    is_folder = chosen and "://" not in chosen  # JAX also takes addresses of object stores
    folder = Path(chosen) if is_folder else cache_dir() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        if os.name == "posix" and folder.stat().st_mode & stat.S_IWOTH:
            raise PermissionError(errno.EACCES, "anyone may write to it")
        for entry in folder.glob("*-cache"):
            with contextlib.suppress(FileNotFoundError):  # removed by another process
                if entry.stat().st_size == 0:
                    entry.unlink()
    except OSError as error:
        print(
            f"note: compiled programs are not kept in {folder} ({error.strerror}); set "
            "DIFFCAM_HOME to a folder of your own that can be written to",
            file=sys.stderr,
        )
        jax.config.update("jax_enable_compilation_cache", False)
        return
    if not chosen or is_folder:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # Caches of XLA's own would make the folder's path a part of every entry's key.
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
        _mend_silently(folder)
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    keep_programs(folder / "programs", ahead)


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
