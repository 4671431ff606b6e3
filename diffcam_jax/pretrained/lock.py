"""A lock between processes, held on a file."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def file_lock(path: Path, wait_message: str) -> Iterator[None]:
    """Hold a lock between processes; the system lets go of it when the process ends in any way.

    Args:
      path: the lock file; it stays behind, empty.
      wait_message: printed to stderr once, if another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if not _try_lock(file, block=False):
            print(wait_message, file=sys.stderr)
            while not _try_lock(file, block=True):
                pass
        yield


if os.name == "nt":
    import msvcrt

    def _try_lock(file, block: bool) -> bool:
        file.seek(0)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if block else msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file, block: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if block else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
