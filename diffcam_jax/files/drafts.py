"""Files that are being written: locked, and under names of their own.

A process that is killed leaves its draft behind, and the system opens the lock. Whoever writes the
same file next removes it.
"""

import contextlib
import fcntl
import glob
import hashlib
import io
import os
import secrets
from pathlib import Path


def create(path: Path) -> tuple[Path, io.BufferedIOBase]:
    """Opens a draft of a file, and removes those that killed processes have left of it.

    Args:
        path: that the draft will be renamed to while it is open; its folder exists.

    Returns:
        The draft's name in the same folder, and the draft, open for writing.

    Raises:
        OSError: the folder cannot be written to.
    """
    prefix = f".{path.name[:40]}.{_short(path.name)}."
    for rest in path.parent.glob(f"{glob.escape(prefix)}*.tmp"):
        # Locked: somebody is writing it. Gone: somebody removed it first.
        with contextlib.suppress(OSError), rest.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            rest.unlink()
    while True:
        draft = path.with_name(f"{prefix}{secrets.token_hex(4)}.tmp")
        file = draft.open("xb")
        with contextlib.suppress(OSError):  # without locks nobody removes what is left, either
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return draft, file
        file.close()  # somebody took it for a rest before it was locked


def _short(name: str) -> str:
    """A few digits that tell names apart, for file systems limit the length of names."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
