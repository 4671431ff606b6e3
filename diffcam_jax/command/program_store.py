"""Compiled programs in a folder, in which the next process finds them.

They belong to their surroundings: versions, device, processor, settings, and the sources of this
package. An entry that is stale or foreign therefore lies elsewhere, and one that is damaged fails
its checksum; both are made anew. Entries are machine code, like those of JAX's cache, so the folder
must be the user's own; see `compilation.keep_compiled_programs`.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import pickle
import platform
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable

from diffcam_jax.errors import refusal
from diffcam_jax.files.trees import write_atomically

# Settings of JAX that change what a function becomes.
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_threefry_partitionable",
    "jax_default_prng_impl",
    "jax_disable_jit",
    "jax_debug_nans",
    "jax_debug_infs",
    "jax_num_cpu_devices",
)
# Programs of that many other surroundings stay, and that many programs are loaded in advance.
_OTHERS, _AHEAD = 3, 16
_SUFFIX, _DIGEST = ".program", 32

Program = Callable[..., Any]


class Programs:
    """The programs of one folder.

    Args:
        folder: that is made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._loaded = folder, {}
        self._here: Path | None = None
        self._is_told = False
        self._lock = threading.Lock()

    def load_ahead(self) -> None:
        """Loads the programs that were used last in a thread of its own."""

        def load() -> None:
            with contextlib.suppress(Exception):  # what fails here fails again where it is told
                entries = sorted(self._folder_here().glob(f"*{_SUFFIX}"), key=_time, reverse=True)
                for entry in entries[:_AHEAD]:
                    self.find(entry.stem)

        # Not a daemon: native code must not be cut off when the interpreter ends.
        threading.Thread(target=load).start()

    def find(self, name: str) -> Program | None:
        """A program by its name; None when there is none, or a damaged one."""
        with self._lock:
            lock = self._loaded.setdefault(name, [threading.Lock(), None])
        with lock[0]:
            if lock[1] is None:
                lock[1] = self._read(name)
        return lock[1]

    def keep(self, name: str, compiled: jax.stages.Compiled) -> None:
        """Writes a program; where that is impossible, it is compiled again by the next process."""
        self._loaded[name] = [threading.Lock(), compiled]
        try:
            body = pickle.dumps(serialize_executable.serialize(compiled))
        except (ValueError, TypeError, jax.errors.JaxRuntimeError):
            return  # a callback's program cannot be told in bytes
        path = self._folder_here() / f"{name}{_SUFFIX}"
        try:
            write_atomically(path, hashlib.sha256(body).digest() + body)
        except OSError as error:
            if not self._is_told:
                print(f"note: compiled programs are not kept ({refusal(error)})", file=sys.stderr)
            self._is_told = True

    def _read(self, name: str) -> Program | None:
        path = self._folder_here() / f"{name}{_SUFFIX}"
        try:
            content = path.read_bytes()
            digest, body = content[:_DIGEST], content[_DIGEST:]
            if hashlib.sha256(body).digest() != digest:
                return None
            program = serialize_executable.deserialize_and_load(*pickle.loads(body))
            with contextlib.suppress(OSError):
                os.utime(path)  # tells which were used last
        except (OSError, ValueError, jax.errors.JaxRuntimeError):
            return None
        return program

    def _folder_here(self) -> Path:
        """Where programs of these surroundings are; those of the oldest others are removed."""
        if self._here is None:
            here = self._folder / surroundings()
            if not here.is_dir():
                others = sorted(self._folder.glob("*/"), key=_time, reverse=True)
                for old in others[_OTHERS:]:
                    shutil.rmtree(old, ignore_errors=True)
            self._here = here
        return self._here


@functools.cache
def surroundings() -> str:
    """A name for everything besides the arguments that a program depends on."""
    device = jax.local_devices()[0]
    told = [device.platform, device.device_kind, device.client.platform_version, _processor()]
    told += [f"{name}={getattr(jax.config, name, None)}" for name in _SETTINGS]
    told += [os.environ.get("XLA_FLAGS", ""), platform.python_version()]
    told += [importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")]
    package = Path(__file__).parent.parent
    for source in sorted(package.rglob("*.py")):
        facts = source.stat()
        told.append(f"{source.relative_to(package)} {facts.st_size} {facts.st_mtime_ns}")
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _processor() -> str:
    """The processor and its instructions, for which machine code is made."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kinds = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(kinds)}))


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed by another process
        return 0.0
